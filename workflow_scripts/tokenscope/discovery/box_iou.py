"""Box IoU and CorLoc: boxes (left, top, right, bottom; half-open) scored against true ones.

CorLoc is the percent of images whose one box meets a true one with an IoU of at least one half, as
in LOST (Simeoni et al., https://arxiv.org/abs/2109.14279).
"""

import numpy as np


def iou(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes (..., m, 4) with others (k, 4): (..., m, k).

    A box without area has an IoU of 0 with everything.
    """
    boxes, others = boxes[..., None, :].astype(np.float64), others.astype(np.float64)
    low = np.maximum(boxes[..., :2], others[..., :2])
    high = np.minimum(boxes[..., 2:], others[..., 2:])
    shared = np.clip(high - low, 0, None).prod(-1)
    area = (boxes[..., 2:] - boxes[..., :2]).prod(-1) + (others[..., 2:] - others[..., :2]).prod(-1)
    union = area - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def located(predicted: np.ndarray, truth: list[np.ndarray], at_least: float = 0.5) -> np.ndarray:
    """CorLoc's yes or no: whether a box meets any true box with an IoU of at least one half.

    Args:
        predicted: (image, ..., 4). truth: one array (k, 4) per image, k > 0.

    Returns:
        booleans (image, ...); CorLoc is their mean over images.
    """
    return np.stack([
        (iou(box.reshape(-1, 4), true) >= at_least).any(-1).reshape(box.shape[:-1])
        for box, true in zip(predicted, truth, strict=True)
    ])  # fmt: skip
