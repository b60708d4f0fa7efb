"""Does a backbone have artifacts, and are they about the place in the image or its content?

Everything is decided by intervals over images. An answer that the images do not support is
"cannot tell", with the reason:

1. *Artifacts*: the decision of :mod:`tokenscope.norms.artifacts`, a mode of its own above the bulk.
2. Fewer than :data:`MIN_TOKENS` outliers do not say where they come from.
3. *Position*: knowing how often each place holds an outlier in the other images removes surely more
   than half of the uncertainty about who is one (:func:`place_share`), and neighbouring patches do
   not look alike where outliers are (:func:`contrast` surely not over :data:`ALIKE`; else the
   images themselves tie place and content together, and nobody can tell them apart).
4. *Content*: places remove surely less than half. Whether that content is redundancy (claim 3) is
   said by the contrast with the same places of other images (``same_place``).
"""

from dataclasses import dataclass

import numpy as np

from tokenscope.stats.bootstrap import Bootstrap

MIN_TOKENS = 30  # outliers; as in redundancy: min_tokens
PREDICTED = 0.5
ALIKE = 0.75
BINS = 256
Interval = tuple[float, float, float]  # value, low, high


def place_share(outlier: np.ndarray, bootstrap: Bootstrap) -> Interval:
    """Share of the uncertainty about who is an outlier that the place alone removes.

    The deviance explained by the rate of outliers at each place over all *other* images (one
    pseudo-image at the mean rate added): 1 when outliers sit at the same places in every image,
    0 when the place says nothing, below when it misleads.

    Args:
        outlier: (image, patch) mask.

    Returns:
        point, low, high; NaN without outliers.
    """
    images, patches = outlier.shape
    if images < 2 or not outlier.any():
        return (float("nan"),) * 3
    own = outlier.astype(np.float64)
    least = 0.5 / outlier.size
    mean = (own.sum() - own.sum(1, keepdims=True)) / ((images - 1) * patches)
    mean = np.clip(mean, least, 1 - least)
    rate = (own.sum(0) - own + mean) / images
    surprise = [-np.where(outlier, np.log(p), np.log1p(-p)).sum(1) for p in (mean, rate)]
    point, low, high, _ = bootstrap.ratio(surprise[0] - surprise[1], surprise[0])
    return float(point), float(low), float(high)


def contrast(
    cosine: np.ndarray, outlier: np.ndarray, bootstrap: Bootstrap, same_place: bool = False
) -> Interval:
    """How often an outlier's neighbours are more alike than those of a normal token (AUC).

    0.5: the similarity of neighbours has nothing to do with it; 1: always more alike.

    Args:
        cosine: (image, patch) mean similarity of a patch with its neighbours.
        outlier: (image, patch) mask.
        same_place: similarities count as their rank among the same places of all images, so that
            what a place has in common with itself (skies are above) cancels.

    Returns:
        point, low, high; NaN where either group is empty.
    """
    if not outlier.any() or outlier.all():
        return (float("nan"),) * 3
    values = _ranks(cosine) if same_place else cosine
    order = np.unique(values)
    if len(order) > BINS:  # ties within a bin count half, which is what makes it a bin
        order = np.quantile(values, np.linspace(0, 1, BINS))
    index = np.searchsorted(order, values)
    counts = []
    for mask in (outlier, ~outlier):
        flat = index + (len(order) + 1) * np.arange(len(index))[:, None]
        binned = np.bincount(flat[mask], minlength=len(index) * (len(order) + 1))
        counts.append(binned.reshape(len(index), -1).astype(np.float32))
    point = _auc(*(c.sum(0, dtype=np.float64) for c in counts))
    low, high = bootstrap.interval(_auc(*(bootstrap.sums(c) for c in counts)))
    return float(point), float(low), float(high)


def _ranks(values: np.ndarray) -> np.ndarray:
    """Rank of each image at each place, 0 to 1, equal values in the middle of their ranks."""
    from scipy.stats import rankdata

    return (rankdata(values, axis=0) - 0.5) / len(values)


