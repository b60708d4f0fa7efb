"""Claim 3 from arrays alone, with answers by hand."""

import numpy as np
import pandas as pd
import pytest

from tokenscope.norms.redundancy import by_pooling, compare, curves
from tokenscope.stats.bootstrap import Bootstrap


@pytest.fixture
def outlier():
    """20 images of 5 patches, the first of each an outlier."""
    mask = np.zeros((20, 5), bool)
    mask[:, 0] = True
    return mask


def measured(cosine, outlier, similarities, pooling="pair"):
    rows = compare(cosine, outlier, similarities, Bootstrap(20, 50), pooling)
    return pd.DataFrame(rows).set_index(["group", "metric"])


def test_equal_similarities_have_ratio_one(outlier):
    rows = measured(np.full((20, 5, 4), 0.8), outlier, [0.5, 0.9])
    for end in ("value", "low", "high"):
        assert rows.loc[("outlier-normal", "neighbour_cosine_mean"), end] == pytest.approx(0)
        assert rows.loc[("outlier/normal", "redundant_region_ratio"), end] == 1
    # Above 0.9 there is nothing: 0 / 0 is undefined, not 1.
    assert rows.loc[("outlier/normal", "redundant_region_ratio_over_0.9")][:3].isna().all()


def test_shares_and_their_ratio_by_hand(outlier):
    """All neighbours of outliers are alike, and one in four of the others'."""
    cosine = np.zeros((20, 5, 4))
    cosine[outlier] = cosine[:, :, 0] = 0.95
    value = measured(cosine, outlier, [0.9])["value"]
    assert value["outlier", "neighbour_cosine_share_over_0.9"] == 100
    assert value["normal", "neighbour_cosine_share_over_0.9"] == 25
    assert value["outlier/normal", "redundant_region_ratio"] == 4
    assert value["outlier-normal", "neighbour_cosine_mean"] == pytest.approx(0.95 * 0.75)


def test_neighbours_that_do_not_exist_do_not_count(outlier):
    cosine = np.full((20, 5, 4), 0.5)
    cosine[:, :, 3] = 0.9
    cosine[:, 0, 3] = np.nan
    pooled = by_pooling(cosine)
    assert pooled["patch"].shape == (20, 5, 1)
    value = measured(cosine, outlier, [0.8])["value"]
    assert value["outlier", "neighbour_cosine_mean"] == pytest.approx(0.5)
    assert value["normal", "neighbour_cosine_mean"] == pytest.approx(0.6)
    value = measured(pooled["patch"], outlier, [0.55], "patch")["value"]
    assert value["outlier", "neighbour_cosine_patch_share_over_0.55"] == 0
    assert value["normal", "neighbour_cosine_patch_share_over_0.55"] == 100


def test_densities_integrate_to_one_and_the_ratio_is_the_shares(outlier):
    cosine = np.random.default_rng(0).uniform(-1, 1, (20, 5, 4))
    table = curves(cosine, outlier, Bootstrap(20, 20))
    for group in ("outlier", "normal"):
        assert table.loc[table["group"] == group, "density"].sum() * 0.02 == pytest.approx(1)
    ratio = table[table["group"] == "ratio"].set_index("cosine")["density"]
    assert ratio.iloc[0] == 1  # all similarities are above -1
    shares = [(cosine[mask] >= 0).mean() for mask in (outlier, ~outlier)]
    assert ratio.iloc[50] == pytest.approx(shares[0] / shares[1])
