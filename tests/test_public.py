"""What a notebook may use, as the pages show it."""

import re
import warnings
from pathlib import Path

import pytest
from projects import RESULTS, ROOT


def snippet(page):
    """The only block of Python on a page."""
    (code,) = re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text(), re.M | re.S)
    return code


def run(code, names=None):
    """Run a snippet as a notebook's cell would; returns the names it defines."""
    space = dict(names or {})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exec(compile(code, "<snippet>", "exec"), space)
    return space


def test_the_library_works_as_its_page_shows(tmp_path, monkeypatch):
    """Random weights and noise: shapes and ranges, no results."""
    pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend("workflow_scripts")
    got = run(snippet("workflow_scripts/README.md"))
    assert got["norms"].shape == (40, 12, 16)
    assert got["boxes"].shape == (40, 4)
    assert 0 <= got["linear_top1"] <= 1
    assert got["knn_top1"] == 1  # each image is its own nearest neighbour
    table = got["tidy"].read(Path("claims.csv"))
    assert set(table["claim"]) == {"claim1", "claim2", "claim3"}
    median = table[table["metric"] == "norm_median"].iloc[0]
    assert median["low"] <= median["value"] <= median["high"]


def test_the_cell_of_the_readme_reads_a_study(study, monkeypatch):
    monkeypatch.chdir(study)
    got = run(snippet("README.md").replace("results/demo", str(RESULTS)))
    assert got["norms"].dims == ("image", "block", "token")
    assert got["norms"].sizes["token"] == 100
    assert set(got["claim3"]["claim"]) == {"claim3"}
