"""Where outliers sit, against answers known beforehand."""

import numpy as np
import pytest

from tokenscope.norms.places import position_entropy, share_by_place, spread
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
    table = share_by_place(norms, (2, 3), {"times_median": 3, "percentile": 50})
    assert table["row"].tolist() == [0, 0, 0, 1, 1, 1]
    assert table["column"].tolist() == [0, 1, 2, 0, 1, 2]
    assert table["times_median"].tolist() == table["percentile"].tolist() == [0, 0, 0, 0, 0, 50]


def test_spread_of_one_place_and_of_none():
    outlier = np.zeros((4, 6), bool)
    outlier[:2, 5] = True
    tokens, entropy = spread(outlier, Bootstrap(4, 50))
    assert tokens.value == 2 and entropy[2:] == pytest.approx((0, 0, 0, "of the maximum"))
    tokens, entropy = spread(~outlier & outlier, Bootstrap(4, 50))
    assert tokens.value == 0 and np.isnan(entropy.value)
