"""Outlier rules and intervals against answers known beforehand."""

import numpy as np
import pytest
from scipy import stats
from sklearn.mixture import GaussianMixture

from tokenscope.errors import StudyError
from tokenscope.norms.outliers import (
    LogHistogram,
    block_norms,
    first_block,
    fit_mixture,
    quantile,
    share_above,
)
from tokenscope.stats.bootstrap import Bootstrap

RULES = {"percentile": 98, "absolute": 150, "times_median": 3}


def mixed_norms(share, images=200, patches=100, seed=0):
    """Log-normal norms around 20 with a planted share around 300."""
    rng = np.random.default_rng(seed)
    norms = 20 * np.exp(0.15 * rng.standard_normal((images, patches)))
    planted = rng.random((images, patches)) < share
    norms[planted] = 300 * np.exp(0.2 * rng.standard_normal(planted.sum()))
    return norms.astype(np.float32), planted


def test_rules_find_what_was_planted():
    norms, planted = mixed_norms(0.02)
    block = block_norms(norms, Bootstrap(len(norms), 200), RULES)
    value, low, high = block.value, block.low, block.high
    for metric in ("share_norm_over_3x_median", "share_norm_over_150", "bimodality_upper_share"):
        assert value[metric] == pytest.approx(100 * planted.mean(), rel=0.02)
        assert low[metric] < value[metric] < high[metric]
    assert value["norm_median"] == np.median(norms)
    assert value["bimodality_separation"] > 10


def test_p98_marks_two_percent_of_anything():
    norms, _ = mixed_norms(0.0)
    block = block_norms(norms, Bootstrap(len(norms), 100), RULES)
    assert block.value["share_norm_over_p98"] == pytest.approx(2.0, abs=0.01)
    none = "share_norm_over_3x_median"
    assert block.value[none] == block.low[none] == 0
    # Nothing in so many images excludes no more than so many images can.
    assert block.high[none] == pytest.approx(100 * (1 - 0.025 ** (1 / len(norms))))
    assert block.value["bimodality_separation"] < 3


def test_damaged_norms_are_refused():
    norms, _ = mixed_norms(0.0)
    for bad in (np.nan, np.inf, 0.0, -1.0):
        broken = norms.copy()
        broken[3, 4] = bad
        with pytest.raises(StudyError, match="damaged"):
            LogHistogram.of(broken)


def test_histogram_statistics_are_close_to_exact():
    norms, _ = mixed_norms(0.05)
    histogram = LogHistogram.of(norms)
    counts = histogram.counts.sum(0)
    width = histogram.edges[1] - histogram.edges[0]
    for q in (0.02, 0.5, 0.98):
        exact = np.log(np.quantile(norms, q))
        assert abs(quantile(counts, histogram.edges, q) - exact) < width
    for threshold in (18.0, 60.0, 320.0):
        share = share_above(counts, histogram.edges, np.log(threshold))
        assert share == pytest.approx((norms > threshold).mean(), abs=2e-3)
    assert share_above(counts, histogram.edges, 1e9) == 0
    assert share_above(counts, histogram.edges, -1e9) == 1


def test_mixture_agrees_with_scikit_learn():
    norms, _ = mixed_norms(0.1)
    histogram = LogHistogram.of(norms)
    ours = fit_mixture(histogram.counts.sum(0), histogram.centres)
    theirs = GaussianMixture(2, random_state=0, tol=1e-6).fit(np.log(norms).reshape(-1, 1))
    order = np.argsort(theirs.means_.ravel())
    np.testing.assert_allclose(ours.mean, theirs.means_.ravel()[order], rtol=1e-3)
    sigma = np.sqrt(theirs.covariances_.ravel()[order])
    np.testing.assert_allclose(ours.sigma, sigma, rtol=0.02)
    np.testing.assert_allclose(ours.weight, theirs.weights_[order], rtol=0.01)


def test_mixture_finds_outliers_beyond_its_percentile():
    """5.6 % of equal outliers: from the median and the 98th percentile alone a poorer hill wins."""
    rng = np.random.default_rng(0)
    bulk = np.exp(np.r_[rng.normal(2.05, 0.2, 5500), rng.normal(1.5, 0.3, 160)])
    norms = np.r_[bulk, rng.normal(63.5, 0.2, 340)].reshape(60, 100)
    histogram = LogHistogram.of(norms)
    fit = fit_mixture(histogram.counts.reshape(60, -1, 8).sum((0, 2)),
                      histogram.centres.reshape(-1, 8).mean(1))  # fmt: skip
    assert fit.upper_share == pytest.approx(340 / 6000, rel=0.01) and fit.separation > 10


def test_bootstrap_of_a_mean_has_the_textbook_width():
    rng = np.random.default_rng(0)
    sample = rng.normal(5, 2, 400)
    bootstrap = Bootstrap(400, 2000)
    point, low, high, _ = bootstrap.ratio(sample, np.ones(400))
    error = sample.std(ddof=1) / np.sqrt(400)
    width = 2 * stats.norm.ppf(0.975) * error
    assert point == pytest.approx(sample.mean())
    assert high - low == pytest.approx(width, rel=0.1)


def test_interval_covers_the_truth():
    covered = 0
    for seed in range(60):
        norms, _ = mixed_norms(0.02, images=100, patches=50, seed=seed)
        block = block_norms(norms, Bootstrap(100, 200, seed), RULES)
        low, high = (getattr(block, end)["share_norm_over_3x_median"] for end in ("low", "high"))
        covered += low <= 2.0 <= high
    assert 50 <= covered <= 60  # 95 % of 60 is 57


def test_ratio_without_any_denominator_is_undefined():
    bootstrap = Bootstrap(5, 50)
    point, low, high, _ = bootstrap.ratio(np.zeros(5), np.zeros(5))
    assert np.isnan([point, low, high]).all()


def test_first_block_is_where_the_share_stays():
    assert first_block(np.array([0, 0, 0.5, 2, 2.0]), 0.1) == 3
    assert first_block(np.array([0.5, 0, 0, 2, 1.0]), 0.1) == 4  # an early flicker does not count
    assert first_block(np.array([3.0, 2, 1]), 0.1) == 1
    assert np.isnan(first_block(np.zeros(4), 0.1))
