"""When a number means nothing: no artifacts, no twin, minutes of training, too few seeds."""

import pytest
from made_verdicts import NAN, answer, made, row, study

from tokenscope.verdicts.answers import GENERALISES, SAME_MODEL
from tokenscope.verdicts.conditions import Facts
from tokenscope.verdicts.engine import judge

GOOD = (1, 0.9, 1.1)
CASE = {"table": "claim1", "group": "artifacts", "metric": "has_artifacts", "answer": "no",
        "why": "it has no outliers"}  # fmt: skip


def one(of, criterion, rows, **given):
    lines = judge(study(of, rows, **given), criterion)
    (judged,) = next(line for line in lines if line.scope == GENERALISES).judged
    return judged.answer, judged.why


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        (1, ("supported", "")),
        (0, ("does not apply", "it has no outliers")),
        (NAN, ("cannot tell", "cannot tell whether it has no outliers")),
        (None, ("cannot tell", "cannot tell whether it has no outliers")),
    ],
)
def test_without_outliers_a_statement_about_them_does_not_apply(known, expected):
    of, criterion = made(unless=[CASE])
    claim1 = [] if known is None else [answer("a/b/r4", known)]
    assert one(of, criterion, [row("a/b/r4", *GOOD)], claim1=claim1) == expected


def test_the_block_and_the_data_set_of_the_claim_are_looked_at():
    of, criterion = made(unless=[CASE])
    rows = [row("a/b/r4", *GOOD)]
    # Another group is another block: a clean last one takes nothing from the judged one.
    last = answer("a/b/r4", 0, group="artifacts-last_block")
    assert one(of, criterion, rows, claim1=[answer("a/b/r4", 1), last])[0] == "supported"
    # The data set itself, else the one whose cutoffs chose the tokens, else all if they agree.
    there = [answer("a/b/r4", 0, dataset="e"), answer("a/b/r4", 1, dataset="f")]
    here = answer("a/b/r4", 1)
    assert one(of, criterion, rows, claim1=[*there, here])[0] == "supported"
    chosen = Facts(chosen_on={"d": "e"})
    assert one(of, criterion, rows, claim1=there, facts=chosen) == (
        "does not apply", "it has no outliers (on e)",
    )  # fmt: skip
    assert one(of, criterion, rows, claim1=there)[0] == "cannot tell"
    assert one(of, criterion, rows, claim1=there[1:])[0] == "supported"


def test_what_is_known_beats_what_is_not():
    guessed = {"table": "t", "group": "outlier", "metric": "confounded", "answer": "yes",
               "then": "cannot tell", "why": "places can be guessed"}  # fmt: skip
    of, criterion = made(unless=[CASE, guessed])
    places = answer("a/b/r4", 1, group="outlier", metric="confounded")
    found = one(of, criterion, [row("a/b/r4", *GOOD), places], claim1=[])
    assert found == ("cannot tell", "places can be guessed")


def test_registers_cannot_remove_what_the_twin_has_not():
    of, criterion = made(unless=[CASE | {"of": "twin"}])
    rows, facts = [row("a/b/r4", *GOOD)], Facts(params={"a/b/r0": 1.0, "a/b/r4": 1.0})
    for has, expected in ((1, "supported"), (0, "does not apply"), (NAN, "cannot tell")):
        found = one(of, criterion, rows, claim1=[answer("a/b/r0", has)], facts=facts)
        assert found[0] == expected
    assert one(of, criterion, rows, claim1=[]) == (
        "does not apply", "no twin without registers (a/b/r0) is in this study",
    )  # fmt: skip


def test_a_difference_from_r0_without_r0():
    of, criterion = made(metric="top1_gain_over_r0")
    found = one(of, criterion, [row("a/b/r4", *GOOD, metric="top1")])
    assert found == ("does not apply", "no twin without registers (a/b/r0) is measured beside it")
    released = one(of, criterion, [row("a/b/r4", *GOOD, metric="top1_gain_over_r0")])
    assert released == ("supported", "these two weights")


def test_minutes_of_training_and_rendered_scenes_say_nothing_of_the_papers():
    of, criterion = made(backbones=["*/*/r4*"])
    rows = [row("a/b/r4-scratch", *GOOD)]
    found = one(of, criterion, rows, facts=Facts(images_seen={"a/b/r4-scratch": 10_000}))
    assert found[0] == "does not apply" and "trained here on 10,000 images" in found[1]
    released = one(of, criterion, [row("a/b/r4", *GOOD)], facts=Facts(rendered=("d",)))
    assert released[0] == "does not apply" and "rendered scenes" in released[1]


