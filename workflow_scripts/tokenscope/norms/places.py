"""Where in the image outliers sit: how often each place of the patch grid holds one.

The entropy of places counted in a sample is too low: a hundred outliers cannot cover a large grid.
It is estimated from incidences (how many images have an outlier at a place) as in Chao and Jost,
"Estimating diversity and entropy profiles via discovery rates of new species" (2015), whose
estimator is nearly free of that bias; the images are the sampling units.
"""

import numpy as np
import pandas as pd
from scipy.special import digamma
from scipy.stats import t as student

from tokenscope.norms.outlier_rule import outlier_mask
from tokenscope.stats.bootstrap import Bootstrap
from tokenscope.stats.measurement import Measurement

JACKKNIFE = 50  # groups of images that are left out in turn


def position_entropy(counts: np.ndarray) -> np.ndarray:
    """Entropy of known shares of places, as a share of its maximum: 1 anywhere, 0 in one place.

    Of counts in a sample it is too low; see :func:`estimated_entropy`.

    Args:
        counts: (..., patch) weight of each place of the grid.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        p = counts / counts.sum(-1, keepdims=True)
        return -np.nansum(p * np.log(p), -1) / np.log(counts.shape[-1]) + 0 * p.sum(-1)


def incidence_entropy(counts: np.ndarray, images: np.ndarray | int) -> np.ndarray:
    """Entropy of the places behind a sample of images, as a share of its maximum.

    Args:
        counts: (..., patch) images with an outlier at each place. images: (...) their number.

    Returns:
        (...); a little above 1 by chance where outliers sit anywhere. NaN without outliers.
    """
    counts, images = np.asarray(counts, np.float64), np.asarray(images, np.float64)
    total, units = counts.sum(-1), images[..., None]
    seen = np.maximum(counts, 1)
    known = (counts / units * (digamma(units) - digamma(seen))).sum(-1)
    once, twice = (counts == 1).sum(-1), (counts == 2).sum(-1)
    # Chao's estimate of how much was not seen, from the places seen once and twice.
    odd = (images - 1) * np.where(twice > 0, once, np.maximum(once - 1, 0))
    unseen = np.where(once > 0, odd / (odd + 2 * np.maximum(twice, 1)), 0)
    unknown = once / images * unseen * _series(unseen, images)
    with np.errstate(invalid="ignore", divide="ignore"):
        entropy = images / total * (known + unknown) + np.log(total / images)
    return entropy / np.log(counts.shape[-1])


def _series(q: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Sum of q^k / (first + k) over k from 0 on, for 0 <= q < 1.

    As the integral of exp(-s) / (1 - q exp(-s / first)) / first over s, by the trapezoidal rule in
    log s: library functions (hyp2f1) fail where q is near 1.
    """
    y = np.arange(-40, 5, 0.05)
    s, q, first = np.exp(y), q[..., None], first[..., None]
    rest = 1 - q - q * np.expm1(-s / first)
    return (np.exp(y - s) / (rest * first)).sum(-1) * 0.05


def estimated_entropy(outlier: np.ndarray, confidence: float = 0.95) -> tuple[float, float, float]:
    """:func:`incidence_entropy` of a mask with its interval, by a jackknife over images.

    Repeated images of a bootstrap look like places that outliers prefer, so none is used here.

    Args:
        outlier: (image, patch).

    Returns:
        value, low, high, all within 0 to 1; NaN where fewer than two images hold an outlier.
    """
    held = outlier[outlier.any(1)]
    images, groups = len(held), min(len(held), JACKKNIFE)
    if images < 2:
        return (float("nan"),) * 3
    counts = held.sum(0, dtype=np.int64)
    value = incidence_entropy(counts, images)
    member = np.arange(images) % groups
    left = np.stack([held[member == group].sum(0, dtype=np.int64) for group in range(groups)])
    others = incidence_entropy(counts - left, images - np.bincount(member))
    error = np.sqrt((groups - 1) / groups * np.square(others - others.mean()).sum())
    reach = student.ppf((1 + confidence) / 2, groups - 1) * error
    ends = np.clip([value, value - reach, value + reach], 0, 1)
    return float(ends[0]), float(ends[1]), float(ends[2])


def spread(outlier: np.ndarray, bootstrap: Bootstrap) -> list[Measurement]:
    """Number of outliers, and over how many places they spread.

    Args:
        outlier: (image, patch) mask.
    """
    total = int(outlier.sum())
    value, low, high = estimated_entropy(outlier, bootstrap.tails[1] - bootstrap.tails[0])
    return [
        Measurement("outlier", "tokens", total, unit="tokens"),
        Measurement("outlier", "position_entropy", value, low, high, "of the maximum"),
    ]


def share_by_place(
    norms: np.ndarray, judged: np.ndarray, grid: tuple[int, int], rules: dict
) -> pd.DataFrame:
    """Percent of images with an outlier at each place, by the decision and by two rules.

    Args:
        norms: (image, patch) after one block, patches row by row.
        judged: (image, patch) mask of outliers by the decision.
        grid: rows and columns.
        rules: ``percentile``, ``times_median``.

    Returns:
        ``row``, ``column``, ``judged``, ``times_median``, ``percentile``.
    """
    row, column = np.indices(grid).reshape(2, -1)
    above = norms > np.quantile(norms, rules["percentile"] / 100)
    over = outlier_mask(norms, rules["times_median"])
    return pd.DataFrame({
        "row": row, "column": column, "judged": 100 * judged.mean(0),
        "times_median": 100 * over.mean(0), "percentile": 100 * above.mean(0),
    })  # fmt: skip


def outlier_odds(percent: np.ndarray) -> np.ndarray:
    """Odds of an outlier at each place, from the percent of images that have one there.

    Normal tokens drawn by these odds lie where outliers lie: at a place where a share p of the
    images has an outlier, only 1 - p have a normal token to draw. A place that never has one
    cannot be drawn from, and its odds do not matter.
    """
    share = percent / 100
    return share / np.maximum(1 - share, 1e-6)
