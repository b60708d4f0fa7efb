"""The hash that tells Snakemake which rules a change in the library concerns."""

import shutil
from pathlib import Path

import pytest

from tokenscope import sources

SCRIPTS = Path("workflow_scripts")


@pytest.fixture
def copy(tmp_path, monkeypatch):
    shutil.copytree(SCRIPTS, tmp_path / "ws")
    monkeypatch.setattr(sources, "PACKAGE", tmp_path / "ws" / "tokenscope")
    return tmp_path / "ws"


def hashes(folder):
    for function in (sources._facts, sources.modules, sources.code_hash):
        function.cache_clear()
    return {script.name: sources.code_hash(script) for script in folder.glob("*.py")}


def edit(file, old, new):
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def test_a_change_concerns_only_those_who_import_it(copy):
    before = hashes(copy)
    edit(copy / "tokenscope" / "plots.py", '"#D55E00"', '"#D55E01"')
    changed = {name for name, h in hashes(copy).items() if h != before[name]}
    figures = {path.name for path in copy.glob("fig_*.py")}
    assert changed == figures | {"diagnosis_page.py"}


def test_changes_reach_through_imports(copy):
    before = hashes(copy)
    edit(copy / "tokenscope" / "geometry.py", "math.floor", "math.ceil")
    changed = {name for name, h in hashes(copy).items() if h != before[name]}
    assert {"decode.py", "extract.py", "gallery.py"} <= changed
    assert not changed & {"norms.py", "gather.py", "fig_norms.py", "obtain.py"}


def test_what_only_watches_a_job_reruns_nothing(copy):
    before = hashes(copy)
    for name in ("jobs.py", "records.py", "energy.py"):
        file = copy / "tokenscope" / name
        file.write_text(file.read_text() + "\n\nWATCHED = 1\n")
    assert hashes(copy) == before


def test_comments_and_docstrings_do_not_count(copy):
    before = hashes(copy)
    for file in (copy / "tokenscope").glob("*.py"):
        text = file.read_text().replace('"""', '"""Reworded. ', 1)
        file.write_text("# a remark\n\n" + text + "\n# another\n")
    assert hashes(copy) == before
