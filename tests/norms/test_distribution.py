"""Claims 1 and 2 from arrays alone: planted outliers are found where they were planted."""

import numpy as np
import pandas as pd
import pytest

from tokenscope.norms.artifacts import judge
from tokenscope.norms.attention_maps import top_mass
from tokenscope.norms.distribution import (
    claim1,
    claim2,
    cutoffs,
    density,
    measure_blocks,
    norm_over_normal,
)
from tokenscope.norms.exceedance import STEPS, tails
from tokenscope.stats.bootstrap import Bootstrap

RULES = {
    "percentile": 98, "absolute": 150, "times_median": 3, "min_share": 0.1
}  # fmt: skip


@pytest.fixture(scope="module")
def norms():
    """50 images, 4 blocks, 40 patches: from block 3 on the first patch is ten times as long."""
    rng = np.random.default_rng(0)
    norms = 20 * np.exp(0.1 * rng.standard_normal((50, 4, 40))).astype(np.float32)
    norms[:, 2:, 0] *= 10
    return norms


@pytest.fixture(scope="module")
def blocks(norms):
    seen = []
    blocks = measure_blocks(norms, Bootstrap(50, 50), RULES, lambda *at: seen.append(at))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    return blocks


def test_claim_1_finds_what_was_planted(norms, blocks):
    maps = np.full((50, 40), 0.5)
    maps[:, 0] = 0.5 * 39  # half of the attention
    prefix = {"cls": np.full(50, 7.0)}
    rows = claim1(blocks, judge(norms), norms, prefix, maps, Bootstrap(50, 50), RULES)
    value = pd.DataFrame(rows).set_index(["group", "metric"])["value"]
    assert value["last_block", "share_norm_over_3x_median"] == 2.5
    assert value["artifacts", "has_artifacts"] == 1
    assert value["artifacts", "onset_block"] == 3 and value["artifacts", "share"] == 2.5
    assert value["cls", "norm_mean"] == 7
    assert value["cls", "attention_share_on_outliers"] == pytest.approx(50)
    assert value["outlier", "tokens"] == 50 and value["outlier", "position_entropy"] == 0
    length = norms[:, judge(norms).block - 1]
    times = length[:, 0].mean() / length[:, 1:].mean()
    assert value["outlier", "norm_over_normal"] == pytest.approx(times) and 9 < times < 11


def test_how_many_times_as_long_outliers_are():
    """One of four patches in half of the images: 30 against 2, in whichever image they stand."""
    norms = np.full((20, 4), 2.0)
    norms[:10, 0] = 30
    row = norm_over_normal(norms, norms > 3, Bootstrap(20, 50))
    assert (row.value, row.low, row.high) == (15, pytest.approx(15), pytest.approx(15))
    none = norm_over_normal(norms, norms > 99, Bootstrap(20, 50))
    assert none.value is None and none.unit == "ratio"


def test_without_cls_its_attention_is_undefined(norms, blocks):
    rows = claim1(blocks, judge(norms), norms, {}, None, Bootstrap(50, 50), RULES)
    (row,) = (row for row in rows if row.group == "cls")
    assert row.metric == "attention_share_on_outliers" and row.value is None


def test_claim_2_names_the_block(blocks):
    rows = pd.DataFrame(claim2(blocks, Bootstrap(50, 50), RULES)).set_index(["group", "metric"])
    onset = rows.loc[("depth", "onset_block")]
    assert (onset["value"], onset["low"], onset["high"]) == (3, 3, 3)
    assert rows["value"]["depth", "peak_block"] == 3 and rows["value"]["depth", "peak_share"] == 2.5
    assert rows["value"]["block02", "share_norm_over_3x_median"] == 0


def test_densities_integrate_to_one(norms):
    table = density(norms, Bootstrap(50, 20))
    width = np.diff(np.log10(table["norm"][:2]))[0]
    for number, block in table.groupby("block"):
        assert block["density"].sum() * width == pytest.approx(1)
        assert (block["median"] == np.median(norms[:, number - 1])).all()


def test_cutoffs_and_tails_agree_with_the_rule(norms, blocks):
    cuts = cutoffs(norms[:, -1], blocks[-1], judge(norms), RULES)
    assert cuts["judged"]["verdict"] == "yes" and cuts["judged"]["block"] == 4
    assert 2 < cuts["judged"]["ratio_cutoff"] < 8
    assert cuts["times_median"] == pytest.approx(3 * cuts["median"])
    assert (norms[:, -1] > np.float32(cuts["times_median"])).sum() == 50
    ladders = tails(norms, 3)
    assert ladders["tokens"] == 2000 and len(ladders["blocks"]) == 4
    assert [b["above"][STEPS - b["first"]] for b in ladders["blocks"][2:]] == [50, 50]


def test_top_mass_takes_two_percent_but_at_least_one():
    maps = np.tile(np.arange(200.0), (2, 1))
    assert top_mass(maps).tolist() == [199 + 198 + 197 + 196] * 2
    assert top_mass(maps[:, :10]).tolist() == [9, 9]