def test_who_is_excused_is_so_on_a_data_set_that_has_the_number():
    """Of several data sets of a table, each with numbers of its own task."""
    of, criterion = made(backbones=["*/*/r4*"])
    rows = [row("a/b/r4", *GOOD, metric="miou"), row("a/b/r4", *GOOD, dataset="depth")]
    facts = Facts(rendered=("d", "depth"))
    (line,) = [n for n in judge(study(of, rows, facts=facts), criterion) if n.scope == GENERALISES]
    assert [(j.answer, j.dataset) for j in line.judged] == [("does not apply", "depth")]


def test_one_head_is_not_enough():
    of, criterion = made(heads=True)
    for heads, expected in ((1, "cannot tell"), (2, "cannot tell"), (3, "supported")):
        found = one(of, criterion, [row("a/b/r4", *GOOD)], facts=Facts(heads={"t": heads}))
        assert found[0] == expected


def test_who_saw_the_labels_is_said():
    seen = {"table": "t", "group": "backbone", "metric": "saw_labels", "answer": "yes",
            "why": "it saw these labels"}  # fmt: skip
    of, criterion = made(remarks=[seen])
    labels = answer("a/b/r4", 1, group="backbone", metric="saw_labels")
    found = one(of, criterion, [row("a/b/r4", *GOOD), labels])
    assert found == ("supported", "it saw these labels")


def trained(values, half=0.05):
    """One training over seeds: rows and facts."""
    keys = [f"a-s{seed}/b/r4-scratch" for seed in range(len(values))]
    rows = [row(key, v, v - half, v + half) for key, v in zip(keys, values, strict=True)]
    facts = Facts(images_seen=dict.fromkeys(keys, 1e9), alike=dict.fromkeys(keys, "a/b/r4-scratch"))
    return rows, facts


def test_trainings_are_judged_over_their_seeds():
    of, criterion = made(backbones=["*/*/r4-scratch"])
    rows, facts = trained([0.5, 0.52, 0.48])
    (judged,) = judge(study(of, rows, facts=facts), criterion)[0].judged
    assert (judged.who, judged.answer) == ("a/b/r4-scratch", "supported")
    assert judged.value == pytest.approx(0.5)
    # Each by itself is clear; the seeds are not.
    rows, facts = trained([0.1, 0.9, 0.5])
    assert one(of, criterion, rows, facts=facts)[0] == "cannot tell"
    rows, facts = trained([0.5, 0.5])
    found = one(of, criterion, rows, facts=facts)
    assert found[0] == "cannot tell" and found[1].startswith("2 seeds of this training")
    rows, facts = trained([0.5])
    assert one(of, criterion, rows, facts=facts)[1].startswith("one seed of this training")


def test_two_backbones_that_differ_in_their_seed_alone_decide_nothing():
    of, criterion = made(metric="top1_gain_over_r0", backbones=["*/*/r4*"])
    keys = ["a/b/r0-scratch", "a-s1/b/r0-scratch"]
    rows = [row(key, v, v - 0.1, v + 0.1, metric="top1", unit="percent")
            for key, v in zip(keys, (70, 71), strict=True)]  # fmt: skip
    facts = Facts(alike=dict.fromkeys(keys, keys[0]), images_seen=dict.fromkeys(keys, 1e9))
    (line,) = [n for n in judge(study(of, rows, facts=facts), criterion) if n.scope == SAME_MODEL]
    (judged,) = line.judged
    assert line.why == (
        "two backbones that differ in their seed alone (a-s1/b/r0-scratch - a/b/r0-scratch), in "
        "top-1: images alone would decide it"
    )
    assert judged.answer == line.answer == "cannot tell"
    assert "images alone would say supported" in judged.why
    assert (judged.value, judged.high) == (1, pytest.approx(1 + 0.02**0.5))
    brief = Facts(alike=facts.alike, images_seen=dict.fromkeys(keys, 10.0))
    (line,) = [n for n in judge(study(of, rows, facts=brief), criterion) if n.scope == SAME_MODEL]
    assert line.judged[0].answer == line.answer == "does not apply"
