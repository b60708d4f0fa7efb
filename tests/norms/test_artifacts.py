"""The decision: known answers, and that it does not hang on what it must not hang on.

How often it errs is counted by rule calibrate, on far more draws.
"""

import numpy as np
import pytest

from tokenscope.errors import StudyError
from tokenscope.norms.artifacts import BlockMode, cutoffs_of, judge, judge_blocks, measured
from tokenscope.norms.outlier_rule import image_medians, judged_mask

SHAPE = (200, 196)


def bulk(rng, sigma=0.2, shape=SHAPE):
    return 30 * np.exp(sigma * rng.standard_normal(shape)).astype(np.float32)


def planted(ratio, share, sigma=0.1, every=1, seed=0):
    """Norms and who was planted, in one of ``every`` images."""
    rng = np.random.default_rng(seed)
    norms = bulk(rng, sigma)
    mask = (rng.random(SHAPE) < share * every) & (np.arange(SHAPE[0]) % every == 0)[:, None]
    norms[mask] = 30 * ratio * np.exp(0.05 * rng.standard_normal(mask.sum()))
    return norms, mask


@pytest.mark.parametrize("ratio, share", [(2, 0.02), (2.5, 0.02), (10, 0.005), (30, 0.1)])
def test_a_mode_is_found_with_its_tokens(ratio, share):
    norms, mask = planted(ratio, share)
    found = judge(norms)
    assert found.verdict == "yes" and found.block == 1
    assert found.share == pytest.approx(100 * mask.mean(), rel=0.02)
    assert found.share_interval[0] <= 100 * share <= found.share_interval[1]
    assert found.ratio == pytest.approx(ratio, rel=0.05) and 1.5 < found.cutoff < ratio
    assert (judged_mask(norms, found.cutoff) == mask).mean() > 0.9995


@pytest.mark.parametrize("sigma", [0.2, 0.3, 0.4, 0.5])
def test_one_log_normal_has_no_second_mode(sigma):
    answers = [judge(bulk(np.random.default_rng(i), sigma)).verdict for i in range(10)]
    assert "yes" not in answers and answers.count("no") >= 7


def test_what_is_no_mode_above_the_bulk():
    rng = np.random.default_rng(2)
    low = bulk(rng)
    low[rng.random(SHAPE) < 0.05] *= 0.2
    scaled = bulk(rng)
    scaled[:4] *= 3.6
    two = bulk(rng, 0.1) * np.where(rng.random(SHAPE) < 0.3, 1.4, 1).astype(np.float32)
    for norms in (low, scaled, two):
        assert judge(norms).verdict == "no"
    half = bulk(rng, 0.1) * np.where(rng.random(SHAPE) < 0.4, 4, 1).astype(np.float32)
    assert judge(half).verdict == "cannot tell" and "second bulk" in judge(half).why


def test_a_few_odd_images_are_no_property_of_the_network():
    norms, _ = planted(10, 0.002, every=100)
    found = judge(norms)
    assert found.verdict == "cannot tell" and "so few images" in found.why
    assert judge(planted(10, 0.01, every=5)[0]).verdict == "yes"


def test_one_odd_image_does_not_forbid_a_no():
    """As long as so few surely leave under 2 % of images that hold a mode: of 400 three may."""
    rng = np.random.default_rng(5)
    norms = bulk(rng, 0.15, (400, 196))
    norms[7, :20] = 30 * 3
    found = judge(norms)
    assert found.verdict == "no" and "but for 1 odd image: fewer than 1.2 % of images" in found.why
    norms[8:14, :20] = 30 * 3
    assert judge(norms).verdict == "cannot tell"


def test_images_that_are_mostly_outliers_count_as_such():
    norms, mask = planted(10, 0.07, every=10)
    assert mask[0].mean() > 0.6
    assert image_medians(norms)[0] == pytest.approx(30, rel=0.3)
    assert judge(norms).share == pytest.approx(100 * mask.mean(), rel=0.01)