def _auc(outlier: np.ndarray, normal: np.ndarray) -> np.ndarray:
    below = np.cumsum(normal, -1) - normal / 2
    with np.errstate(invalid="ignore", divide="ignore"):
        return (outlier * below).sum(-1) / (outlier.sum(-1) * normal.sum(-1))


def places(outlier: np.ndarray, grid: tuple[int, int]) -> str:
    """Where in the image outliers sit, in words.

    Args:
        outlier: (image, patch) mask. grid: rows and columns.
    """
    rate = outlier.mean(0).reshape(grid)
    total, edge = rate.sum(), max(1, round(min(grid) / 14))
    corners = {
        "top left": rate[:edge, :edge], "top right": rate[:edge, -edge:],
        "bottom left": rate[-edge:, :edge], "bottom right": rate[-edge:, -edge:],
    }  # fmt: skip
    held = {name: part.sum() / total for name, part in corners.items()}
    if sum(held.values()) >= 0.9:
        named = [name for name, share in held.items() if share >= 0.1]
        if len(named) == 4:
            return "the four corners"
        return f"the {' and '.join(named)} corner{'s' * (len(named) > 1)}"
    if 1 - rate[edge:-edge, edge:-edge].sum() / total >= 0.9:
        return "the border of the image"
    fixed = int((rate >= 0.5).sum())
    if fixed and rate[rate >= 0.5].sum() / total >= 0.5:
        return f"{fixed} fixed place{'s' * (fixed > 1)}"
    return f"spread over {np.count_nonzero(rate)} of {rate.size} places"


@dataclass(frozen=True)
class Evidence:
    """The numbers that decide; each interval is (value, low, high)."""

    images: int
    artifacts: str  # the decision: yes, no, cannot tell
    why: str
    last: str  # the decision on the last block alone
    block: int  # judged block, from 1
    blocks: int
    onset: float
    share: Interval  # percent of tokens over the cutoff there
    ratio: float  # of those tokens' norms to the median of their image
    cutoff: float  # in the same unit
    smallest_ratio: float  # a mode further out would have been seen
    tokens: int
    place: Interval
    contrast: Interval
    same_place: Interval
    where: str


@dataclass(frozen=True)
class Verdict:
    """``artifacts``: yes, no or cannot tell. ``about``: position, content, or why not known."""

    artifacts: str
    about: str
    sentence: str


def verdict_of(e: Evidence) -> Verdict:
    """The verdict in one sentence; see the module for the criterion."""
    if e.artifacts != "yes":
        return Verdict(e.artifacts, "", f"has artifacts: {e.artifacts}: {e.why}")
    about, words = about_of(e.tokens, e.place, e.contrast, e.same_place, e.where)
    parts = ["has artifacts: yes", words, f"from block {e.onset:.0f}"]
    if e.last != "yes":
        surely = "" if e.last == "no" else "surely "
        parts[-1] += f", most after block {e.block}, not {surely}after the last ({e.blocks})"
    parts.append(f"{e.share[0]:.2g} % of tokens, at {e.ratio:.2g} x the median norm")
    return Verdict("yes", about, "; ".join(parts))


def about_of(
    tokens: int, place: Interval, contrast: Interval, same_place: Interval, where: str
) -> tuple[str, str]:
    """Position, content or neither decided (empty), and the same in words.

    Args:
        tokens: number of outliers. place: of :func:`place_share`. contrast, same_place: of
            :func:`contrast`. where: in words.
    """
    if tokens < MIN_TOKENS:
        return "", f"{tokens} such tokens are too few to say where they come from"
    if place[1] >= PREDICTED:
        if contrast[1] > ALIKE:
            return "", f"position or content, which these images tie together: {where}"
        return "position", f"position, not content: {where}"
    if place[2] < PREDICTED:
        alike, differ = same_place[1] > 0.5, same_place[2] < 0.5
        kind = "alike" if alike else "unlike each other" if differ else ""
        what = f"where neighbouring patches are {kind}" if kind else where
        return "content", f"content, not position: {what}"
    return "", f"position or content, not decided by these images: {where}"
