"""Proportions over images: exact bounds, and intervals that cover."""

import numpy as np
import pytest

from tokenscope.stats.proportion import clustered_interval, exact_upper


def test_none_of_twenty_does_not_mean_none():
    assert exact_upper(0, 20) == pytest.approx(1 - 0.05 ** (1 / 20))
    assert exact_upper(3, 3) == 1
    share, low, high = clustered_interval(np.zeros(20), 196)
    assert (share, low) == (0, 0) and high == pytest.approx(1 - 0.025 ** (1 / 20))


def test_the_same_in_every_image_is_known_well():
    share, low, high = clustered_interval(np.full(100, 4), 196)
    assert share == pytest.approx(4 / 196) and high - low < 0.005


@pytest.mark.parametrize("every", [1, 5])
def test_intervals_cover(every):
    rng, hits, draws, share = np.random.default_rng(0), 0, 400, 0.02
    for _ in range(draws):
        holds = rng.random(100) < 1 / every
        held = rng.binomial(196, share * every, 100) * holds
        _, low, high = clustered_interval(held, 196)
        hits += low <= share <= high
    assert 0.92 < hits / draws < 0.985
