"""Who is an outlier: several rules side by side (protocol, section 2), with intervals.

Norms of one block are binned finely on a log scale, image by image. Everything that needs an
interval (median, quantiles, shares above a multiple of the median, the Gaussian mixture) is then
recomputed on resampled histograms, at a cost that does not depend on the number of tokens; point
values are exact. The bin width bounds the error of a resampled quantile (below 0.3 %).
"""

from dataclasses import dataclass

import numpy as np

from tokenscope.errors import StudyError
from tokenscope.norms.outlier_rule import SHARE_OVER, outlier_mask, share_metric
from tokenscope.stats.bootstrap import Bootstrap
from tokenscope.stats.proportion import exact_upper

BINS = 2048
MIXTURES = 200  # resamples that place the ends of a mixture's interval
COARSE = 8  # bins of the histogram that make one of the mixture's


@dataclass(frozen=True)
class LogHistogram:
    """Counts of log-norms by image: ``counts`` (image, bin), ``edges`` (bin + 1) of log-norm."""

    counts: np.ndarray
    edges: np.ndarray

    @classmethod
    def of(cls, norms: np.ndarray, bins: int = BINS) -> "LogHistogram":
        """Histogram of (image, token) norms; a norm of zero or below has no logarithm."""
        if not (np.isfinite(norms).all() and (norms > 0).all()):
            raise StudyError("a token norm is zero, negative or not finite: the store is damaged")
        logs = np.log(norms)
        low, high = float(logs.min()), float(logs.max())
        width = max(high - low, 1e-6) / bins
        index = np.minimum(((logs - low) / width).astype(np.int64), bins - 1)
        index += np.arange(len(norms))[:, None] * bins
        counts = np.bincount(index.ravel(), minlength=len(norms) * bins).reshape(-1, bins)
        return cls(counts.astype(np.float32), low + width * np.arange(bins + 1))

    @property
    def centres(self) -> np.ndarray:
        return (self.edges[1:] + self.edges[:-1]) / 2


def quantile(counts: np.ndarray, edges: np.ndarray, q: float) -> np.ndarray:
    """Quantile of log-norm of each histogram (..., bin), linear inside the bin."""
    cumulative = np.cumsum(counts, axis=-1, dtype=np.float64)
    target = q * cumulative[..., -1:]
    i = np.minimum((cumulative < target).sum(-1), counts.shape[-1] - 1)
    at = np.take_along_axis(cumulative, i[..., None], -1)[..., 0]
    inside = np.take_along_axis(counts, i[..., None], -1)[..., 0]
    fraction = 1 - (at - target[..., 0]) / np.maximum(inside, 1e-12)
    return edges[i] + np.clip(fraction, 0, 1) * (edges[1] - edges[0])


def share_above(counts: np.ndarray, edges: np.ndarray, log_threshold: np.ndarray) -> np.ndarray:
    """Share of each histogram (..., bin) above its threshold, linear inside the bin."""
    total = counts.sum(-1, dtype=np.float64)
    above = np.concatenate(
        [
            np.cumsum(counts[..., ::-1], -1, dtype=np.float64)[..., ::-1],
            np.zeros((*total.shape, 1)),
        ],
        axis=-1,
    )
    place = (np.asarray(log_threshold) - edges[0]) / (edges[1] - edges[0])
    place = np.clip(place, 0, counts.shape[-1])
    i = np.minimum(place.astype(np.int64), counts.shape[-1] - 1)
    upper = np.take_along_axis(above, i[..., None], -1)[..., 0]
    lower = np.take_along_axis(above, i[..., None] + 1, -1)[..., 0]
    return (upper + (place - i) * (lower - upper)) / total


@dataclass(frozen=True)
class Mixture:
    """Two Gaussians on log-norm, lower and upper; each field is (..., 2)."""

    mean: np.ndarray
    sigma: np.ndarray
    weight: np.ndarray
    log_likelihood: np.ndarray

    @property
    def separation(self) -> np.ndarray:
        """|mu1 - mu2| / mean sigma."""
        return np.abs(self.mean[..., 1] - self.mean[..., 0]) / self.sigma.mean(-1)

    @property
    def upper_share(self) -> np.ndarray:
        """Weight of the component with the larger mean."""
        return self.weight[..., 1]


