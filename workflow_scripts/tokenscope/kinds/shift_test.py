"""Place or content, by experiment: images are shifted by whole patches, and mirrored.

Whether outliers follow the place or the content can only be suspected from images as they are
(what is above is sky). Here every image is cut twice out of a larger one, at an offset of whole
patches, and mirrored: an outlier that stays at its *place* is of the network's making, one that
moves with the *content* is of the image's.
"""

from typing import NamedTuple

import numpy as np
from torch import Tensor

from tokenscope.kinds.answers import FEWEST, Found, decide, does_not_apply
from tokenscope.stats.bootstrap import Bootstrap

SHIFT = (2, 3)  # patches down and right that the second window lies off the first


class Windows(NamedTuple):
    """Three looks at the same images, each (image, channel, row, column)."""

    first: Tensor
    shifted: Tensor
    mirrored: Tensor


def margin(patch: int) -> int:
    """Pixels by which the images must be larger than the backbone's input, on each side."""
    return max(SHIFT) * patch


def windows(images: Tensor, size: tuple[int, int], patch: int) -> Windows:
    """Cut images (image, channel, row, column) that are larger than ``size`` by :func:`margin`."""
    (height, width), (down, right) = size, (n * patch for n in SHIFT)
    first = images[..., :height, :width]
    return Windows(first, images[..., down : down + height, right : right + width], first.flip(-1))


def seen_again(grid: tuple[int, int]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Where the content of each patch of the first window is in the others.

    Returns:
        for ``shifted`` and ``mirrored``: numbers of patches whose place is also there, and where
        their content is; those whose content keeps its place are left out.
    """
    rows, columns = np.indices(grid)
    down, right = rows - SHIFT[0], columns - SHIFT[1]
    number = rows * grid[1] + columns
    inside = (down >= 0) & (right >= 0)
    mirrored = rows * grid[1] + (grid[1] - 1 - columns)
    moves = mirrored != number
    return {
        "shifted": (number[inside], (down * grid[1] + right)[inside]),
        "mirrored": (number[moves], mirrored[moves]),
    }


def found(
    first: np.ndarray, others: dict[str, np.ndarray], grid: tuple[int, int], block: int,
    bootstrap: Bootstrap,
) -> list[Found]:  # fmt: skip
    """Rows of kind ``shift``: ``yes`` is place, ``no`` is content.

    The null of each share is that of outliers drawn anew in each image by how often each place
    of that window holds one.

    Args:
        first: (image, patch), outliers of the first window; others: those of the two others.
    """
    kind, quantity = "shift", "place_minus_content"
    if not first.any():
        return [does_not_apply(kind, quantity, "no patch is an outlier in the shifted images")]
    sums = {name: np.zeros(len(first)) for name in ("all", "place", "content", "both", "neither")}
    null = {"place": 0.0, "content": 0.0}
    for name, (at, to) in seen_again(grid).items():
        here, other = first[:, at], others[name]
        stays, moves = here & other[:, at], here & other[:, to]
        masks = {"all": here, "place": stays, "content": moves, "both": stays & moves,
                 "neither": here & ~(stays | moves)}  # fmt: skip
        for key, mask in masks.items():
            sums[key] += mask.reshape(here.shape).sum(1)
        rate = others[name].mean(0)
        null["place"] += float((here.sum(0) * rate[at]).sum())
        null["content"] += float((here.sum(0) * rate[to]).sum())
    total = sums["all"].sum()
    rows, resampled = [], {}
    for key in ("place", "content", "both", "neither"):
        value, low, high, resampled[key] = bootstrap.ratio(100 * sums[key], sums["all"])
        expected = 100 * null[key] / total if key in null else np.nan
        rows.append(Found(kind, f"outliers_with_{key}" if key in null else f"outliers_{key}",
                          value, low, high, block, expected, "percent"))  # fmt: skip
    gap = rows[0].value - rows[1].value
    low, high = map(float, bootstrap.interval(resampled["place"] - resampled["content"]))
    images = int((sums["all"] > 0).sum())
    answer = decide((gap, low, high), 0.0) if images >= FEWEST else "cannot tell"
    why = f"{rows[0].value:.3g} % stay at their place, {rows[1].value:.3g} % move with the content"
    why += f" ({rows[1].null:.3g} % were they drawn by place)"
    if images < FEWEST:
        why += f"; only {images} images hold outliers, {FEWEST} are needed"
    said = {"yes": "position: ", "no": "content: "}.get(answer, "")
    return [
        Found(kind, quantity, gap, low, high, block, 0.0, "points", answer, said + why), *rows
    ]  # fmt: skip
