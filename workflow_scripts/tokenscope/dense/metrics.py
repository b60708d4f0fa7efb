"""Metrics of one predicted map: pixels by class (for mIoU), RMSE and other errors of depth."""

import numpy as np

from tokenscope.dense.map_datasets import IGNORE


def areas(predicted: np.ndarray, target: np.ndarray, classes: int) -> np.ndarray:
    """Pixels of one image by class: in both, predicted, true; int64 (3, classes)."""
    valid = target != IGNORE
    predicted, target = predicted[valid].astype(np.int64), target[valid].astype(np.int64)
    both = np.bincount(target[predicted == target], minlength=classes)
    return np.stack([
        both, np.bincount(predicted, minlength=classes), np.bincount(target, minlength=classes),
    ])  # fmt: skip


def depth_errors(predicted: np.ndarray, target: np.ndarray) -> dict[str, float]:
    """Errors of one image over pixels with a target > 0 (metres).

    rmse, abs_rel (mean |error| / target), delta1 (percent of pixels with a ratio below 1.25), and
    squared and pixels, from which errors over all pixels of a set are summed.
    """
    valid = target > 0
    p, t = predicted[valid].astype(np.float64), target[valid].astype(np.float64)
    squared = np.square(p - t)
    return {
        "rmse": float(np.sqrt(squared.mean())),
        "abs_rel": float((np.abs(p - t) / t).mean()),
        "delta1": float(100 * (np.maximum(p / t, t / p) < 1.25).mean()),
        "squared": float(squared.sum()),
        "pixels": int(valid.sum()),
    }


def eigen_crop(target: np.ndarray) -> np.ndarray:
    """A depth map of 480 x 640 without the border that Eigen et al. leave out (NYUd).

    Raises:
        ValueError: another size.
    """
    if target.shape != (480, 640):
        height, width = target.shape
        raise ValueError(f"the Eigen crop is defined for 640 x 480, not {width} x {height}")
    inside = np.zeros_like(target)
    inside[45:471, 41:601] = target[45:471, 41:601]
    return inside
