"""Smoothness of token maps: how far they are from their median-filtered selves.

Registers make feature maps smoother, say Darcet et al., "Vision Transformers Need Registers"
(https://arxiv.org/abs/2309.16588). Here that is a number:

Roughness of a map T (row, column, feature) is sum |T - M|^2 / sum |T - mean T|^2 over an image,
with M the median of each feature over 3 x 3 patches (edges repeated). 0: the median changes
nothing; 1: the median explains as little as one constant vector. Isolated artifacts raise it.
"""

import numpy as np
import pandas as pd
from scipy.ndimage import median_filter

from tokenscope.norms.token_norms import PatchNorms
from tokenscope.stats.bootstrap import Bootstrap
from tokenscope.tables.tidy import TidyRows


def roughness(values: np.ndarray) -> float:
    """See the module; values (row, column, feature). A constant map has 0."""
    smooth = median_filter(values, size=(3, 3, 1), mode="nearest")
    spread = np.square(values - values.mean((0, 1)), dtype=np.float64).sum()
    return float(np.square(values - smooth, dtype=np.float64).sum() / spread) if spread else 0.0


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
        point, low, high, _ = bootstrap.ratio(values, np.ones(len(values)))
        rows.add("dense", "smoothness", f"roughness_{name}", point, low, high, "share of variance")
    return rows.frame()
