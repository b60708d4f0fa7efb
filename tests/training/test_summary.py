"""What a training changed: rows before and after, means over seeds, the page, emergence."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from tokenscope.tables import tidy
from tokenscope.training.emergence import emergence_table, outliers_from
from tokenscope.training.page import page
from tokenscope.training.summary import chosen, training_table

KEYS = ["f-s0/small/r1-finetuned", "f-s1/small/r1-finetuned"]
HISTORY = pd.DataFrame({"loss": [2.0, 1.0], "patch_norm": [9.0, 8.0], "top1": [10.0, float("nan")]})
PUBLISHED = pd.DataFrame(columns=["source", "family", "size", "registers", "dataset", "metric"])
STATISTICS = {"resamples": 50, "seed": 0, "confidence": 0.95}


def measured(key, top1):
    family, size, registers = key.split("/")
    who = {"family": family, "size": size, "registers": registers, "kind": "k", "dataset": "set"}
    rows = tidy.TidyRows(who, 10, 0)
    rows.add("claim5", "own_head", "top1", top1, top1 - 1, top1 + 1, "percent")
    rows.add("claim1", "last_block", "norm_median", 40, 39, 41)
    rows.add("claim1", "last_block", "share_norm_over_3x_median", 2, 1, 3, "percent")
    rows.add("claim1", "reg0", "norm_mean", 70, 69, 71)
    rows.add("claim1", "block01", "norm_median", 5)
    return rows.frame()


def training(key, seed):
    return {
        "key": key, "kind": "finetuned", "base": "f/small/r0", "recipe": "r", "norm_penalty": 0.01,
        "frozen_blocks": 0, "epochs": 2, "training_seed": seed, "history": HISTORY,
        "card": {"recipe": {}, "images": 100, "trained_parameters": 7, "updates": 20},
    }  # fmt: skip


def test_before_after_and_over_seeds():
    measures = {KEYS[0]: measured(KEYS[0], 50), KEYS[1]: measured(KEYS[1], 54)}
    measures["f/small/r0"] = measured("f/small/r0", 30)
    assert len(chosen(measures["f/small/r0"])) == 4  # not the first block
    table = training_table([training(k, i) for i, k in enumerate(KEYS)], measures, 0.95)
    top1 = table[table["metric"] == "top1"]
    before = top1[top1["group"] == "before: own_head"]
    assert before["value"].tolist() == [30, 30]  # of the base, under the name of the training
    assert before["registers"].tolist() == ["r1-finetuned"] * 2
    mean = top1[top1["group"] == "after: own_head, over seeds"].iloc[0]
    assert (mean["family"], mean["value"], mean["n"]) == ("f", 52, 2)
    assert mean["high"] - mean["value"] == pytest.approx(12.706 * 2, rel=1e-3)  # Student
    share = table[table["metric"].str.startswith("share") & table["group"].str.contains("over")]
    assert (share["low"] == share["high"]).all()
    text = page(table, PUBLISHED)
    assert (
        "| f-s0/small/r1-finetuned | set | 2 to 1 | 30.00 [29.00, 31.00] | 50.00 [49.00, 51.00] |"
        in text
    )
    assert text.count("| 70 |") == 3  # the largest register norm


def test_registers_against_none_of_the_same_training_over_seeds():
    """Before and after differ by the training as well; the twin without registers does not."""
    gains, trainings, measures = (0.5, 0.1, 0.6), [], {"f/small/r0": measured("f/small/r0", 30)}
    for seed, gain in enumerate(gains):
        for registers, top1 in (("r0-finetuned", 50 + seed), ("r1-finetuned", 50 + seed + gain)):
            key = f"f-s{seed}/small/{registers}"
            trainings.append(training(key, seed))
            measures[key] = measured(key, top1)
    table = training_table(trainings, measures, 0.95)
    assert not table.duplicated([*tidy.KEY_COLUMNS, "training_seed"]).any()
    pairs = table[table["metric"] == "top1_minus_r0"]
    each = pairs[pairs["group"] == "after: own_head"]
    assert each["value"].tolist() == pytest.approx(gains) and each["low"].isna().all()
    assert set(each["unit"]) == {"points"} and set(each["registers"]) == {"r1-finetuned"}
    mean = pairs[pairs["group"] == "after: own_head, over seeds"].iloc[0]
    assert (mean["value"], mean["n"]) == (pytest.approx(0.4), 3)
    half = stats.t.ppf(0.975, 2) * np.std(gains, ddof=1) / np.sqrt(3)
    assert mean["high"] - mean["value"] == pytest.approx(half)
    share = table[table["metric"] == "share_norm_over_3x_median_minus_r0"]
    assert len(share) == 4 and (share["value"] == 0).all()
    assert "over seeds" in page(table, PUBLISHED)


def test_a_study_without_trainings_has_an_empty_page():
    table = training_table([], {}, 0.95)
    assert not len(table) and "No backbone of this study is trained here." in page(table, PUBLISHED)


def test_emergence_counts_outliers_by_update_and_block():
    norms = np.random.default_rng(0).uniform(9, 11, (20, 2, 50)).astype(np.float32)
    late = norms.copy()
    late[:, 1, :2] = 100  # two of fifty patches, second block
    who = {"family": "f", "size": "s", "registers": "r0", "kind": "k", "dataset": "set"}
    table = emergence_table([("000000", norms), ("000500", late)], who, 3, STATISTICS)
    share = table[table["metric"] == "share_norm_over_3x_median"]
    assert share[["step", "block"]].to_numpy().tolist() == [[0, 1], [0, 2], [500, 1], [500, 2]]
    assert share["value"].tolist() == pytest.approx([0, 0, 0, 4])
    assert list(emergence_table([], who, 3, STATISTICS).columns) == [*tidy.COLUMNS, "step", "block"]


def test_outliers_from_is_a_share_of_the_training():
    """Outliers in the second block from update 300 of 900 on; what came and went is not it."""
    rng = np.random.default_rng(0)
    snapshots = []
    for step in (0, 100, 300, 600, 900):
        norms = rng.uniform(9, 11, (20, 2, 50)).astype(np.float32)
        norms[:, 1, :2] = 100 if step in (0, 300, 600, 900) else 10
        snapshots.append((f"{step:06d}", norms))
    who = {"family": "f", "size": "s", "registers": "r0", "kind": "k", "dataset": "set"}
    table = emergence_table(snapshots, who, 3, STATISTICS)
    found = outliers_from(table, 900, 3, 0.1)
    assert found.value == pytest.approx(100 / 3) and found.high == found.value
    assert found.low == pytest.approx(100 / 9)  # the snapshot before
    none = outliers_from(table[table["step"] <= 100], 900, 3, 0.1)
    assert none.value is None and "no outliers at its end" in none.unit
    whole = outliers_from(table[table["step"] >= 300], 900, 3, 0.1)
    assert whole.low == whole.value == pytest.approx(100 / 3)
    made = training_table(
        [training(KEYS[0], 0) | {"outliers_from": {"set": found}}],
        {KEYS[0]: measured(KEYS[0], 50), "f/small/r0": measured("f/small/r0", 30)}, 0.95,
    )  # fmt: skip
    row = made[made["metric"] == "outliers_from"].iloc[0]
    assert (row["dataset"], row["value"]) == ("set", found.value)
