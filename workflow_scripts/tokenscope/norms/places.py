"""Where in the image outliers sit: how often each place of the patch grid holds one."""

import numpy as np
import pandas as pd

from tokenscope.norms.outlier_rule import outlier_mask
from tokenscope.stats.bootstrap import Bootstrap
from tokenscope.stats.measurement import Measurement


def position_entropy(counts: np.ndarray) -> np.ndarray:
    """Entropy of where outliers sit, as a share of its maximum: 1 anywhere, 0 in one place.

    Args:
        counts: (..., patch) number of outliers at each place of the grid.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        p = counts / counts.sum(-1, keepdims=True)
        return -np.nansum(p * np.log(p), -1) / np.log(counts.shape[-1]) + 0 * p.sum(-1)


def spread(outlier: np.ndarray, bootstrap: Bootstrap) -> list[Measurement]:
    """Number of outliers, and over how many places they spread.

    Args:
        outlier: (image, patch) mask.
    """
    counts, total = outlier.astype(np.float32), int(outlier.sum())
    value = float(position_entropy(counts.sum(0))) if total else float("nan")
    low, high = bootstrap.interval(position_entropy(bootstrap.sums(counts)))
    return [
        Measurement("outlier", "tokens", total, unit="tokens"),
        Measurement("outlier", "position_entropy", value, low, high, "of the maximum"),
    ]


def share_by_place(norms: np.ndarray, grid: tuple[int, int], rules: dict) -> pd.DataFrame:
    """Percent of images with an outlier at each place, by two rules.

    Args:
        norms: (image, patch) after one block, patches row by row.
        grid: rows and columns.
        rules: ``percentile``, ``times_median``.

    Returns:
        ``row``, ``column``, ``times_median``, ``percentile``.
    """
    row, column = np.indices(grid).reshape(2, -1)
    above = norms > np.quantile(norms, rules["percentile"] / 100)
    over = outlier_mask(norms, rules["times_median"])
    return pd.DataFrame({
        "row": row, "column": column,
        "times_median": 100 * over.mean(0), "percentile": 100 * above.mean(0),
    })  # fmt: skip
