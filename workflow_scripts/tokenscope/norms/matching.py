"""Outliers beside what their image and their place make of any token.

Outliers keep to some images and to some places, and both alone make tokens alike or different:
skies are above, and an image of much sky has more outliers. A quantity is therefore read as the sum
of what the image does, what the place does, and what being an outlier adds: two-way fixed effects
(Wallace and Hussain, Econometrica 37, 1969), which have a closed form because every image has every
place. The place says what a token would be from images where it is none of the outliers, the image
from its other tokens. Outliers at fixed places in all images leave nothing to compare with.
"""

from typing import NamedTuple

import numpy as np

from tokenscope.stats.bootstrap import Bootstrap


class Freed(NamedTuple):
    """Who is an outlier, freed of what image and place say of it.

    Attributes:
        outlier: (image, patch) mask.
        rest: (image, patch), what neither explains; sums to zero over each image and each place.
        share: of the variance of the mask, what ``rest`` holds of it, from 0 to 1.
    """

    outlier: np.ndarray
    rest: np.ndarray
    share: float


def free(outlier: np.ndarray) -> Freed:
    """See the module; ``outlier`` is an (image, patch) mask."""
    rest = _freed(outlier)
    total = np.square(outlier - outlier.mean()).sum()
    return Freed(outlier, rest, float(np.square(rest).sum() / total) if total else 0.0)


def _freed(values: np.ndarray) -> np.ndarray:
    """Less the means of its image and of its place."""
    values = np.asarray(values, np.float64)
    return values - values.mean(1, keepdims=True) - values.mean(0) + values.mean()


class Compared(NamedTuple):
    """Means of outliers, and of tokens of their images and places that are none; with resamples."""

    outlier: tuple[float, np.ndarray]
    matched: tuple[float, np.ndarray]


def means(values: np.ndarray, freed: Freed, bootstrap: Bootstrap) -> Compared:
    """Mean of a quantity over outliers, and what image and place alone would have made of them.

    Args:
        values: (image, patch).
    """
    outlier = freed.outlier
    own, _, _, owns = bootstrap.ratio(np.where(outlier, values, 0).sum(1), outlier.sum(1))
    added, _, _, adds = _added(values, freed, bootstrap)
    return Compared((float(own), owns), (float(own - added), owns - adds))


def _added(values: np.ndarray, freed: Freed, bootstrap: Bootstrap) -> tuple:
    """What being an outlier adds: value, low, high, resampled."""
    above, below = freed.rest * _freed(values), np.square(freed.rest)
    return bootstrap.ratio(above.sum(1), below.sum(1))


def auc_freed(values: np.ndarray, freed: Freed, bootstrap: Bootstrap) -> tuple[float, float, float]:
    """Chance that an outlier is above a normal token, both freed of their image and place.

    Args:
        values: (image, patch).

    Returns:
        value, low, high.
    """
    added = _added(values, freed, bootstrap)[0]
    return auc(_freed(values) + added * (freed.outlier - freed.rest), freed.outlier, bootstrap)


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
