"""Smoothness of token maps: how far a patch is from its neighbours, against how far from any other.

Registers make feature maps smoother, say Darcet et al., "Vision Transformers Need Registers"
(https://arxiv.org/abs/2309.16588). Here that is a number:

Roughness of a map T (row, column, feature) is mean |T - N| / median |T - m| over the patches of an
image, with N the mean of the 4 neighbours of a patch (edges repeated) and m the median of each
feature over all patches. 0: neighbours foretell each patch; 1: no more than any other patch does.
Artifacts raise it, alone or in clusters: the mean above sees each of their edges, the median below
none of them, so that it falls when they vanish. (A variance below would grow with them.)
"""

import numpy as np
import pandas as pd
from scipy.ndimage import convolve

from tokenscope.norms.token_norms import PatchNorms
from tokenscope.stats.bootstrap import Bootstrap
from tokenscope.tables.tidy import TidyRows

FOUR = np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]])[:, :, None] / 4


def roughness(values: np.ndarray) -> float:
    """See the module; values (row, column, feature).

    A constant map has 0; NaN where more than half of the patches are one and the same and others
    are not, so that there is nothing to measure by.
    """
    around = convolve(values, FOUR, mode="nearest")
    apart = np.linalg.norm(values - around, axis=2).mean(dtype=np.float64)
    spread = np.median(np.linalg.norm(values - np.median(values, (0, 1)), axis=2))
    if spread:
        return float(apart / spread)
    return 0.0 if (values == values[0, 0]).all() else float("nan")


def token_maps(store: PatchNorms, image: int) -> dict[str, np.ndarray]:
    """Maps (row, column, feature) of one image of a token store, last block.

    Returns:
        ``norms``, and where the store keeps tokens also ``tokens`` and ``directions`` (tokens of
        length one).
    """
    maps = {"norms": store.of_image("norms", image)[-1][:, None]}
    if "tokens" in store:
        tokens = store.of_image("tokens", image).astype(np.float32)
        length = np.linalg.norm(tokens, axis=1, keepdims=True)
        maps |= {"tokens": tokens, "directions": tokens / np.maximum(length, 1e-12)}
    return {name: values.reshape(*store.grid, -1) for name, values in maps.items()}


def roughness_by_image(store: PatchNorms, images: int) -> tuple[list[str], dict[str, np.ndarray]]:
    """Roughness of the maps of at most so many images, spread evenly over the store.

    Returns:
        ids of the images, and by map (see :func:`token_maps`) the roughness of each, (image,).
    """
    last = store.images - 1
    wanted = sorted(set(np.linspace(0, last, min(images, store.images)).round().astype(int)))
    measured: dict[str, list[float]] = {}
    for image in wanted:
        for name, values in token_maps(store, image).items():
            measured.setdefault(name, []).append(roughness(values))
    ids = [str(store.image_ids[image]) for image in wanted]
    return ids, {name: np.array(values) for name, values in measured.items()}


def roughness_rows(measured: dict[str, np.ndarray], who: dict, statistics: dict) -> pd.DataFrame:
    """Tidy rows: mean roughness over images, with intervals.

    Args:
        measured: of :func:`roughness_by_image`. who: backbone and data set, as in tidy rows.
        statistics: the section of the config, see :meth:`Bootstrap.of`.
    """
    count = len(measured["norms"])
    bootstrap = Bootstrap.of(count, statistics)
    rows = TidyRows(who, count, statistics["seed"])
    for name, values in measured.items():
        known = np.isfinite(values)
        point, low, high, _ = bootstrap.ratio(np.where(known, values, 0), known)
        rows.add(
            "dense", "smoothness", f"roughness_{name}", point, low, high, "ratio", int(known.sum())
        )
    return rows.frame()
