"""Normal tokens that are like outliers in all but being outliers: of the same images and places.

Outliers keep to some images and to some places, and both alone make tokens alike or different:
skies are above, and an image of much sky has more outliers. Normal tokens are therefore weighted so
that each image and each place counts as often among them as it does among outliers (iterative
proportional fitting, Deming and Stephan 1940). What differs then is neither image nor place. Where
outliers sit at fixed places in all images, there is no such token, and nothing can be said.
"""

from typing import NamedTuple

import numpy as np

from tokenscope.stats.bootstrap import Bootstrap

STEPS, ROUNDS = 100, 50
CLOSE = 0.01  # of the outliers: how many may be at the wrong place after the fit
PIECE = 2**22  # pairs of tokens compared at once


class Matched(NamedTuple):
    """Outliers that can be matched, and normal tokens in their stead.

    Attributes:
        outlier: (image, patch) mask of those that can be matched.
        weight: (image, patch) of normal tokens; sums over patches and over images are those of
            ``outlier``, to within one percent.
        share: of all outliers, those that are matched.
    """

    outlier: np.ndarray
    weight: np.ndarray
    share: float


def match(outlier: np.ndarray) -> Matched:
    """Weights of normal tokens, see the module.

    Args:
        outlier: (image, patch) mask.
    """
    kept = outlier.copy()
    for _ in range(ROUNDS):
        kept, normal = _supported(kept, outlier)
        weight, missing = _fit(kept, normal)
        total = kept.sum()
        if np.abs(missing).sum() / 2 <= CLOSE * total:
            return Matched(kept, weight, float(total / max(1, outlier.sum())))
        # Places whose normal tokens lie in too few images to stand for all outliers there.
        kept &= missing <= missing.max() / 2
    return Matched(np.zeros_like(outlier), np.zeros(outlier.shape), 0.0)


def _supported(kept: np.ndarray, outlier: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Outliers whose image and place have normal tokens that count, and these."""
    while True:  # what drops out may take away the last normal token of another
        normal = ~outlier & _both(kept)
        lost = kept & ~_both(normal)
        if not lost.any():
            return kept, normal
        kept = kept & ~lost


def _fit(kept: np.ndarray, normal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights of the normal tokens, and how many each place is short of its outliers (patch,)."""
    of_image, of_place = kept.sum(1, dtype=np.float64), kept.sum(0, dtype=np.float64)
    weight = normal.astype(np.float64)
    for _ in range(STEPS):
        weight *= _quotient(of_place, weight.sum(0))
        weight *= _quotient(of_image, weight.sum(1))[:, None]
        missing = of_place - weight.sum(0)
        if np.abs(missing).sum() / 2 <= CLOSE / 10 * of_place.sum():
            break
    return weight, missing


def _both(mask: np.ndarray) -> np.ndarray:
    """Where both the image and the place of a token have one of the mask."""
    return np.logical_and(mask.any(0), mask.any(1, keepdims=True))


def _quotient(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)


class Compared(NamedTuple):
    """Means of outliers and of normal tokens matched to them, each with its resamples."""

    outlier: tuple[float, np.ndarray]
    matched: tuple[float, np.ndarray]


def means(values: np.ndarray, matched: Matched, bootstrap: Bootstrap) -> Compared:
    """Means of a quantity over matched outliers and over the normal tokens in their stead.

    Resamples repeat images with their weights. What places alone do to the quantity cancels over
    all images but not in a resample, so it is taken out first.

    Args:
        values: (image, patch).
    """
    outlier, weight = matched.outlier, matched.weight
    count = outlier.sum(1)
    of_outliers = np.where(outlier, values, 0)
    value, _, _, resampled = bootstrap.ratio(of_outliers.sum(1), count)
    by_place = _quotient((of_outliers + weight * values).sum(0), (outlier + weight).sum(0))
    apart = ((outlier - weight) * (values - by_place)).sum(1)
    # Over all images the places cancel but for what the fit left.
    difference = (of_outliers - weight * values).sum() / count.sum()
    moved, _, _, apart = bootstrap.ratio(apart, count)
    return Compared(
        (float(value), resampled),
        (float(value - difference), resampled - (apart - moved + difference)),
    )


def auc_within_images(
    values: np.ndarray, matched: Matched, bootstrap: Bootstrap
) -> tuple[float, float, float]:
    """Chance that an outlier is above a normal token of its image, by the weights; ties half.

    Args:
        values: (image, patch).

    Returns:
        value, low, high.
    """
    image, patch = np.nonzero(matched.outlier)
    wins, size = np.zeros(len(values)), max(1, PIECE // values.shape[1])
    for start in range(0, len(image), size):
        i, p = image[start : start + size], patch[start : start + size]
        own, others, weight = values[i, p][:, None], values[i], matched.weight[i]
        above = (weight * ((others < own) + 0.5 * (others == own))).sum(1) / weight.sum(1)
        wins += np.bincount(i, weights=above, minlength=len(values))
    value, low, high, _ = bootstrap.ratio(wins, matched.outlier.sum(1))
    return float(value), float(low), float(high)


def auc(values: np.ndarray, outlier: np.ndarray, bootstrap: Bootstrap, bins: int = 1024) -> tuple:
    """Chance that an outlier is above a normal token of any image, to within 1 / ``bins``.

    Args:
        values: (image, patch). outlier: (image, patch) mask.

    Returns:
        value, low, high.
    """
    edges = np.quantile(values, np.arange(1, bins) / bins)
    index = np.searchsorted(edges, values, side="right")
    index += bins * np.arange(len(values))[:, None]
    counts = [
        np.bincount(index[mask], minlength=len(values) * bins).reshape(-1, bins)
        for mask in (outlier, ~outlier)
    ]

    def wins(of_outliers: np.ndarray, of_normal: np.ndarray) -> np.ndarray:
        below = np.cumsum(of_normal, -1) - of_normal / 2
        with np.errstate(invalid="ignore", divide="ignore"):
            return (of_outliers * below).sum(-1) / of_outliers.sum(-1) / of_normal.sum(-1)

    value = wins(*(c.sum(0, dtype=np.float64) for c in counts))
    low, high = bootstrap.interval(wins(*(bootstrap.sums(c).astype(np.float64) for c in counts)))
    return float(value), float(low), float(high)
