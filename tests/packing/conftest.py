"""A small study that is packed: not run, its results are written as a run would leave them."""

import pack  # a program, not of the library
import pytest
from small_pack import FILES, STUDY


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """The folder in which the study has run, and one works."""
    home = tmp_path / "cluster"
    for name, text in {**FILES, "mine.yaml": STUDY}.items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(text)
    monkeypatch.chdir(home)
    return home


@pytest.fixture
def packed(cluster):
    """The archive of the study."""
    return (cluster / pack.main("mine.yaml")).resolve()


@pytest.fixture
def laptop(tmp_path, monkeypatch):
    """An empty folder that one fetches into, and works in."""
    folder = tmp_path / "laptop"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder
