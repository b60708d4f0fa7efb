"""What is said of a phantom against what is known of it: each wrong item is found, and only it."""

from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from tables import gather

from tokenscope.errors import StudyError
from tokenscope.kinds.answers import KINDS
from tokenscope.phantoms.answers import ANSWERS
from tokenscope.phantoms.comparison import Said, compare, kind_lines, of_kinds, passed

ROOT = Path(__file__).parents[2]
NAN = float("nan")
PLANTED = {"first": 4, "last": 6}
RIGHT = Said("yes", "yes", "content", 3.0, 10.0, (5.0, 4.0, 6.0), 6, 4)
NOTHING = Said("no", "no", "cannot tell", NAN, NAN, (0.0, 0.0, 0.1), NAN, NAN)


@pytest.fixture
def truth():
    """200 of 4,000 tokens: 5 percent."""
    truth = np.zeros((40, 100), bool)
    truth[:, :5] = True
    return truth


def wrong(name, said, truth, measured, planted=PLANTED):
    return [
        item
        for item, right in compare(name, planted, said, truth, measured).items()
        if right is False
    ]


def test_what_is_right_passes(truth):
    assert wrong("content-10x", RIGHT, truth, truth) == []
    assert wrong("corners", replace(RIGHT, about="position"), truth, truth) == []
    assert wrong("tied", replace(RIGHT, about="cannot tell"), truth, truth) == []
    faded = replace(RIGHT, last_block="no", block=3, onset=2)
    assert wrong("fading", faded, truth, truth, {"first": 2, "last": 4}) == []
    nobody = np.zeros_like(truth)
    doubt = replace(NOTHING, artifacts="cannot tell", last_block="cannot tell")
    for name in ("heavy-tail", "scaled-images"):
        assert wrong(name, NOTHING, nobody, nobody) == wrong(name, doubt, nobody, nobody) == []
    for name in ("clean", "sink-cls", "sink-patch", "fixed-pattern", "channel", "registered"):
        assert wrong(name, NOTHING, nobody, nobody) == []
        right = compare(name, PLANTED, doubt, nobody, nobody)
        assert right == {"artifacts": None, "last_block": None} and passed(right) is None


@pytest.mark.parametrize(
    "change, items",
    [
        ({"artifacts": "no"}, ["artifacts"]),
        ({"last_block": "no"}, ["last_block"]),
        ({"about": "position"}, ["about"]),
        ({"share": (5.5, 5.1, 6.0)}, ["share"]),
        ({"block": 3}, ["block"]),
        ({"block": NAN, "onset": NAN}, ["block", "onset_block"]),
        ({"onset": 5}, ["onset_block"]),
    ],
)
def test_each_wrong_item_is_named(truth, change, items):
    said = replace(RIGHT, **change)
    assert wrong("content-10x", said, truth, truth) == items
    assert passed(compare("content-10x", PLANTED, said, truth, truth)) is False


@pytest.mark.parametrize("item", ["artifacts", "last_block", "about"])
def test_what_cannot_be_told_is_undecided(truth, item):
    right = compare("content-10x", PLANTED, replace(RIGHT, **{item: "cannot tell"}), truth, truth)
    assert right[item] is None and False not in right.values() and passed(right) is None
    if item == "artifacts":  # tokens that nobody claims are not missed
        assert set(right) == {"artifacts", "last_block"}
    assert passed(compare("content-10x", PLANTED, RIGHT, truth, truth)) is True
    assert compare("tied", PLANTED, RIGHT, truth, truth)["about"] is False


def test_one_in_a_hundred_tokens_may_differ(truth):
    measured = truth.copy()
    measured[0, 0], measured[1, 50] = False, True  # 2 of 200
    assert wrong("content-10x", RIGHT, truth, measured) == []
    measured[2, 50] = True
    assert wrong("content-10x", RIGHT, truth, measured) == ["tokens"]


def test_images_without_a_planted_token_prove_nothing(truth):
    nobody = np.zeros_like(truth)
    for said in (RIGHT, NOTHING):
        assert compare("content-10x", PLANTED, said, nobody, nobody) == {"artifacts": None}


def test_a_second_mode_where_there_is_none_fails(truth):
    nobody = np.zeros_like(truth)
    for name in ("clean", "heavy-tail", "scaled-images"):
        assert wrong(name, RIGHT, nobody, nobody) == ["artifacts", "last_block"]


def rows():
    said = {
        ("artifacts", "has_artifacts"): 1, ("artifacts-last_block", "has_artifacts"): NAN,
        ("artifacts", "cutoff"): 3, ("artifacts", "ratio"): 10, ("artifacts", "share"): 5,
        ("artifacts", "block"): 6, ("artifacts", "onset_block"): 4,
    }  # fmt: skip
    table = pd.DataFrame([{"group": g, "metric": m, "value": v} for (g, m), v in said.items()])
    return table.assign(low=table["value"] - 1, high=table["value"] + 1)


def test_what_is_said_is_read_from_tidy_rows():
    diagnosis = pd.DataFrame(
        {"group": ["verdict"] * 2, "metric": ["has_artifacts", "follows_position"], "value": [1, 0]}
    )
    expected = replace(RIGHT, last_block="cannot tell")
    assert Said.of(rows(), diagnosis) == expected
    diagnosis.loc[1, "value"] = NAN
    assert Said.of(rows(), diagnosis).about == "cannot tell"
    with pytest.raises(StudyError, match="0 rows of artifacts: ratio"):
        Said.of(rows().query("metric != 'ratio'"), diagnosis)
    with pytest.raises(StudyError, match="2 rows of artifacts"):
        Said.of(pd.concat([rows(), rows()]), diagnosis)


def test_the_guide_says_of_each_phantom_what_the_library_asks():
    guide = (ROOT / "config/README.md").read_text()
    for name, answer in ANSWERS.items():
        assert f"| `{name}` | {answer.said} | {answer.text} |" in guide


def test_make_phantoms_measures_every_phantom():
    config = yaml.safe_load((ROOT / "config/phantoms.yaml").read_text())
    patterns = [*config["backbones"], *sum(config["phantoms"].values(), [])]
    names = pd.read_csv(ROOT / "config/backbones.csv").query("family == 'control'")["registers"]
    for name in ANSWERS:
        (registers,) = [r for r in names if r.partition("-")[2] == name]
        assert any(fnmatchcase(f"control/tiny/{registers}", p) for p in patterns), name


@pytest.mark.parametrize(
    "passed_, right, last",
    [(1, {"artifacts": 1, "about": 1}, "yes"), (0, {"artifacts": 1, "about": 0}, "no: about"),
     (NAN, {"artifacts": 1, "about": NAN}, "undecided")],
)  # fmt: skip
def test_the_page_says_what_must_be_said_and_what_is(passed_, right, last):
    values = {
        ("said", "has_artifacts"): 1, ("said", "follows_position"): 1,
        ("measured", "onset_block"): 4, ("measured", "share"): 4, ("measured", "ratio"): 9.95,
        ("verdict", "passed"): passed_, **{("right", item): v for item, v in right.items()},
    }  # fmt: skip
    table = pd.DataFrame([{"group": g, "metric": m, "value": v} for (g, m), v in values.items()])
    who = {"dataset": "d", "family": "control", "size": "tiny", "registers": "r0-corners"}
    lines = gather.phantoms(table.assign(**who, kind="corners"), None)
    assert lines[2] == (
        "| control/tiny/r0-corners | d | the four corners, whatever the image | yes; about: "
        f"position | yes; about: position; from block 4; 4.00 % of tokens at 9.95 x | {last} |"
    )


def kinds_said(**answers):
    """Tidy rows of kinds: all silent but those named."""
    rows = [{"artifact": kind, "answer": answers.get(kind.replace("-", "_"), "no")}
            for kind in KINDS]  # fmt: skip
    return pd.DataFrame(rows)


def test_kinds_of_a_phantom_are_right_where_what_is_known_is_said(truth):
    right = {"high_norm": "yes", "shift": "yes", "fixed_pattern": "yes", "universality": "yes"}
    found = of_kinds("corners", truth, kinds_said(**right, qkv="yes", rank="cannot tell"))
    assert found["shift"] == ("yes", "yes", True) and found["sink"] == ("no", "no", True)
    assert found["rank"] == ("no", "cannot tell", None)
    assert "qkv" not in found  # hangs on the ViT that was trained
    wrong = kinds_said(**right | {"shift": "does not apply"}, sink="yes")
    found = of_kinds("corners", truth, wrong)
    assert {kind for kind, (_, _, is_right) in found.items() if is_right is False} == {
        "shift", "sink",
    }  # fmt: skip
    doubt = of_kinds("heavy-tail", truth, kinds_said(high_norm="cannot tell"))
    assert doubt["high-norm"] == ("not yes", "cannot tell", True)
    assert of_kinds("corners", np.zeros_like(truth), wrong) == {}
    asked, not_asked = kinds_said(resolution="yes"), kinds_said(resolution="does not apply")
    assert of_kinds("finer-grid", truth, asked)["resolution"] == ("yes", "yes", True)
    assert of_kinds("finer-grid", truth, kinds_said())["resolution"] == ("yes", "no", False)
    assert "resolution" not in of_kinds("finer-grid", truth, not_asked)  # no second size
    with pytest.raises(StudyError, match="nothing is said of the kind sink"):
        of_kinds("clean", truth, kinds_said().query("artifact != 'sink'"))


def test_a_line_says_what_is_known_of_a_kind_and_what_is_said():
    values = [
        ("kinds-known", "sink", 0), ("kinds-said", "sink", NAN), ("kinds-right", "sink", 1),
        ("kinds-known", "shift", 1), ("kinds-said", "shift", 1), ("kinds-right", "shift", 1),
        ("kinds-known", "rank", 0), ("kinds-said", "rank", NAN), ("kinds-right", "rank", NAN),
        ("kinds-known", "high-norm", NAN), ("kinds-said", "high-norm", 1),
        ("kinds-right", "high-norm", 0), ("verdict", "passed", 0),
    ]  # fmt: skip
    table = pd.DataFrame(values, columns=["group", "metric", "value"])
    who = {"dataset": "d", "family": "control", "size": "tiny", "registers": "r0-x"}
    cells = [line[2:] for line in kind_lines(table.assign(**who))]
    assert cells == [
        ["high-norm", "not yes", "yes", "no"], ["sink", "no", "does not apply", "yes"],
        ["shift", "yes", "yes", "yes"], ["rank", "no", "cannot tell", "undecided"],
    ]  # fmt: skip
