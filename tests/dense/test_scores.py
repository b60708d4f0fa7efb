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
        scores.add("linear", target, target)
        scores.add("constant", np.full_like(target, guess), target)
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
