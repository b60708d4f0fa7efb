"""Intervals by resampling images: tokens of one image are not independent, images are.

The bootstrap of Efron and Tibshirani, "An Introduction to the Bootstrap" (1993): percentiles of the
resampled statistic, moved out by as much as Student's t exceeds the normal with so many images, for
the plain ones are too near with few (Hesterberg, "What Teachers Should Know About the Bootstrap",
Am. Stat. 69, 2015). Those of ratios of sums are corrected for bias and skewness (BCa), and reach at
either end as far as Student's, for the correction narrows them too much where tails are heavy.
"""

from typing import Any

import numpy as np
from scipy import stats

Estimate = Any  # a number where each image gave one, an array where it gave several


class Bootstrap:
    """Bootstrap over images.

    The same resamples serve every statistic of a backbone, so that quantities can be compared
    resample by resample (a difference, or the first block at which something happens).

    Args:
        images: number of images.
        resamples: number of bootstrap resamples.
        seed: of the generator.
        confidence: of the interval, e.g. 0.95.
    """

    def __init__(self, images: int, resamples: int = 1000, seed: int = 0, confidence: float = 0.95):
        self.images, self.seed, self.confidence = images, seed, confidence
        normal = stats.norm.ppf((1 + confidence) / 2)
        # Standard errors of few images are too small by sqrt(1 - 1 / images), and not sure.
        wide = stats.t.ppf((1 + confidence) / 2, max(images - 1, 1)) if images > 1 else normal
        self.reach = wide * np.sqrt(images / max(images - 1, 1))
        self.tails = tuple(stats.norm.cdf([-self.reach, self.reach]).tolist())
        rng = np.random.default_rng([seed, images])
        draws = rng.multinomial(images, np.full(images, 1 / images), size=resamples)
        self.counts = draws.astype(np.float32)

    @classmethod
    def of(cls, images: int, statistics: dict) -> "Bootstrap":
        """The study's bootstrap over ``images``: by the section ``statistics`` of its config."""
        s = statistics
        return cls(images, s["resamples"], s["seed"], s["confidence"])

    def sums(self, per_image: np.ndarray) -> np.ndarray:
        """Sum over each resample of a per-image quantity (image, ...) -> (resample, ...)."""
        flat = per_image.reshape(self.images, -1).astype(np.float32)
        return (self.counts @ flat).reshape(-1, *per_image.shape[1:])

    def interval(self, resampled: np.ndarray) -> tuple[Estimate, Estimate]:
        """Low and high end from the statistic's values by resample; NaN resamples do not count."""
        if np.isnan(resampled).all():
            nan = np.full(resampled.shape[1:], np.nan)[()]  # a number where numbers were resampled
            return nan, nan
        low, high = np.nanquantile(resampled, self.tails, axis=0)
        return low, high

    def ratio(
        self, above: np.ndarray, below: np.ndarray
    ) -> tuple[Estimate, Estimate, Estimate, np.ndarray]:
        """``sum(above) / sum(below)`` over images, with its interval and its resamples.

        Returns:
            point, low, high, resampled; NaN where ``below`` sums to zero.
        """
        with np.errstate(invalid="ignore", divide="ignore"):
            total = below.sum(0, dtype=np.float64)
            point = above.sum(0, dtype=np.float64) / total
            resampled = self.sums(above) / self.sums(below)
            influence = (above - point * below) / total
        return point, *self._corrected(point, resampled, influence), resampled

    def _corrected(self, point, resampled: np.ndarray, influence: np.ndarray):
        """Ends by BCa or by Student, whichever is further, from each image's influence."""
        if np.ndim(point):
            flat = resampled.reshape(len(resampled), -1).T
            sway = influence.reshape(len(influence), -1).T
            ends = [
                self._corrected(*each) for each in zip(np.ravel(point), flat, sway, strict=True)
            ]
            low, high = np.array(ends, np.float64).reshape(-1, 2).T
            return low.reshape(np.shape(point)), high.reshape(np.shape(point))
        known = resampled[np.isfinite(resampled)]
        spread = (influence**2).sum()
        if not len(known) or not spread > 0:
            return self.interval(resampled)
        below = ((known < point).mean() + (known <= point).mean()) / 2
        least = 0.5 / len(known)
        bias = stats.norm.ppf(np.clip(below, least, 1 - least))
        skew = (influence**3).sum() / (6 * spread**1.5)
        z = bias + np.array([-self.reach, self.reach])
        tails = stats.norm.cdf(bias + z / (1 - skew * z))
        low, high = np.quantile(known, tails)
        reach = self.reach * np.sqrt(spread)
        student = np.clip([point - reach, point + reach], known.min(), known.max())
        return min(low, student[0]), max(high, student[1])

    def over_seeds(
        self, above: np.ndarray, below: np.ndarray
    ) -> tuple[Estimate, Estimate, Estimate, np.ndarray]:
        """Ratio of sums for what several seeds measured on the same images; resamples both levels.

        Args:
            above: (image, seed). below: (image,), the same for all seeds.

        Returns:
            point (mean over seeds), low, high, resampled.
        """
        seeds = above.shape[1]
        rng = np.random.default_rng([self.seed, self.images, seeds])
        weights = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=len(self.counts)) / seeds
        with np.errstate(invalid="ignore", divide="ignore"):
            point = above.sum(dtype=np.float64) / (seeds * below.sum(dtype=np.float64))
            resampled = (self.sums(above) * weights).sum(1) / self.sums(below)
        return point, *self.interval(resampled), resampled
