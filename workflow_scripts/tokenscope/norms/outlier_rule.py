"""The outlier rule: outliers are the patches whose norm is over a multiple of the median norm.

Darcet et al., "Vision Transformers Need Registers" (https://arxiv.org/abs/2309.16588), section 2.1,
choose outliers by an absolute cutoff (150) that they read off one backbone's distribution. A
multiple of the median says the same of backbones whose norms are of another scale; the other rules
stand beside it in :mod:`tokenscope.norms.outliers`.

Where a backbone was judged to have artifacts (:mod:`tokenscope.norms.artifacts`), its own cutoff in
the block that was judged stands beside these: a multiple of each image's own median.

This module has nothing but the rules: what depends on them alone is not made anew when the way
intervals are found changes.
"""

import re
from typing import NamedTuple

import numpy as np

from tokenscope.errors import StudyError

FLOOR = 1.5  # of the median: below, two kinds of ordinary patches may stand beside each other
SUSPECT = 1.15  # an image whose median is so much over that of others may be full of outliers
SHARE_OVER = "share_norm_over_"  # how shares of outliers begin, by this rule and those beside it


def cutoff(norms: np.ndarray, times: float) -> np.ndarray:
    """``times`` the median of a block's patch norms, over all images and patches together.

    Args:
        norms: (image, ..., patch), of patch tokens only; between them the block, or nothing.
        times: the multiple, ``outliers: times_median`` of a study.

    Returns:
        (...): one cutoff for each block, in the precision of the norms.
    """
    return cutoff_of_median(np.median(norms, axis=(0, -1)), times)


def cutoff_of_median(median, times: float):
    """The :func:`cutoff` where the median is known: a number, or an array or column of them."""
    return times * median


def outlier_mask(norms: np.ndarray, times: float) -> np.ndarray:
    """Which patches are over the :func:`cutoff` of their own block: a mask shaped as ``norms``."""
    return norms > np.expand_dims(cutoff(norms, times), -1)


def image_medians(norms: np.ndarray) -> np.ndarray:
    """Median norm of the bulk of each image, (image, patch) of one block -> (image,).

    Where more than half of an image are outliers, its median is theirs. Such an image is told by
    its lowest tenth: there it is like the other images, and in their scale the rest stands out.
    """
    medians = np.median(norms, axis=1)
    usual = np.median(medians)
    high = np.flatnonzero(medians > SUSPECT * usual)
    if len(high):
        some = norms[:: max(1, len(norms) // 256)]
        rise = np.median(np.median(some, axis=1) / np.quantile(some, 0.1, axis=1))
        bulk = rise * np.quantile(norms[high], 0.1, axis=1)
        alike = (bulk < FLOOR * usual) & (bulk > usual / FLOOR)
        medians[high[alike]] = bulk[alike]
    return medians


def image_ratios(norms: np.ndarray) -> np.ndarray:
    """Each norm over the median of its own image's bulk, (image, patch) of one block.

    Raises:
        StudyError: a norm is zero, negative or not finite.
    """
    least, most = float(norms.min()), float(norms.max())  # NaN carries through both
    if not (least > 0 and np.isfinite(most)):
        raise StudyError("a token norm is zero, negative or not finite: the store is damaged")
    return norms / image_medians(norms).astype(norms.dtype)[:, None]


def judged_mask(norms: np.ndarray, ratio_cutoff: float) -> np.ndarray:
    """Which patches are over ``ratio_cutoff`` times the median of their own image's bulk.

    Args:
        norms: (image, patch) of the block that was judged.
    """
    return image_ratios(norms) > ratio_cutoff


class Judged(NamedTuple):
    """What was decided of a backbone: ``verdict`` yes, no or cannot tell.

    ``block`` (from 1) and ``ratio_cutoff`` mean something only where it is yes.
    """

    verdict: str = "cannot tell"
    block: int = 0
    ratio_cutoff: float = float("nan")

    @classmethod
    def of(cls, cutoffs: dict) -> "Judged":
        """The decision in the cutoffs that rule norms wrote."""
        said = cutoffs.get("judged", {})
        return cls(**{key: said[key] for key in cls._fields if said.get(key) is not None})

    @property
    def yes(self) -> bool:
        return self.verdict == "yes"


def share_metric(times: float) -> str:
    """What tables call the share of tokens over the :func:`cutoff`."""
    return f"{SHARE_OVER}{times:g}x_median"


def is_share_metric(metric: str) -> bool:
    """Whether :func:`share_metric` made this name, of whatever multiple."""
    return re.fullmatch(rf"{SHARE_OVER}[^_]+x_median", metric) is not None


def max_over_median(norms: np.ndarray) -> np.ndarray:
    """Largest norm of each image in medians of that image's norms: (image, patch) -> (image,)."""
    return norms.max(1) / np.median(norms, axis=1)
