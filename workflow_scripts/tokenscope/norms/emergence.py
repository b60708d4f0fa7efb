"""Norms of patch tokens while a backbone is trained: quantiles and outlier share, with intervals.

The mixture of two Gaussians is left out: at ten steps and twelve blocks it would cost minutes, and
the share above a multiple of the median says when outliers appear.
"""

import numpy as np

from tokenscope.norms.outlier_rule import outlier_mask, share_metric
from tokenscope.norms.outliers import LogHistogram, quantile, share_above
from tokenscope.stats.bootstrap import Bootstrap

QUANTILES = {"norm_median": 0.5, "norm_p90": 0.9, "norm_p98": 0.98, "norm_p999": 0.999}


def norm_summary(norms: np.ndarray, bootstrap: Bootstrap, times: float) -> dict[str, tuple]:
    """Quantiles of (image, patch) norms and the percent above ``times`` the median.

    Returns:
        by metric: value, low, high. Values are exact, ends come from binned resamples.
    """
    histogram = LogHistogram.of(norms)
    whole, edges = histogram.counts.sum(0, dtype=np.float64), histogram.edges
    resampled = bootstrap.sums(histogram.counts)
    summary = {}
    for name, q in QUANTILES.items():
        exact = float(np.quantile(norms, q))
        # Binning shifts a statistic by a hair; the resamples are moved back onto the exact value.
        moved = np.exp(quantile(resampled, edges, q) - quantile(whole, edges, q))
        low, high = bootstrap.interval(exact * moved)
        summary[name] = exact, float(low), float(high)
    above = lambda c: 100 * share_above(c, edges, quantile(c, edges, 0.5) + np.log(times))  # noqa: E731
    exact = 100 * float(outlier_mask(norms, times).mean())
    low, high = bootstrap.interval(above(resampled) - above(whole) + exact)
    ends = np.clip([low, high], 0, 100)
    summary[share_metric(times)] = exact, float(ends[0]), float(ends[1])
    return summary
