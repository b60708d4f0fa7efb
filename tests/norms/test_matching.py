"""Normal tokens of the same images and places as outliers, where the answer is known."""

import numpy as np
import pytest

from tokenscope.norms.matching import auc, auc_within_images, match, means
from tokenscope.norms.redundancy import aucs, compare_matched
from tokenscope.stats.bootstrap import Bootstrap

PATCHES = 64


def sample(images, seed, of_place=0.0, of_image=0.0, of_outlier=0.0):
    """Outliers that prefer some places and images; values that depend on what is asked for."""
    generator = np.random.default_rng(seed)
    place = np.linspace(-1, 1, PATCHES)
    image = generator.uniform(-1, 1, images)[:, None]
    outlier = generator.random((images, PATCHES)) < 0.06 * np.exp(1.2 * place + 1.2 * image)
    noise = generator.normal(size=outlier.shape)
    return outlier, of_place * place + of_image * image + of_outlier * outlier + noise


def test_weights_add_up_to_the_outliers_of_each_image_and_place():
    outlier, _ = sample(200, 0)
    matched = match(outlier)
    assert matched.share > 0.99 and (matched.weight[outlier] == 0).all()
    assert matched.weight.sum(1) == pytest.approx(matched.outlier.sum(1))
    places = matched.outlier.sum(0)
    assert np.abs(matched.weight.sum(0) - places).sum() <= 0.01 * places.sum()


def test_fixed_places_leave_nothing_to_compare_with():
    outlier = np.zeros((30, PATCHES), bool)
    outlier[:, [0, 7]] = True
    matched = match(outlier)
    assert matched.share == 0
    cosine = np.random.default_rng(0).uniform(0, 1, (30, PATCHES, 4))
    assert compare_matched(cosine, matched, [0.9], Bootstrap(30, 20)) == []
    assert match(np.zeros((3, 4), bool)).share == 0


def test_nearly_fixed_places_cannot_be_matched_either():
    """Both corners in all but a few images, which would have to stand for all the others."""
    outlier = np.zeros((100, PATCHES), bool)
    outlier[:, :2] = True
    outlier[:4, 0] = False
    assert match(outlier).share < 0.1


@pytest.mark.parametrize("confounder", ["of_place", "of_image"])
def test_what_places_and_images_do_is_no_difference(confounder):
    outlier, values = sample(400, 1, **{confounder: 2.0})
    bootstrap, matched = Bootstrap(400, 300), match(outlier)
    (own, owns), (other, others) = means(values, matched, bootstrap)
    assert values[outlier].mean() - values[~outlier].mean() > 0.5  # what is seen unmatched
    low, high = bootstrap.interval(owns - others)
    assert low < 0 < high and abs(own - other) < 0.1
    low, high = auc_within_images(values, matched, bootstrap)[1:]
    assert low < 0.5 < high
    assert auc(values, outlier, bootstrap)[1] > 0.6


def test_a_difference_of_content_is_found_in_spite_of_place_and_image():
    outlier, values = sample(400, 2, of_place=-2.0, of_image=-2.0, of_outlier=0.8)
    bootstrap, matched = Bootstrap(400, 300), match(outlier)
    (own, owns), (other, others) = means(values, matched, bootstrap)
    low, high = bootstrap.interval(owns - others)
    assert 0 < low < 0.8 < high
    assert auc_within_images(values, matched, bootstrap)[1] > 0.5


def test_the_interval_of_the_difference_holds_the_truth():
    """In at least 91 of 100 samples, places and images mattering much."""
    held = 0
    for seed in range(100):
        outlier, values = sample(80, seed, of_place=2.0, of_image=2.0, of_outlier=0.3)
        bootstrap, matched = Bootstrap(80, 200, seed), match(outlier)
        (own, owns), (other, others) = means(values, matched, bootstrap)
        low, high = bootstrap.interval(owns - others)
        assert low <= own - other <= high
        held += low <= 0.3 <= high
    assert held >= 91


def test_auc_against_counting_pairs():
    generator = np.random.default_rng(3)
    values, outlier = generator.normal(size=(20, 30)), generator.random((20, 30)) < 0.2
    pairs = values[outlier][:, None] > values[~outlier]
    value, low, high = auc(values, outlier, Bootstrap(20, 200))
    assert value == pytest.approx(pairs.mean(), abs=0.002) and low < value < high


def test_claim_3_on_planted_place_and_planted_content():
    """Alike for the place they are in: no verdict by the matched ratio; for content: 4 to 1."""
    generator = np.random.default_rng(4)
    bootstrap = Bootstrap(300, 200)
    places = np.where(np.arange(PATCHES) < 16, 0.2, 0.01)
    outlier = generator.random((300, PATCHES)) < places
    alike = generator.random((300, PATCHES)) < np.where(np.arange(PATCHES) < 16, 0.8, 0.2)

    def ratio(alike):
        cosine = np.where(alike, 0.95, 0.5)[:, :, None].repeat(4, 2)
        rows = compare_matched(cosine, match(outlier), [0.9], bootstrap)
        rows += aucs(cosine, outlier, match(outlier), bootstrap)
        found = {(row.group, row.metric): row for row in rows}
        return found["outlier/matched", "redundant_region_ratio"], found

    by_place, _ = ratio(alike)
    assert by_place.low < 1 < by_place.high
    content = np.where(outlier, generator.random(alike.shape) < 0.8, alike & (places < 0.1))
    by_content, found = ratio(content)
    assert by_content.low > 2
    assert found["outlier-matched", "neighbour_cosine_auc"].low > 0.6
    assert found["outlier-matched", "neighbour_cosine_share_over_0.9"].unit == "points"
