"""Intervals and tests of means over few seeds, on images that all seeds share.

The error of a mean over seeds is estimated from the seeds (Student's distribution), that of its
images from many (normal). Their sum has the distribution of Behrens and Fisher; with two or three
seeds the usual shortcut (Welch, Satterthwaite) decides too often, far out most of all.
"""

from functools import cache

import numpy as np
from scipy import special, stats

_NODES = 2000  # of the quadrature over what the seeds' variance may be
_SHARES = np.linspace(0, 1, 65)  # of the error that comes from seeds, between which is interpolated


@cache
def normal_quantile(confidence: float) -> float:
    """Half width of a two-sided interval of that confidence, in standard errors."""
    return float(stats.norm.ppf((1 + confidence) / 2))


@cache
def noise_of_ends(confidence: float, resamples: int) -> float:
    """Standard deviation of half a percentile interval, relative to it, by its resamples alone."""
    tail, quantile = (1 - confidence) / 2, normal_quantile(confidence)
    return float(np.sqrt(tail * (1 - tail) / resamples) / stats.norm.pdf(quantile) / quantile)


@cache
def _scales(df: int) -> np.ndarray:
    """What the true variance may be, in estimated ones, at evenly spaced probabilities (node,)."""
    middles = (np.arange(_NODES) + 0.5) / _NODES
    # The tail of Student's distribution is that of the smallest chi-squares: nodes crowd there.
    return df / stats.chi2.ppf(middles**3, df)


@cache
def _weights() -> np.ndarray:
    middles = (np.arange(_NODES) + 0.5) / _NODES
    weights = 3 * middles**2
    return weights / weights.sum()


def two_sided(away: np.ndarray, error: np.ndarray, df: int, images: np.ndarray) -> np.ndarray:
    """Two-sided p of a mean that is ``away`` from a bound.

    Args:
        away: (number,), like ``error``, that of seeds, and ``images``, that of images; both
            standard errors.
        df: degrees of freedom of ``error``: seeds less one.
    """
    variance = images[:, None] ** 2 + error[:, None] ** 2 * _scales(df)
    return (2 * special.ndtr(-np.abs(away)[:, None] / np.sqrt(variance))) @ _weights()


def half_width(error: float, df: int, images: float, confidence: float) -> float:
    """Half width of the two-sided interval that :func:`two_sided` belongs to."""
    total = float(np.hypot(error, images))
    return total * float(np.interp((error / total) ** 2, _SHARES, _quantiles(df, confidence)))


@cache
def _quantiles(df: int, confidence: float) -> np.ndarray:
    """Of the sum of both errors at :data:`_SHARES`, in units of its estimated standard error."""
    error, images = np.sqrt(_SHARES), np.sqrt(1 - _SHARES)
    low, high = np.zeros(len(_SHARES)), np.full(len(_SHARES), 1e4)
    for _ in range(60):  # bisection: p falls with the distance
        middle = (low + high) / 2
        inside = two_sided(middle, error, df, images) > 1 - confidence
        low, high = np.where(inside, middle, low), np.where(inside, high, middle)
    return high
