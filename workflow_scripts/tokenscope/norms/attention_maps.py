"""Maps of attention over patches: how peaked, how alike, and whether outliers or objects hold it.

Maps are (image, patch), the attention of CLS or of a register after the last block, over patches
only, as Darcet et al. show them (https://arxiv.org/abs/2309.16588).
"""

import numpy as np

from tokenscope.stats.bootstrap import Bootstrap
from tokenscope.stats.measurement import Measurement

TOP = 0.02  # share of the patches whose attention says how peaked a map is


def top_mass(maps: np.ndarray) -> np.ndarray:
    """Attention on the 2 % of patches that get most, at least one: (image,)."""
    count = max(1, round(TOP * maps.shape[1]))
    return np.sort(maps, axis=1)[:, -count:].sum(1)


def cls_attention(
    maps: np.ndarray | None, outlier: np.ndarray, bootstrap: Bootstrap
) -> list[Measurement]:
    """How much of CLS's attention falls on outliers, and how peaked it is, in percent.

    Args:
        maps: of CLS; None for a backbone without CLS, whose share is undefined, not invented.
        outlier: (image, patch) mask.
    """
    if maps is None:
        return [Measurement("cls", "attention_share_on_outliers", None, unit="percent")]
    masses = {
        "attention_share_on_outliers": (maps * outlier).sum(1),
        "attention_share_of_top_2_percent": top_mass(maps),
    }
    total = maps.sum(1)
    return [
        Measurement.ratio("cls", metric, 100 * mass, total, bootstrap, "percent")
        for metric, mass in masses.items()
    ]


def entropy(maps: np.ndarray) -> np.ndarray:
    """Entropy of each map as a share of its maximum: 1 uniform, 0 on one patch (image,)."""
    p = maps / maps.sum(1, keepdims=True)
    return -(p * np.log(np.maximum(p, 1e-30))).sum(1) / np.log(maps.shape[1])


def cosine(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Cosine similarity of two maps of each image, their means removed: (image,)."""
    a, b = (maps - maps.mean(1, keepdims=True) for maps in (first, second))
    return (a * b).sum(1) / np.maximum(np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1), 1e-30)


def object_share(instance: np.ndarray, patches: int) -> np.ndarray | None:
    """Share of each patch that objects cover.

    Args:
        instance: (image, row, column) number of the object at each pixel, 0 is background.
        patches: of an image, on a square grid.

    Returns:
        (image, patch); None where the grid's patches would cut pixels.
    """
    grid, size = round(patches**0.5), instance.shape[1]
    if grid * grid != patches or size % grid:
        return None
    tiles = instance.reshape(-1, grid, size // grid, grid, size // grid)
    return (tiles > 0).mean((2, 4)).reshape(-1, patches)
