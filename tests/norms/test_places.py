"""Where outliers sit, against answers known beforehand."""

import numpy as np
import pytest

from tokenscope.norms.places import (
    _series,
    estimated_entropy,
    position_entropy,
    share_by_place,
    spread,
)
from tokenscope.stats.bootstrap import Bootstrap


def test_entropy_of_places():
    assert position_entropy(np.ones(16)) == pytest.approx(1)
    assert position_entropy(np.eye(16)[3]) == pytest.approx(0)
    corners = np.zeros(16)
    corners[[0, 3, 12, 15]] = 5
    assert position_entropy(corners) == pytest.approx(0.5)
    assert np.isnan(position_entropy(np.zeros(16)))


def test_share_by_place():
    """A grid of 2 x 3 and four images: half have an outlier in the last place."""
    norms = np.ones((4, 6))
    norms[:2, 5] = 9
    table = share_by_place(norms, norms > 5, (2, 3), {"times_median": 3, "percentile": 50})
    assert table["row"].tolist() == [0, 0, 0, 1, 1, 1]
    assert table["column"].tolist() == [0, 1, 2, 0, 1, 2]
    for rule in ("judged", "times_median", "percentile"):
        assert table[rule].tolist() == [0, 0, 0, 0, 0, 50]


def test_spread_of_one_place_and_of_none():
    outlier = np.zeros((4, 6), bool)
    outlier[:2, 5] = True
    tokens, entropy = spread(outlier, Bootstrap(4, 50))
    assert tokens.value == 2 and entropy[2:] == pytest.approx((0, 0, 0, "of the maximum"))
    tokens, entropy = spread(~outlier & outlier, Bootstrap(4, 50))
    assert tokens.value == 0 and np.isnan(entropy.value)


def drawn(shares, images, seed):
    """Images whose places hold an outlier with these probabilities, one by one."""
    return np.random.default_rng(seed).random((images, len(shares))) < shares


def test_entropy_of_few_outliers_is_not_low_for_lack_of_them():
    """A hundred outliers anywhere on 196 places: counted, 0.81 of the maximum; truly all of it."""
    outlier = np.eye(196, dtype=bool)[np.random.default_rng(0).integers(0, 196, 100)]
    assert position_entropy(outlier.sum(0)) < 0.83
    value, low, high = estimated_entropy(outlier)
    assert low < value <= high == 1 and value > 0.9


@pytest.mark.parametrize("images", [50, 300])
@pytest.mark.parametrize("name", ["anywhere", "more of the grid", "middle"])
def test_intervals_of_the_entropy_hold_the_truth(name, images):
    """At least 92 of 100 samples, where the truth is known; none is far from it."""
    row, column = np.indices((14, 14)) - 6.5
    shares = {
        "anywhere": np.full(196, 0.02),
        "more of the grid": np.where(np.arange(196) < 118, 0.034, 0),
        "middle": 0.1 * np.exp(-(row**2 + column**2) / 25).ravel(),
    }[name]
    truth = min(position_entropy(shares), 1)
    ends = np.array([estimated_entropy(drawn(shares, images, seed)) for seed in range(100)])
    assert ((ends[:, 1] <= truth) & (truth <= ends[:, 2])).sum() >= 92
    assert np.abs(ends[:, 0].mean() - truth) < 0.02
    assert (ends[:, 1] <= ends[:, 0]).all() and (ends[:, 0] <= ends[:, 2]).all()


def test_series_against_its_terms():
    """Also where q is near 1, as it is where every place was seen once."""
    k = np.arange(300_000)
    for q, first in ((0.0, 5.0), (0.5, 300.0), (0.999, 2.0), (0.9995, 5000.0)):
        assert _series(np.array(q), np.array(first)) == pytest.approx((q**k / (first + k)).sum())


def test_one_image_says_nothing_of_places():
    outlier = np.zeros((5, 9), bool)
    outlier[2, :3] = True
    assert np.isnan(estimated_entropy(outlier)).all()
