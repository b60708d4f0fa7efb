"""The first picture of the page: a cell has its number whole, a row its unit once."""

import pandas as pd

from tokenscope.report import backbones
from tokenscope.verdicts.answers import GENERALISES, SUPPORTED, Judged, Line

KEYS = ["dinov2/small/r0", "dinov2/base/r0", "dinov2/large/r0"]


def row(*numbers):
    """The row of a statement whose answers have these (value, unit), one a backbone."""
    judged = tuple(
        Judged(key, "d", SUPPORTED, value=value, low=value - 1, high=value + 1, unit=unit)
        for key, (value, unit) in zip(KEYS, numbers, strict=False)
    )
    section = {"id": "claim1", "title": "Claim 1: x", "verdicts": [{"id": "a", "said": "So."}]}
    lines = {"a": [Line(GENERALISES, SUPPORTED, "", judged)]}
    [block] = backbones.matrix(KEYS, [section], lines, pd.DataFrame())
    return block["rows"][0]


def test_numbers_stand_alone_and_the_unit_in_the_head_of_the_row():
    one = row((-0.0032629, "1 - cosine"), (1.0209, "1 - cosine"))
    assert one["unit"] == "cosine distance"
    assert [cell and cell.value for cell in one["cells"]] == ["-0.00326", "1.021", None]
    assert one["cells"][1].text == "1.021 cosine distance [0.0209, 2.021]"
    assert row((8, "block, from 1"))["cells"][0].value == "8"
    assert row((8, "block, from 1"))["unit"] == "block"
    assert row((1, "verdict"))["cells"][0].value == "yes" and row((1, "verdict"))["unit"] == ""
    assert row((2.5, "ratio"))["unit"] == ""


def test_numbers_of_several_units_keep_their_own():
    one = row((4.2, "percent"), (2.0, "x uniform"), (float("nan"), ""))
    assert one["unit"] == ""
    assert [cell.value for cell in one["cells"]] == ["4.20 %", "2 x uniform", ""]


def test_facts_of_a_backbone_are_whole_but_for_the_hash():
    who = dict(zip(("family", "size", "registers"), KEYS[0].split("/"), strict=True))
    facts = {
        "origin": "phantom, content-10x + 1 registers at test time (mean)",
        "timm_id": "vit_base_patch14_reg4_dinov2.lvd142m", "weights_sha256": "0" * 64,
    }  # fmt: skip
    (one,) = backbones.sections_of(KEYS[:1], [], {}, {}, [], pd.DataFrame([who | facts]))
    assert dict(one["facts"]) == {
        "architecture (timm)": facts["timm_id"], "hash of the weights": "0" * 24,
        "weights": "phantom, content-10x + 1 register at test time (mean)",
    }  # fmt: skip
