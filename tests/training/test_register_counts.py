"""A line for each number of registers: what the seeds say, and no more."""

import pandas as pd
import pytest

from tokenscope.tables import tidy
from tokenscope.training.register_counts import HEADER, lines, page, read, register_counts
from tokenscope.training.summary import training_table

HISTORY = pd.DataFrame({"loss": [2.0], "patch_norm": [9.0], "top1": [10.0]})
COSTS = {"parameters_overhead": 0.02, "flops_overhead": 1.5}


def rows(key, top1, share, verdict):
    who = tidy.columns_of(key) | {"kind": "scratch", "dataset": "set"}
    made = tidy.TidyRows(who, 10, 0)
    made.add("claim5", "own_head", "top1", top1, top1 - 1, top1 + 1, "percent")
    made.add("claim1", "last_block", "share_norm_over_3x_median", share, 0, 9, "percent")
    made.add("claim1", "artifacts", "has_artifacts", verdict, unit="verdict")
    return made.frame()


def table(gains, seeds=3):
    """Trainings without registers (top-1 of 50, 51 ..., 2 % outliers, artifacts) and with four."""
    trainings, measures = [], {}
    for seed, gain in enumerate(gains):
        for registers, top1, share, verdict in (
            ("r0-scratch", 50 + seed, 2.0 + 0.1 * seed, 1.0),
            ("r4-scratch", 50 + seed + gain, 0.0, [0.0, float("nan"), 0.0][seed]),
        ):
            key = f"vit-s{seed}/small/{registers}"
            measures[key] = rows(key, top1, share, verdict)
            trainings.append({
                "key": key, "kind": "scratch", "base": "", "recipe": "r", "norm_penalty": 0,
                "frozen_blocks": 0, "epochs": 2, "training_seed": seed, "history": HISTORY,
                "card": {"recipe": {}, "images": 9, "trained_parameters": 7, "updates": 20},
            })  # fmt: skip
    cost = tidy.TidyRows(tidy.columns_of("any/small/r4") | {"kind": "", "dataset": ""}, 3, 0)
    for metric, value in COSTS.items():
        cost.add("overhead", "counted", metric, value, unit="percent")
    cost.add("overhead", "training, cpu", "time_overhead", 99, unit="percent")
    cost.add("overhead", "forward, cpu", "time_overhead", 3, unit="percent")
    costs = {t["key"]: cost.frame() for t in trainings}
    return register_counts(training_table(trainings, measures, 0.95), costs, 3, seeds)


@pytest.mark.parametrize(
    "gains, answer", [((0.5, 0.6, 0.7), "more"), ((-0.5, -0.6, -0.7), "less"),
                      ((0.5, -0.6, 0.7), "cannot tell")],
)  # fmt: skip
def test_the_answer_follows_the_seeds(gains, answer):
    none, four = table(gains).to_dict("records")
    assert (none["registers"], four["registers"]) == (0, 4) and four["seeds"] == 3
    assert none["changes_top1"] == "" and four["changes_top1"] == answer
    assert four["top1_minus_r0"] == pytest.approx(sum(gains) / 3)
    assert none["top1"] == 51 and four["changes_outliers"] == "less"
    assert (none["with_artifacts"], none["judged"]) == (3, 3)
    assert (four["with_artifacts"], four["judged"]) == (0, 2)
    assert {name: four[name] for name in COSTS} == COSTS
    assert four["time_overhead"] == 3  # of a forward pass, not of a training step


def test_intervals_of_an_accuracy_end_at_0_and_100():
    """Two seeds of 50 and 51 %: Student's interval would be ten wide, that of the registers' more;
    a difference has no such ends."""
    none, four = table((0.0, 48.0)).to_dict("records")
    assert (four["top1"], four["top1_low"], four["top1_high"]) == (74.5, 0, 100)
    assert none["top1_low"] == pytest.approx(50.5 - 12.706 * 0.5, rel=1e-3)
    assert four["top1_minus_r0_low"] < -200 and none["outliers_low"] > 0


def test_few_seeds_decide_nothing():
    (_, two) = table((0.5, 0.5)).to_dict("records")
    assert two["changes_top1"] == "cannot tell: 2 of 3 seeds"
    assert lines(pd.DataFrame([two]))[0][9] == "+0.50"  # equal seeds give no interval
    (_, one) = table((0.5,)).to_dict("records")
    assert one["top1_minus_r0"] == 0.5 and one["top1_minus_r0_low"] != one["top1_minus_r0_low"]
    assert one["changes_top1"] == "cannot tell: 1 of 3 seeds"


def test_the_page_is_that_table(tmp_path):
    made = table((0.5, 0.6, 0.7))
    made.to_csv(tmp_path / "t.csv", index=False)
    assert lines(read(str(tmp_path / "t.csv"))) == lines(made)
    none, four = lines(made)
    assert len(none) == len(HEADER) and none[7] == none[10] == ""
    assert none[11:] == ["", "", ""]  # nothing is added to itself
    assert four[4] == "0 of 2, 1 cannot tell" and four[11:] == ["+0.02 %", "+1.50 %", "+3.00 %"]
    assert "| vit small scratch | set | 4 | 3 |" in page(made)
