"""Scores over a test set: a perfect head beside a constant guess."""

import numpy as np
import pytest

from tokenscope.dense.map_datasets import IGNORE, Maps
from tokenscope.dense.scores import HeadScores, cropped
from tokenscope.errors import StudyError

WHO = {"family": "f", "size": "s", "registers": "r0", "kind": "released", "dataset": "set"}
STATISTICS = {"resamples": 50, "seed": 0, "confidence": 0.95}
RNG = np.random.default_rng(0)


def scored(maps, targets, guess):
    scores = HeadScores(maps)
    for target in targets:
        scores.add("linear", [target], target)
        scores.add("constant", [np.full_like(target, guess)], target)
    rows, classes = scores.rows(WHO, STATISTICS)
    return scores, rows.frame().set_index(["group", "metric"])["value"], classes


def test_a_perfect_segmentation(tmp_path):
    maps = Maps({"layout": "pairs", "path": str(tmp_path), "task": "segmentation", "classes": 3})
    targets = RNG.integers(0, 2, (6, 8, 8)).astype(np.uint8)  # class 2 occurs nowhere
    targets[:, 0] = IGNORE
    scores, rows, classes = scored(maps, targets, 0)
    assert rows["linear", "miou"] == rows["linear", "pixel_accuracy"] == 100
    share = (targets[:, 1:] == 0).mean()
    assert rows["constant", "pixel_accuracy"] == pytest.approx(100 * share)
    assert rows["constant", "miou"] == pytest.approx(50 * share)
    assert rows["linear-constant", "miou"] == pytest.approx(100 - 50 * share)
    assert rows["linear", "iou_0"] == 100 and np.isnan(rows["linear", "iou_2"])
    assert classes["class"].tolist() == ["0", "1", "2"]
    assert classes["true_share"].sum() == pytest.approx(100)
    assert scores.by_image()["linear", "areas"].shape == (6, 3, 3)


def test_classes_of_ade20k_need_no_names(tmp_path):
    maps = Maps({"layout": "ade20k", "path": str(tmp_path), "task": "segmentation"})
    _, rows, classes = scored(maps, RNG.integers(0, 150, (3, 20, 20)).astype(np.uint8), 0)
    assert len(classes) == 150 and "iou_0" not in rows["linear"]  # too many to list


def test_a_perfect_depth(tmp_path):
    maps = Maps({"layout": "pairs", "path": str(tmp_path), "task": "depth"})
    targets = np.full((4, 5, 6), 2, np.float32)
    targets[:, 0] = 0  # no depth there
    scores, rows, classes = scored(maps, targets, 3)
    assert rows["linear", "rmse"] == rows["linear", "abs_rel"] == 0
    assert rows["linear", "delta1"] == 100 and rows["constant", "delta1"] == 0
    assert rows["constant", "rmse"] == rows["constant", "rmse_pooled"] == 1
    assert rows["linear-constant", "rmse"] == -1 and not len(classes)
    assert scores.by_image()["linear", "rmse"].tolist() == [0] * 4


def test_the_eigen_crop_names_the_image_that_it_does_not_fit(tmp_path):
    maps = Maps({"layout": "pairs", "path": str(tmp_path), "task": "depth", "crop": "eigen"})
    with pytest.raises(StudyError, match="room_7: .* leave out crop: eigen"):
        cropped(np.ones((4, 4), np.float32), maps, "room_7")


def test_seeds_of_heads_are_in_the_interval(tmp_path):
    """Two seeds, one perfect and one that is always 1 m off: their mean, and a width from them."""
    maps = Maps({"layout": "pairs", "path": str(tmp_path), "task": "depth"})
    scores = HeadScores(maps)
    target = np.full((5, 6), 2, np.float32)
    for _ in range(30):
        scores.add("linear", [target, target + 1], target)
        scores.add("constant", [target], target)
    assert scores.by_image()["linear", "rmse"].shape == (30, 2)
    rows = scores.rows(WHO, STATISTICS | {"resamples": 1000})[0].frame()
    row = rows.set_index(["group", "metric"]).loc[("linear", "rmse")]
    assert row["value"] == 0.5
    # Of two seeds a quarter of the resamples are twice the one: 0.5 -+ sqrt(2) / 2.
    assert (row["low"], row["high"]) == pytest.approx((0.5 - 0.5**0.5, 0.5 + 0.5**0.5))
    assert rows.set_index(["group", "metric"])["value"]["linear", "rmse_pooled"] == 0.5**0.5
    maps = Maps({"layout": "pairs", "path": str(tmp_path), "task": "segmentation", "classes": 2})
    scores, target = HeadScores(maps), np.array([[0, 1], [0, 1]], np.uint8)
    for _ in range(10):
        scores.add("linear", [target, 1 - target], target)
        scores.add("constant", [np.zeros_like(target)], target)
    rows, classes = scores.rows(WHO, STATISTICS)
    values = rows.frame().set_index(["group", "metric"])["value"]
    assert values["linear", "miou"] == values["linear", "pixel_accuracy"] == 50
    assert len(classes) == 2 and scores.by_image()["linear", "areas"].shape == (10, 2, 3, 2)
