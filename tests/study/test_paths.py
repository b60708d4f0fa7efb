"""One home of result paths: the same for a value and for the pattern of a rule."""

import re
from pathlib import Path

import pytest

from tokenscope.study.paths import Paths

BACKBONE = "{family}/{size}/{registers}"
PLACE = {"dataset": "scenes", "family": "dinov2", "size": "small", "registers": "r4"}


@pytest.mark.parametrize(
    "kind, ending, path",
    [
        ("norms", "csv", "r/measures/norms/scenes/dinov2/small/r4.csv"),
        ("norms", "tails.json", "r/measures/norms/scenes/dinov2/small/r4.tails.json"),
    ],
)
def test_a_pattern_filled_is_the_path_of_the_values(kind, ending, path):
    paths = Paths("r")
    pattern = paths.measure(kind, "{dataset}", BACKBONE, ending=ending)
    assert pattern.format(**PLACE) == path
    assert paths.measure(kind, "scenes", "dinov2/small/r4", ending=ending) == path


def test_places_of_results():
    paths = Paths("r")
    assert paths.data("scenes", "sample.csv") == "r/data/scenes/sample.csv"
    assert paths.pixels("scenes", "224px-bicubic") == "r/images/scenes/224px-bicubic.zarr"
    assert paths.card("a/b/r0") == "r/backbones/a/b/r0/card.json"
    assert paths.head("a/b/r0", 4) == "r/heads/a/b/r0/4.json"
    assert paths.receipt("extract", "scenes", "a/b/r0", "0000") == (
        "r/receipts/extract/scenes/a/b/r0/0000.json"
    )
    assert paths.cutoffs("scenes", "a/b/r0") == "r/cutoffs/scenes/a/b/r0.json"
    assert (paths.table("claim1"), paths.table("claim1", "md")) == (
        "r/tables/claim1.csv", "r/tables/claim1.md",
    )  # fmt: skip
    assert paths.figure("scenes/fig1/dinov2") == "r/figures/scenes/fig1/dinov2.png"
    assert paths.figure_data("maps", "scenes", "a/b/r0", "native.nc") == (
        "r/figures/data/maps/scenes/a/b/r0/native.nc"
    )


def test_rules_spell_no_path_that_the_library_knows():
    homes = "data|images|backbones|heads|receipts|measures|cutoffs|figures"
    for file in (Path("Snakefile"), *Path("rules").glob("*.smk")):
        assert not re.findall(rf"{{RESULTS}}/(?:{homes})/", file.read_text()), file
