"""Shared fixtures: optional real data, small images to break, a study that is run once."""

import os
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from projects import MINI, ROOT, copy_project, snakemake


def pytest_collection_modifyitems(items):
    """Marks that follow from what a test asks for: a study of its own, a browser."""
    for item in items:
        if {"project", "study"} & set(item.fixturenames):
            item.add_marker("slow")
        if "browser" in item.fixturenames:
            item.add_marker("browser")


STUDIED = re.compile(r"def test_\w+\([^)]*\b(study|project|edited)\b")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """In several processes tests stay together by file, and all of the one study, run once."""
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            file = nodeid.partition("::")[0]
            return "study" if STUDIED.search((ROOT / file).read_text()) else file

    return ByFile(config, log)


@pytest.fixture(scope="session")
def real_data():
    """Folder with real images and weights; tests that need it are skipped where there is none."""
    folder = Path(os.environ.get("TOKENSCOPE_REAL_DATA", ROOT.parent / "shared"))
    if not (folder / "data" / "imagenet-sample" / "index.csv").exists():
        pytest.skip(
            f"no real images below {folder}; set TOKENSCOPE_REAL_DATA to a folder with them"
        )
    return folder


@pytest.fixture
def photographs(tmp_path):
    """A folder of twelve small colour images in two class folders."""
    rng = np.random.default_rng(0)
    for i in range(12):
        folder = tmp_path / "photographs" / ("cat" if i % 2 else "dog")
        folder.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (40 + i, 60, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i:02d}.png")
    return tmp_path / "photographs"


@pytest.fixture(scope="session")
def project(tmp_path_factory):
    """A copy of the project, in which the study is run."""
    return copy_project(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="session")
def study(project):
    """A finished mini study."""
    snakemake(project, "--profile", "profiles/local", *MINI, "all")
    return project


@pytest.fixture
def edited(study):
    """Edit a file of the finished study for one test."""
    before = {}

    def edit(name, old, new):
        file = study / name
        before.setdefault(file, file.read_text())
        assert old in file.read_text()
        file.write_text(file.read_text().replace(old, new, 1))

    yield edit
    for file, text in before.items():
        file.write_text(text)
