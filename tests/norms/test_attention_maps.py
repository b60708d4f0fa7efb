"""Claim 1 proper: attention beside norms, where the answer is known."""

import numpy as np
import pytest
import torch

from tokenscope.forward.attention import agreement
from tokenscope.norms.attention_maps import (
    AGREEMENT,
    chance,
    excess,
    norms_and_attention,
    without_cls,
)
from tokenscope.stats.bootstrap import Bootstrap

IMAGES, BLOCKS, PATCHES = 60, 2, 196


def seen(attention, norms):
    """What an extraction keeps of (image, block, patch) arrays."""
    a, n = (torch.from_numpy(np.asarray(x, np.float32)) for x in (attention, norms))
    values = *agreement(a, n), agreement(a.roll(1, 0), n)[0]
    return dict(zip(AGREEMENT, [value.numpy() for value in values], strict=True))


def rows_of(attention, norms, judged=None):
    rows = norms_and_attention(seen(attention, norms), PATCHES, judged, Bootstrap(IMAGES, 200))
    found = {(m.group, m.metric): m for part in rows.values() for m in part}
    assert len(found) == sum(map(len, rows.values()))
    return found


@pytest.fixture
def noise():
    generator = np.random.default_rng(5)
    return generator.random((2, IMAGES, BLOCKS, PATCHES))


def test_without_agreement_chance_is_in_the_interval(noise):
    attention, norms = noise
    found = rows_of(attention, norms)
    for metric in AGREEMENT[:2]:
        row, expected = found["last_block", metric], found["chance", metric]
        assert row.low <= expected.value <= row.high
        assert expected.low <= row.value <= expected.high
    assert ("judged_block", "attention_norm_auc") not in found


def test_outliers_that_are_looked_at_in_the_first_block_only(noise):
    attention, norms = noise
    attention[:, 0] += norms[:, 0] ** 20
    found = rows_of(attention, norms, judged=1)
    assert found["judged_block", "attention_norm_auc"].low > 0.8
    assert found["block01", "attention_norm_overlap"].low > 20
    assert found["block02", "attention_norm_auc"].high < 0.6
    assert found["judged_block", "attention_norm_overlap"].unit == "percent"


def test_agreement_by_place_alone_is_found_with_other_images_too(noise):
    attention, norms = noise
    attention[..., :4] += 1
    norms[..., :4] += 1
    found = rows_of(attention, norms)
    assert found["last_block", "attention_norm_auc"].low > 0.9
    assert found["last_block: other image", "attention_norm_auc"].low > 0.9
    beyond = found["last_block-other image", "attention_norm_auc"]
    assert beyond.value == 0  # all four always come first


def test_images_that_were_not_looked_at_do_not_count(noise):
    values = seen(*noise)
    whole = norms_and_attention(values, PATCHES, None, Bootstrap(IMAGES, 50))["claim1"][0]
    half = {name: np.where(np.arange(IMAGES)[:, None] % 2, np.nan, v) for name, v in values.items()}
    part = norms_and_attention(half, PATCHES, None, Bootstrap(IMAGES, 50))["claim1"][0]
    assert part.value == pytest.approx(values["attention_norm_auc"][::2, -1].mean())
    assert part.high - part.low > whole.high - whole.low


def test_chance_against_permutations(noise):
    """Interval of a mean over images: 2,000 draws of 20 images."""
    generator = np.random.default_rng(1)
    auc, overlap = chance(50, 20)
    a, n = torch.from_numpy(generator.random((2, 2000 * 20, 50)))
    for row, values in zip((auc, overlap), agreement(a, n), strict=True):
        factor = 100 if row.unit == "percent" else 1
        means = factor * values.reshape(2000, 20).mean(1).numpy()
        assert means.mean() == pytest.approx(row.value, rel=0.03)
        spread = (row.high - row.low) / 2 / 1.96
        assert means.std() == pytest.approx(spread, rel=0.06)


def test_excess_sees_peaks_and_not_objects():
    flat = np.ones((2, PATCHES))
    assert excess(flat, (14, 14)) == pytest.approx([0, 0])
    object_, peak = np.ones((2, 1, 14, 14))
    object_[:, 3:10, 3:10] = 20  # 7 x 7 patches
    peak[:, 4, 4] = peak[:, 9, 2] = 41  # 2 of 196, with 80 of 276 more than the rest
    assert excess(peak.reshape(1, -1), (14, 14)) == pytest.approx([100 * 80 / 276])
    assert excess(object_.reshape(1, -1), (14, 14)) < 0.4 * excess(peak.reshape(1, -1), (14, 14))


def test_attention_without_cls_under_its_own_name():
    maps, norms = np.full((IMAGES, PATCHES), 1 / 198, np.float32), np.ones((IMAGES, PATCHES))
    maps[:, 50] = 3 / 198  # one of four of the highest norms gets more than its share
    norms[:, [50, 70, 90, 110]] = 9
    outlier = norms > 3
    found = {
        (m.group, m.metric): m.value
        for m in without_cls("received", maps, outlier, norms, (14, 14), Bootstrap(IMAGES, 200))
    }
    assert {group for group, _ in found} == {"received", "received: chance"}
    assert found["received", "attention_share_on_outliers"] == pytest.approx(100 * 6 / 198)
    assert found["received", "attention_excess"] == pytest.approx(100 * 2 / 198)
    # One wins against all others, three are at a tie with them: (1 + 3 / 2) / 4.
    assert found["received", "attention_norm_auc"] == pytest.approx(0.625)
    assert found["received: chance", "attention_norm_auc"] == 0.5
