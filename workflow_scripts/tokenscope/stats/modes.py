"""Is there a mode of its own above the bulk of a distribution?

Above the bulk the density of log-norms falls wherever the tail is only a tail,
whatever its family (log-normal, gamma, Weibull, Laplace, Student): a *mode* is a place where it
surely rises again. This is the excess mass of Müller and Sawitzki, "Excess Mass Estimates and Tests
for Multimodality" (J. Am. Stat. Assoc. 86, 1991), against the decreasing densities of Grenander
(1956), looked for on all pairs of neighbouring windows: were the density falling, the upper window
could not hold more tokens than its length allows beside the lower one.

Each pair is tested twice, and both must agree: tokens one by one (exact, binomial), and images as
wholes (tokens of an image are not independent; a single odd image makes no mode of a backbone).
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import stats

BIN = 0.05  # width in log-norm
SPAN = 9.0  # a factor of 8,000
WINDOWS = (1, 2, 3, 4, 6, 8, 12, 16, 24)  # lengths in bins
# How many independent pairs the scan is worth: at a confidence of 95 % the largest of all is over
# 3.65 sigma in one of twenty draws of a density that neither falls nor rises, the worst case.
PAIRS = 380
SHOULDERS = 40  # the same for shoulders
SLOPE = 3  # bins over which a fall towards a valley is measured, twice
LEAST = 5  # tokens in a window, for its logarithm to mean something


def upper_counts(ratios: np.ndarray, floor: float) -> np.ndarray:
    """Tokens of each image in each bin above ``floor`` (image, bin), up to the highest token.

    Args:
        ratios: (image, token) norms in any unit; they are binned by their logarithm.
        floor: where the bulk has surely begun to fall; tokens over :data:`SPAN` above do not count.
    """
    images = len(ratios)
    image, token = np.nonzero(ratios >= floor)
    bins = int(np.ceil(SPAN / BIN))
    index = (np.log(ratios[image, token] / floor) / BIN).astype(np.int64)
    inside = index < bins
    counts = np.bincount(image[inside] * bins + index[inside], minlength=images * bins)
    counts = counts.reshape(images, bins).astype(np.float32)
    used = np.flatnonzero(counts.any(0))
    return counts[:, : used[-1] + 2 if len(used) else 0]


@lru_cache(maxsize=64)
def _pairs(bins: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Begin of the lower window, border, end of the upper one: every pair that fits."""
    border, lower, upper = (
        a.ravel() for a in np.meshgrid(np.arange(1, bins), WINDOWS, WINDOWS, indexing="ij")
    )
    fits = (border >= lower) & (border + upper <= bins)
    return (border - lower)[fits], border[fits], (border + upper)[fits]


class Moments:
    """Sums over images of what windows of bins hold, and of its products.

    Args:
        counts: (image, bin).
    """

    def __init__(self, counts: np.ndarray):
        self.images = len(counts)
        cumulative = np.pad(np.cumsum(counts, axis=1), ((0, 0), (1, 0)))
        self.total = cumulative.sum(0, dtype=np.float64)
        holds = cumulative[cumulative[:, -1] > 0]
        self.gram = (holds.T @ holds).astype(np.float64)

    def sum(self, begin: np.ndarray, end: np.ndarray) -> np.ndarray:
        """Tokens in the windows from ``begin`` to below ``end``."""
        return self.total[end] - self.total[begin]

    def product(self, a: tuple, b: tuple) -> np.ndarray:
        """Sum over images of the product of what windows ``a`` and ``b`` (begin, end) hold."""
        (a0, a1), (b0, b1), g = a, b, self.gram
        return g[a1, b1] - g[a0, b1] - g[a1, b0] + g[a0, b0]


@dataclass(frozen=True)
class Scan:
    """What the scan of one block found.

    Attributes:
        strength: of the strongest pair, in sigmas, by tokens and by images (the smaller of both).
        by_token: of the strongest pair where tokens count one by one.
        lower, border, upper: bins of the strongest pair.
    """

    strength: float
    by_token: float
    lower: int
    border: int
    upper: int


NOTHING = Scan(0.0, 0.0, 0, 0, 0)


def sigmas(upper: np.ndarray, both: np.ndarray, share: np.ndarray | float) -> np.ndarray:
    """How surprising ``upper`` of ``both`` tokens are where at most ``share`` is due (binomial)."""
    log_p = stats.binom.logsf(upper - 1, both, share)
    return np.where(log_p > -700, stats.norm.isf(np.exp(np.maximum(log_p, -700))), 37.0)


def scan(moments: Moments) -> Scan:
    """The pair of neighbouring windows that is least like a falling density."""
    bins = len(moments.total) - 1
    if bins < 2:
        return NOTHING
    low, border, high = _pairs(bins)
    below, above = border - low, high - border
    n_below, n_above = moments.sum(low, border), moments.sum(border, high)
    due = above / below
    excess = n_above - due * n_below
    some = np.flatnonzero(excess > 0)
    if not len(some):
        return NOTHING
    low, border, high, due = low[some], border[some], high[some], due[some]
    under, over = (low, border), (border, high)
    variance = (
        moments.product(over, over)
        - 2 * due * moments.product(over, under)
        + due**2 * moments.product(under, under)
    )
    by_image = excess[some] / np.sqrt(np.maximum(variance, 1e-9))
    n_above, n_below = n_above[some], n_below[some]
    by_token = sigmas(n_above, n_above + n_below, due / (1 + due))
    both = np.minimum(by_image, by_token)
    best = both.argmax()
    return Scan(
        float(both[best]), float(by_token.max()),
        int(low[best]), int(border[best]), int(high[best]),
    )  # fmt: skip