def test_few_images_exclude_little():
    norms = bulk(np.random.default_rng(0))
    few, many = judge(norms[:20]), judge(norms)
    assert few.verdict == "cannot tell" and "14 % may be such" in few.why
    assert many.verdict == "no" and many.share_interval == (0, pytest.approx(1.49, abs=0.01))
    assert 1.5 < many.smallest_ratio < 3


def blocks_with(rng, ratios):
    """Norms (image, block, patch); the first five patches stand out, so far in each block."""
    norms = np.stack([bulk(rng, 0.1) for _ in ratios], axis=1)
    norms[:, :, :5] *= np.array(ratios, np.float32)[:, None]
    return norms


@pytest.mark.parametrize(
    "ratios, verdict, block, onset",
    [
        ([1, 1, 10, 30], "yes", 4, 3),
        ([1, 1, 2.5, 30], "yes", 4, 4),  # not yet half the way
        ([1, 20, 20, 1], "yes", 3, 2),  # fades
        ([1, 1, 2.2, 1], "no", 4, np.nan),  # has not parted from the bulk, and fades
        ([2.5, 2.5, 20, 20], "yes", 4, 3),  # the first two are as in the embedding
        ([3, 3, 3, 3], "cannot tell", 4, np.nan),  # nothing is made by the network
        ([3, 3, 1, 1], "cannot tell", 2, np.nan),
        ([1, 1, 1, 1], "no", 4, np.nan),
    ],
)
def test_blocks(ratios, verdict, block, onset):
    found = judge(blocks_with(np.random.default_rng(2), ratios))
    assert found.verdict == verdict
    if verdict == "yes" and ratios[-1] == 1:
        assert found.block in (2, 3) and found.last_block == "no"
    elif verdict == "yes":
        assert found.block == block
    np.testing.assert_equal(found.onset, float(onset))


def test_order_and_halves_of_the_images_change_nothing():
    norms = blocks_with(np.random.default_rng(3), [1, 10, 30])
    found = judge(norms)
    assert judge(norms[::-1]) == found
    for half in (norms[::2], norms[1::2]):
        other = judge(half)
        assert (other.verdict, other.block, other.onset) == ("yes", 3, 2)


def test_rows_and_what_other_claims_read():
    found = judge(blocks_with(np.random.default_rng(4), [1, 20, 1]))
    rows = {(m.group, m.metric): m for m in measured(found)}
    assert rows["artifacts", "has_artifacts"].value == 1
    assert rows["artifacts", "block"].value == rows["artifacts", "onset_block"].value == 2
    assert rows["artifacts-last_block", "has_artifacts"].value == 0
    cutoffs = cutoffs_of(found)
    assert cutoffs["block"] == 2 and cutoffs["ratio_cutoff"] == found.cutoff
    assert cutoffs["last_block"] == {"verdict": "no", "ratio_cutoff": None}
    none = cutoffs_of(judge(bulk(np.random.default_rng(5))))
    assert none["verdict"] == "no" and none["block"] is None and none["ratio_cutoff"] is None


def test_one_block_that_cannot_be_told_is_enough_not_to_say_no():
    no = BlockMode("no", "a tail")
    unsure = BlockMode("cannot tell", "a shoulder", ratio=4.0, strength=2.0)
    assert judge_blocks([no, no], 200).verdict == "no"
    found = judge_blocks([unsure, no], 200)
    assert found.verdict == "cannot tell" and found.block == 1 and "a shoulder" in found.why


def test_bad_norms_are_refused():
    norms = bulk(np.random.default_rng(0))
    for wrong in (0, -1, np.nan, np.inf):
        bad = norms.copy()
        bad[3, 4] = wrong
        with pytest.raises(StudyError, match="zero, negative or not finite"):
            judge(bad)
    with pytest.raises(StudyError, match="image, block, patch"):
        judge(norms[0])
    with pytest.raises(StudyError, match="image, block, patch"):
        judge(norms[:0])
