"""Intervals for proportions where tokens of one image are not independent."""

import numpy as np
from scipy import stats


def exact_upper(held: int, images: int, confidence: float = 0.95) -> float:
    """Largest share of images that is compatible with ``held`` of ``images`` (one-sided).

    Clopper and Pearson, "The use of confidence or fiducial limits" (Biometrika 26, 1934): with none
    of 20 it is 14 %.
    """
    if held >= images:
        return 1.0
    return float(stats.beta.ppf(confidence, held + 1, images - held))


def clustered_interval(
    held: np.ndarray, size: int, confidence: float = 0.95
) -> tuple[float, float, float]:
    """Share of tokens of a kind, and its interval over images.

    The interval of Jeffreys at the effective number of tokens, which is what their spread between
    images says, with the degrees of freedom of that spread (Korn and Graubard, Survey Methodology
    24, 1998, who take the interval of Clopper and Pearson, which covers too often; Franco et al.,
    J. Surv. Stat. Methodol. 7, 2019, compare both).

    Args:
        held: (image,) tokens of the kind in each image. size: tokens of an image.

    Returns:
        share, low, high, from 0 to 1; with none at all the upper end is the exact one over images.
    """
    held = np.asarray(held, np.float64)
    images, total = len(held), held.sum()
    share = float(total / (images * size))
    if images < 2:
        return share, 0.0, 1.0
    if total in (0, images * size):
        bound = exact_upper(0, images, (1 + confidence) / 2)
        return (share, 0.0, bound) if total == 0 else (share, 1 - bound, 1.0)
    if held.min() == held.max():  # tokens are then as good as independent
        effective = float(images * size)
    else:
        variance = (held / size).var(ddof=1) / images
        effective = share * (1 - share) / variance
        t = stats.t.ppf((1 + confidence) / 2, images - 1)
        effective *= (stats.norm.ppf((1 + confidence) / 2) / t) ** 2
    positive, tail = share * effective, (1 - confidence) / 2
    low = stats.beta.ppf([tail], [positive + 0.5], [effective - positive + 0.5])[0]
    high = stats.beta.ppf([1 - tail], [positive + 0.5], [effective - positive + 0.5])[0]
    return share, float(min(low, share)), float(max(high, share))