def threshold(confidence: float, blocks: int, tries: int = PAIRS) -> float:
    """Sigmas over which a scan surely found something, the error held over all ``blocks``."""
    return float(stats.norm.isf((1 - confidence) / (tries * blocks)))


@dataclass(frozen=True)
class Shoulder:
    """A place where the tail falls less, then more again: perhaps a mode that the bulk hides.

    Attributes:
        strength: in sigmas, the smaller of the turn up and the turn down after it.
        share: of the block's tokens in excess of a straight fall (of the log density), from 0 to 1.
        at: bin where the excess is.
    """

    strength: float
    share: float
    at: int


def shoulder(moments: Moments, tokens: int) -> Shoulder:
    """The strongest shoulder over four neighbouring windows of one length.

    Log-normal, gamma and Weibull tails turn down everywhere, Laplace and Student tails never after
    they turned up, so that none has a shoulder. It is no proof of a mode (images of different
    spread make one as well), but where there is one nobody can say that there is no mode.
    """
    bins, best = len(moments.total) - 1, Shoulder(0.0, 0.0, 0)
    for length in (window for window in WINDOWS if 4 * window <= bins and window <= 8):
        begin = np.arange(bins - 4 * length + 1)
        windows = [(begin + i * length, begin + (i + 1) * length) for i in range(4)]
        held = np.stack([moments.sum(*window) for window in windows])
        log, inverse = np.log(np.maximum(held, 0.5)), 1 / np.maximum(held, 0.5)
        products = np.array([[moments.product(v, w) for w in windows] for v in windows])

        def turn(weights, log=log, inverse=inverse, products=products):
            w = np.array(weights, np.float64)
            by_image = np.einsum("i,j,ib,jb,ijb->b", w, w, inverse, inverse, products)
            by_token = (w[:, None] ** 2 * inverse).sum(0)
            return w @ log / np.sqrt(np.maximum(by_image, by_token))

        strength = np.minimum(turn((1, -2, 1, 0)), turn((0, -1, 2, -1)))
        strength[(held[:3] < LEAST).any(0)] = 0.0
        i = int(strength.argmax())
        if strength[i] > best.strength:
            excess = held[2, i] - np.sqrt(held[1, i] * held[3, i])
            best = Shoulder(float(strength[i]), float(excess) / tokens, int(i + 2 * length))
    return best


def valley(cumulative: np.ndarray, found: Scan) -> float:
    """Bin of the emptiest place below the mode; the middle, where several in a row are as empty.

    Args:
        cumulative: tokens below each edge of a bin.
    """
    held = np.convolve(np.diff(cumulative), np.ones(3), mode="same")
    peak = found.border + int(held[found.border : found.upper].argmax())
    below = held[: peak + 1]
    empty = below == below.min()
    edges = np.flatnonzero(np.diff(np.concatenate([[False], empty, [False]]).astype(int)))
    begin, end = edges[::2], edges[1::2]
    longest = (end - begin).argmax()
    return float(begin[longest] + end[longest]) / 2


def spill(cumulative: np.ndarray, found: Scan, cutoff: float) -> tuple[float, float]:
    """Tokens of the mode below the valley, and of what is below it above: the error of a cut.

    Near the bulk both falls overlap. Each is extended over the valley at the rate at which it falls
    towards it, as a geometric series; an empty valley spills nothing.

    Args:
        cumulative: tokens below each edge of a bin. cutoff: bin of the :func:`valley`.
    """
    held = np.diff(cumulative)
    peak = found.border + int(held[found.border : found.upper].argmax())
    middle = round(cutoff)

    def extended(near: float, far: float) -> float:
        return near * near / (far - near) if far > 2 * near else near

    above, below = (max(1, min(SLOPE, reach // 2)) for reach in (peak - middle, middle))
    lost = extended(*(held[middle + i * above :][:above].sum() for i in (0, 1)))
    downwards = held[:middle][::-1]
    gained = extended(*(downwards[i * below :][:below].sum() for i in (0, 1)))
    return float(lost), float(gained)


def first_visible(moments: Moments, added: float, needed: float) -> int | None:
    """First bin from which on ``added`` tokens, 4 bins wide, would be a mode of that strength.

    In sigmas, by both tests of a :func:`scan`, added to what is there; None where they never are.
    """
    bins, width = len(moments.total) - 1, 4
    place = np.arange(1, bins + WINDOWS[-1] + 1)
    enough = np.zeros(len(place), bool)
    over = (np.minimum(place, bins), np.minimum(place + width, bins))
    for length in WINDOWS:
        under = (np.clip(place - length, 0, bins), np.minimum(place, bins))
        due = width / length
        below, above = moments.sum(*under), moments.sum(*over) + added
        variance = (
            moments.product(over, over) - 2 * due * moments.product(over, under)
            + due**2 * moments.product(under, under) + added * max(1.0, added / moments.images)
        )  # fmt: skip
        by_image = (above - due * below) / np.sqrt(np.maximum(variance, 1e-9))
        by_token = sigmas(np.floor(above), np.floor(above) + below, due / (1 + due))
        enough |= (np.minimum(by_image, by_token) >= needed) & (place >= length)
    missed = np.flatnonzero(~enough)
    first = missed[-1] + 1 if len(missed) else 0
    return int(place[first]) if first < len(place) else None
