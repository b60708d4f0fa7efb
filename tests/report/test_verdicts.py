"""Verdicts: what an interval says about a statement, on numbers with a known answer."""

import pandas as pd
import pytest

from tokenscope.errors import StudyError
from tokenscope.report import contents
from tokenscope.report.verdicts import concerns, judge, overall
from tokenscope.tables import tidy

NAN = float("nan")
BASE = {
    "id": "x", "said": "x", "sources": ["y"], "table": "claim4", "groups": ["outlier-normal"],
    "metric": "class_top1", "backbones": ["*/*/r[0-9]"], "holds": {"above": 0},
}  # fmt: skip


def rows(*entries):
    """Tidy rows from (backbone, group, metric, value, low, high[, unit])."""
    table = []
    for key, group, metric, value, low, high, *unit in entries:
        family, size, registers = key.split("/")
        table.append({
            "family": family, "size": size, "registers": registers, "kind": "", "dataset": "d",
            "claim": "c", "group": group, "metric": metric, "value": value, "low": low,
            "high": high, "n": 10, "seed": 0, "unit": unit[0] if unit else "",
        })  # fmt: skip
    return pd.DataFrame(table, columns=tidy.COLUMNS)


def gap(key, value, low, high, *unit):
    return key, "outlier-normal", "class_top1", value, low, high, *unit


@pytest.mark.parametrize(
    ("low", "high", "above", "below"),
    [
        (0.1, 2, "supported", "contradicted"),
        (-2, -0.1, "contradicted", "supported"),
        (-1, 1, "cannot tell", "cannot tell"),
        (0, 1, "cannot tell", "cannot tell"),
        (NAN, NAN, "cannot tell", "cannot tell"),
    ],
)
def test_an_interval_decides_on_which_side_it_lies(low, high, above, below):
    table = {"claim4": rows(gap("a/b/r0", 0.5, low, high))}
    for side, expected in (("above", above), ("below", below)):
        [judgement] = judge(BASE | {"holds": {side: 0}}, table, [("d", "a/b/r0")])
        assert judgement.verdict == expected


def test_what_is_missing_is_not_run_and_what_is_refused_cannot_tell():
    table = {"claim4": rows(gap("a/b/r0", NAN, NAN, NAN, "not measured: too few tokens"))}
    planned = [("d", "a/b/r0"), ("d", "a/c/r0"), ("d", "a/b/r0-content-10x")]
    refused, absent = judge(BASE, table, planned)
    assert (refused.verdict, refused.why) == ("cannot tell", "not measured: too few tokens")
    assert absent.verdict == "not run" and absent.who == "a/c/r0"
    # Rows, but none of this quantity: the question does not arise.
    other = {"claim4": rows(("a/b/r0", "normal", "class_top1", 1, 0, 2))}
    assert judge(BASE, other, [("d", "a/b/r0")]) == []


def test_one_contradiction_settles_a_statement_about_all():
    table = {"claim4": rows(gap("a/b/r0", 3, 1, 5), gap("a/c/r0", -9, -10, -8),
                            gap("a/d/r0", -2, -3, -1), gap("a/e/r0", 0, -1, 1))}  # fmt: skip
    planned = [("d", f"a/{size}/r0") for size in "bcdef"]
    judged = judge(BASE, table, planned)
    total = overall(BASE, judged)
    assert total.verdict == "contradicted" and total.decided_by.who == "a/c/r0"
    assert list(total.counts.values()) == [1, 2, 1, 1]
    some = overall(BASE | {"quantifier": "some"}, judged)
    assert some.verdict == "supported" and some.decided_by.who == "a/b/r0"
    undecided = [judgement for judgement in judged if judgement.who in ("a/b/r0", "a/e/r0")]
    assert overall(BASE, undecided).verdict == "cannot tell"
    weakest = overall(BASE | {"holds": {"below": 0}}, judge(
        BASE | {"holds": {"below": 0}}, table, planned[1:3]))  # fmt: skip
    assert weakest.verdict == "supported" and weakest.decided_by.who == "a/d/r0"
    assert overall(BASE, judged[-1:]).verdict == overall(BASE, []).verdict == "not run"


def test_difference_of_groups_takes_the_extremes_of_both_intervals():
    criterion = BASE | {"groups": ["after"], "minus": {"group": "before"}}
    table = {"claim4": rows(("a/b/r4", "before", "class_top1", 10, 9, 11),
                            ("a/b/r4", "after", "class_top1", 14, 12, 16))}  # fmt: skip
    [judgement] = judge(criterion, table, [("d", "a/b/r4")])
    assert (judgement.value, judgement.low, judgement.high, judgement.verdict) == (
        4,
        1,
        7,
        "supported",
    )


def test_share_of_depth_and_exceptions():
    criterion = BASE | {"metric": "onset_block", "groups": ["depth"], "share_of_depth": True,
                        "holds": {"above": 0.3333}}  # fmt: skip
    blocks = [("a/b/r0", f"block{i:02d}", "norm_median", 1, 1, 1) for i in range(1, 11)]
    table = {"claim4": rows(("a/b/r0", "depth", "onset_block", 5, 4, 6), *blocks)}
    [judgement] = judge(criterion, table, [("d", "a/b/r0")])
    assert (judgement.value, judgement.low, judgement.verdict) == (0.5, 0.4, "supported")
    case = {"table": "claim1", "group": "peak_block", "metric": "has_artifacts", "answer": "no",
            "why": "no outliers"}  # fmt: skip
    known = {"claim1": rows(("a/b/r0", "peak_block", "has_artifacts", 0, NAN, NAN, "verdict"))}
    [judgement] = judge(criterion | {"unless": [case]}, table | known, [("d", "a/b/r0")])
    assert (judgement.verdict, judgement.why) == ("cannot tell", "no outliers")


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ((0, 0, 1), "supported"), ((0, 1, 0), "contradicted"), ((1, 1, 1), "contradicted"),
        ((0, 0, 0), "cannot tell"), ((0, NAN, 1), "cannot tell"), ((1, NAN, 0), "contradicted"),
    ],
)  # fmt: skip
def test_order_by_size(answers, expected):
    criterion = BASE | {"metric": "has_artifacts", "holds": {"order": "params"}}
    sizes = {"a/c/r0": 2.0, "a/b/r0": 1.0, "a/d/r0": 3.0}
    table = {"claim4": rows(*(
        (f"a/{size}/r0", "outlier-normal", "has_artifacts", answer, NAN, NAN, "verdict")
        for size, answer in zip("bcd", answers, strict=True)
    ))}  # fmt: skip
    [judgement] = judge(criterion, table, [("d", key) for key in sizes], sizes)
    assert judgement.verdict == expected and judgement.who == "a"


def test_criteria_and_sections_of_the_project_are_sound():
    criteria = contents.load("config/verdicts.yaml", "verdicts.schema.yaml")
    names = [criterion["id"] for group in criteria.values() for criterion in group]
    assert len(names) == len(set(names))
    known = {section["id"] for section in contents.sections("config/report.yaml")}
    assert set(criteria) <= known
    position = next(
        criterion for criterion in criteria["claim4"] if criterion["id"] == "claim4-position"
    )
    assert concerns(position, "dinov2/giant/r0") and not concerns(position, "dinov2/giant/r4")


def test_a_criterion_with_a_wrong_key_is_refused(tmp_path):
    file = tmp_path / "verdicts.yaml"
    file.write_text("controls: [{id: x, said: y}]")
    with pytest.raises(StudyError, match=r"verdicts.yaml: controls/0: .* is a required property"):
        contents.load(str(file), "verdicts.schema.yaml")