def fit_mixture(
    counts: np.ndarray, centres: np.ndarray, start: Mixture | None = None, steps: int = 200
) -> Mixture:
    """Expectation maximisation on binned log-norms, for many histograms (..., bin) at once.

    scikit-learn's mixture takes no weights, hence no histograms; this agrees with it on samples.
    Three beginnings are tried, splits at the median, at the 98th percentile and at three times the
    median, and ``start`` where it is given; the likeliest end is kept: expectation maximisation
    ends in the nearest hill, and outliers may be rare, or too many for the percentile.
    """
    counts = np.asarray(counts, np.float64)
    half = (centres[1] - centres[0]) / 2
    edges = np.append(centres - half, centres[-1] + half)
    median, p98 = (quantile(counts, edges, q) for q in (0.5, 0.98))
    begins = [_split(counts, centres, at) for at in (median, p98, median + np.log(3))]
    if start is not None:
        shape = (*counts.shape[:-1], 2)
        given = (start.mean, start.sigma, start.weight)
        begins.append(tuple(np.broadcast_to(part, shape) for part in given))
    ends = [_maximise(counts, centres, begin, steps) for begin in begins]
    likelihood = np.stack([end.log_likelihood for end in ends])
    best = likelihood.argmax(0)[None]
    return Mixture(
        *(
            np.take_along_axis(np.stack([getattr(e, f) for e in ends]), best[..., None], 0)[0]
            for f in ("mean", "sigma", "weight")
        ),
        np.take_along_axis(likelihood, best, 0)[0],
    )


def _split(counts: np.ndarray, centres: np.ndarray, at: np.ndarray) -> tuple[np.ndarray, ...]:
    upper = centres > np.asarray(at)[..., None]
    return _moments(counts[..., None, :] * np.stack([~upper, upper], -2), centres)


def _moments(mass: np.ndarray, centres: np.ndarray) -> tuple[np.ndarray, ...]:
    total = mass.sum(-1) + 1e-9
    mean = mass @ centres / total
    variance = mass @ centres**2 / total - mean**2
    floor = 2 * (centres[1] - centres[0])
    return mean, np.sqrt(np.maximum(variance, floor**2)), total / total.sum(-1, keepdims=True)


def _maximise(counts, centres, begin, steps) -> Mixture:
    mean, sigma, weight = begin
    previous = -np.inf
    total = counts.sum(-1)
    for _ in range(steps):
        z = (centres - mean[..., None]) / sigma[..., None]
        log_density = (
            np.log(weight[..., None] + 1e-300)
            - np.log(sigma[..., None])
            - 0.5 * z**2
            - 0.5 * np.log(2 * np.pi)
        )
        log_sum = np.logaddexp(log_density[..., 0, :], log_density[..., 1, :])
        likelihood = (counts * log_sum).sum(-1) / total
        if np.all(likelihood - previous < 1e-8):
            break
        previous = likelihood
        share = np.exp(log_density - log_sum[..., None, :])
        mean, sigma, weight = _moments(counts[..., None, :] * share, centres)
    order = np.argsort(mean, -1)
    sort = [np.take_along_axis(p, order, -1) for p in (mean, sigma, weight)]
    return Mixture(*sort, likelihood)


def _rebin(counts: np.ndarray) -> np.ndarray:
    return counts.reshape(*counts.shape[:-1], -1, COARSE).sum(-1)


@dataclass(frozen=True)
class BlockNorms:
    """Norm statistics of the patch tokens after one block; ``resampled`` by name, per resample."""

    value: dict[str, float]
    low: dict[str, float]
    high: dict[str, float]
    resampled: dict[str, np.ndarray]


