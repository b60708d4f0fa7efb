"""The outlier rule, by hand."""

import numpy as np

from tokenscope.norms.outlier_rule import (
    cutoff,
    is_share_metric,
    max_over_median,
    outlier_mask,
    share_metric,
)


def test_each_block_has_its_own_cutoff_over_all_images():
    norms = np.ones((3, 2, 5), np.float32)
    norms[:, 1] = 10
    norms[0, 0, 4] = 3.1
    norms[2, 1, 0] = 30
    assert cutoff(norms, 3).tolist() == [3, 30] and cutoff(norms, 3).dtype == np.float32
    assert cutoff(norms[:, 1], 3) == 30
    assert np.argwhere(outlier_mask(norms, 3)).tolist() == [[0, 0, 4]]  # 30 is not over 30
    for block in (0, 1):
        assert np.array_equal(outlier_mask(norms, 3)[:, block], outlier_mask(norms[:, block], 3))


def test_the_median_is_over_images_not_of_one():
    norms = np.ones((3, 4))
    norms[0] = 5  # all of an image stands out: its own median would hide it
    assert outlier_mask(norms, 3).sum(1).tolist() == [4, 0, 0]


def test_largest_norm_in_medians_of_the_image():
    assert max_over_median(np.array([[1, 2, 6.0], [4, 4, 4]])).tolist() == [3, 1]


def test_the_name_of_its_share_is_known_from_other_shares():
    assert all(is_share_metric(share_metric(times)) for times in (3, 2.5, 1e6))
    others = ("p98", "150", "3x_median_minus_r0", "3x_median_of_base")
    assert not any(is_share_metric(f"share_norm_over_{name}") for name in others)
