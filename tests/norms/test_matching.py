"""Outliers beside what their images and places do, where the answer is known."""

import numpy as np
import pytest

from tokenscope.norms.matching import auc, auc_freed, free, means
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


def test_what_is_left_of_the_mask_is_of_no_image_and_no_place():
    outlier, _ = sample(200, 0)
    freed = free(outlier)
    assert 0.8 < freed.share < 1
    assert np.abs(freed.rest.sum(0)).max() < 1e-9 and np.abs(freed.rest.sum(1)).max() < 1e-9


def test_the_difference_is_that_of_least_squares():
    outlier, values = sample(12, 5, of_place=1.0, of_image=-1.0, of_outlier=0.4)
    rows, columns = np.indices(outlier.shape)
    design = np.column_stack(
        [outlier.ravel(), *(rows.ravel() == i for i in range(12)),
         *(columns.ravel() == j for j in range(PATCHES))]
    ).astype(float)  # fmt: skip
    added = np.linalg.lstsq(design, values.ravel(), rcond=None)[0][0]
    (own, _), (other, _) = means(values, free(outlier), Bootstrap(12, 50))
    assert own == pytest.approx(values[outlier].mean())
    assert own - other == pytest.approx(added)


def test_fixed_places_leave_nothing_to_compare_with():
    outlier = np.zeros((30, PATCHES), bool)
    outlier[:, [0, 7]] = True
    freed = free(outlier)
    assert freed.share == pytest.approx(0)
    cosine = np.random.default_rng(0).uniform(0, 1, (30, PATCHES, 4))
    assert compare_matched(cosine, freed, [0.9], Bootstrap(30, 20)) == []
    assert free(np.zeros((3, 4), bool)).share == 0


def test_nearly_fixed_places_cannot_be_matched_either():
    """Both corners in all but a few images, which would have to stand for all the others."""
    outlier = np.zeros((100, PATCHES), bool)
    outlier[:, :2] = True
    outlier[:4, 0] = False
    assert free(outlier).share < 0.1


def test_skies_that_are_outliers_wherever_they_are():
    """All of a sky: no normal token of such an image is at such a place."""
    generator = np.random.default_rng(6)
    sky = (generator.random((200, 1)) < 0.3) & (np.arange(PATCHES) < 20)
    values = np.where(sky, 1.0, 0.3 + 0.2 * (np.arange(PATCHES) < 20))
    bootstrap, freed = Bootstrap(200, 200), free(sky)
    (own, owns), (other, others) = means(values, freed, bootstrap)
    assert freed.share > 0.3
    assert own == 1 and other == pytest.approx(0.5)
    assert bootstrap.interval(owns - others)[0] > 0.4


@pytest.mark.parametrize("confounder", ["of_place", "of_image"])
def test_what_places_and_images_do_is_no_difference(confounder):
    outlier, values = sample(400, 1, **{confounder: 2.0})
    bootstrap, freed = Bootstrap(400, 300), free(outlier)
    (own, owns), (other, others) = means(values, freed, bootstrap)
    assert values[outlier].mean() - values[~outlier].mean() > 0.5  # what is seen unmatched
    low, high = bootstrap.interval(owns - others)
    assert low < 0 < high and abs(own - other) < 0.1
    low, high = auc_freed(values, freed, bootstrap)[1:]
    assert low < 0.5 < high
    assert auc(values, outlier, bootstrap)[1] > 0.6


def test_a_difference_of_content_is_found_in_spite_of_place_and_image():
    outlier, values = sample(400, 2, of_place=-2.0, of_image=-2.0, of_outlier=0.8)
    bootstrap, freed = Bootstrap(400, 300), free(outlier)
    (own, owns), (other, others) = means(values, freed, bootstrap)
    low, high = bootstrap.interval(owns - others)
    assert 0 < low < 0.8 < high
    assert auc_freed(values, freed, bootstrap)[1] > 0.5


def test_the_interval_of_the_difference_holds_the_truth():
    """In at least 91 of 100 samples, places and images mattering much."""
    held = 0
    for seed in range(100):
        outlier, values = sample(80, seed, of_place=2.0, of_image=2.0, of_outlier=0.3)
        bootstrap, freed = Bootstrap(80, 200, seed), free(outlier)
        (own, owns), (other, others) = means(values, freed, bootstrap)
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
        rows = compare_matched(cosine, free(outlier), [0.9], bootstrap)
        rows += aucs(cosine, outlier, free(outlier), bootstrap)
        found = {(row.group, row.metric): row for row in rows}
        return found["outlier/matched", "redundant_region_ratio"], found

    by_place, _ = ratio(alike)
    assert by_place.low < 1 < by_place.high
    content = np.where(outlier, generator.random(alike.shape) < 0.8, alike & (places < 0.1))
    by_content, found = ratio(content)
    assert by_content.low > 2
    assert found["outlier-matched", "neighbour_cosine_auc"].low > 0.6
    assert found["outlier-matched", "neighbour_cosine_share_over_0.9"].unit == "points"