def block_norms(norms: np.ndarray, bootstrap: Bootstrap, rules: dict) -> BlockNorms:
    """All rules on (image, patch) norms of one block.

    Args:
        rules: ``percentile`` (98), ``absolute`` (150), ``times_median`` (3).

    Returns:
        norm_median, norm_p98, norm_max, the shares in percent of tokens above each rule's cutoff,
        bimodality_separation, bimodality_upper_share (percent).
    """
    times, absolute, q = rules["times_median"], rules["absolute"], rules["percentile"] / 100
    median, cut = np.median(norms), np.quantile(norms, q)
    histogram = LogHistogram.of(norms)
    edges, whole = histogram.edges, histogram.counts.sum(0, dtype=np.float64)
    resampled = bootstrap.sums(histogram.counts)
    coarse = histogram.centres.reshape(-1, COARSE).mean(-1)
    point = fit_mixture(_rebin(whole), coarse)
    # A mixture is dear, and each resample has hills of its own: fewer resamples, all beginnings.
    mixture = fit_mixture(_rebin(resampled[:MIXTURES]), coarse, point, steps=100)

    medians = quantile(resampled, edges, 0.5)
    log_median = quantile(whole, edges, 0.5)
    percentile = f"p{rules['percentile']:g}"
    over_percentile, over_absolute = (
        f"share_norm_over_{what}" for what in (percentile, f"{absolute:g}")
    )
    exact = {
        "norm_median": median,
        f"norm_{percentile}": cut,
        "norm_max": norms.max(),
        over_percentile: 100 * (norms > cut).mean(),
        over_absolute: 100 * (norms > absolute).mean(),
        share_metric(times): 100 * outlier_mask(norms, times).mean(),
        "bimodality_separation": float(point.separation),
        "bimodality_upper_share": 100 * float(point.upper_share),
    }

    def binned(counts, log_med, fit):
        # The cutoff of the percentile rule is the study's, so its share varies with the images.
        log_cut, log_absolute = (np.full(counts.shape[:-1], np.log(c)) for c in (cut, absolute))
        return {
            "norm_median": np.exp(log_med),
            f"norm_{percentile}": np.exp(quantile(counts, edges, q)),
            over_percentile: 100 * share_above(counts, edges, log_cut),
            over_absolute: 100 * share_above(counts, edges, log_absolute),
            share_metric(times): 100 * share_above(counts, edges, log_med + np.log(times)),
            "bimodality_separation": fit.separation,
            "bimodality_upper_share": 100 * fit.upper_share,
        }

    at_point = binned(whole, log_median, point)
    samples = binned(resampled, medians, mixture)
    # Binning shifts a statistic by a hair; the resamples are moved back onto the exact value.
    samples = {name: s - at_point[name] + exact[name] for name, s in samples.items()}
    ends = {name: bootstrap.interval(s) for name, s in samples.items()}
    clip = lambda name, x: float(np.clip(x, 0, 100) if "share" in name else x)  # noqa: E731
    low = {name: clip(name, ends[name][0]) for name in ends} | {"norm_max": float("nan")}
    high = {name: clip(name, ends[name][1]) for name in ends} | {"norm_max": float("nan")}
    # None in these images does not mean none: no resample can know.
    none = 100 * exact_upper(0, len(norms), (1 + bootstrap.confidence) / 2)
    high |= {name: none for name in exact if name.startswith(SHARE_OVER) and exact[name] == 0}
    return BlockNorms({k: float(v) for k, v in exact.items()}, low, high, samples)


def first_block(shares: np.ndarray, minimum: float) -> np.ndarray:
    """First block from which on the share stays at ``minimum`` or above up to its peak.

    Args:
        shares: (..., block) percent of outlier tokens.

    Returns:
        number of that block, counted from 1; NaN where the share never reaches ``minimum``.
    """
    reached = shares >= minimum
    peak = shares.argmax(-1)
    blocks = np.arange(shares.shape[-1])
    gap = ~reached & (blocks <= peak[..., None])
    last_gap = np.where(gap.any(-1), shares.shape[-1] - 1 - gap[..., ::-1].argmax(-1), -1)
    return np.where(shares.max(-1) >= minimum, last_gap + 2.0, np.nan)
