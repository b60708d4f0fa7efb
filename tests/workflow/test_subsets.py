"""Every subset of a study runs to its report: sections, labels, classes, CLS, registers, outliers.

Any two choices meet in one of these studies. By default the first few run, in which most pairs
meet; TOKENSCOPE_SUBSETS=all runs every one (about a minute each).
"""

import os

import pytest
import subsets
from projects import copy_project, snakemake

STUDIES = subsets.pairwise()
FEW = 4


def name(study):
    return "-".join(str(choice) for choice in study.values() if choice)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A copy of the project for all of them; each keeps its own results."""
    return copy_project(tmp_path_factory.mktemp("subsets"))


def test_every_pair_of_choices_meets():
    assert all(subsets.possible(study) for study in STUDIES)
    met = subsets.pairs_of(STUDIES)
    assert met == subsets.pairs_of(None)
    few = subsets.pairs_of(STUDIES[:FEW])
    assert len(few) > 0.4 * len(met)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(STUDIES)), ids=lambda i: name(STUDIES[i]))
def test_a_subset_runs_to_its_report(place, tmp_path, number):
    if number >= FEW and os.environ.get("TOKENSCOPE_SUBSETS") != "all":
        pytest.skip("TOKENSCOPE_SUBSETS=all runs every pair of choices")
    file = subsets.write(tmp_path, STUDIES[number])
    snakemake(place, "--profile", "profiles/local", "--configfile", str(file), "--", "all")
    page = (tmp_path / "results/report/index.html").read_text()
    assert "Complete: all" in page and "Not drawn yet" not in page
