"""What registers change, from arrays alone."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from tokenscope.norms.attention_maps import entropy, object_share
from tokenscope.norms.outlier_rule import Judged
from tokenscope.norms.register_effect import BackboneTokens, compare, contrast, registers
from tokenscope.stats.bootstrap import Bootstrap
from tokenscope.stats.map_cosine import cosine

BOOTSTRAP = Bootstrap(10, 50)


def backbone(outliers, top=0.0, kinds=("cls",)):
    """Ten images, two blocks, 20 patches of norm 2, of which so many are 20 after the last."""
    patches = np.full((10, 2, 20), 2.0)
    patches[:, 1, :outliers] = 20
    maps = {kind: np.ones((10, 20)) for kind in kinds}
    return BackboneTokens(patches, {kind: np.full(10, 5.0) for kind in kinds}, maps,
                          np.full(10, top))  # fmt: skip


def measured(rows):
    table = pd.DataFrame(rows).set_index(["group", "metric"])
    assert table.index.is_unique
    return table


def test_the_base_has_no_difference():
    table = measured(compare(backbone(4), {}, 3, BOOTSTRAP))
    assert table["value"]["last_block", "share_norm_over_3x_median"] == 20
    assert table["value"]["last_block", "norm_max_over_median"] == 10
    assert not table.index.get_level_values("metric").str.endswith("_minus_r0").any()


def test_registers_that_take_outliers_away():
    with_registers, base = backbone(1, 0.8, ("cls", "reg0")), backbone(4, 0.5)
    base.maps["cls"][:, :4] = 4  # 16 of 32 where the base has its outliers
    table = measured(compare(with_registers, {"r0": base}, 3, BOOTSTRAP))
    value = table["value"]
    assert value["last_block", "share_norm_over_3x_median_minus_r0"] == -15
    assert value["peak_block_of_base", "share_norm_over_3x_median_of_base"] == 5
    assert value["own_head", "top1_minus_r0"] == pytest.approx(30)
    assert table["unit"]["own_head", "top1_minus_r0"] == "points"
    attention = "attention_share_where_base_has_outliers"
    assert value["cls", attention] == 20 and value["cls", f"{attention}_minus_r0"] == -30


def test_each_backbone_is_judged_by_its_own_decision():
    """Twice the base's norms leave its cutoffs behind; a ratio to its own median does not."""
    base = replace(backbone(4), judged=Judged("yes", 2, 3.0))
    after = replace(backbone(1), patches=2 * backbone(1).patches, judged=Judged("yes", 2, 5.0))
    value = measured(compare(after, {"r0": base}, 3, BOOTSTRAP))["value"]
    assert value["judged", "judged_share"] == 5
    assert value["judged", "judged_share_minus_r0"] == -15
    none = replace(backbone(0), judged=Judged("no"))
    value = measured(compare(none, {"r0": base}, 3, BOOTSTRAP))["value"]
    assert value["judged", "judged_share"] == 0 and value["judged", "judged_share_minus_r0"] == -20


def test_who_cannot_be_judged_is_not_compared():
    base = replace(backbone(4), judged=Judged("yes", 2, 3.0))
    table = measured(compare(backbone(1), {"r0": base}, 3, BOOTSTRAP))
    assert table["unit"]["judged", "judged_share"].startswith("not measured: cannot tell")
    assert ("judged", "judged_share_minus_r0") not in table.index
    table = measured(compare(base, {"r0": backbone(1)}, 3, BOOTSTRAP))
    assert table["value"]["judged", "judged_share"] == 20
    assert ("judged", "judged_share_minus_r0") not in table.index


def test_registers_at_test_time_against_their_controls():
    """Random neurons change nothing, silenced ones as much as moved ones."""
    base, moved, zeroed = (backbone(n, top) for n, top in ((4, 0.5), (1, 0.5), (1, 0.3)))
    others = {"r0": base, "random": backbone(4, 0.5), "zeroed": zeroed}
    others = {k: replace(v, judged=Judged("yes", 2, 3.0)) for k, v in others.items()}
    moved = replace(moved, judged=Judged("yes", 2, 3.0))
    value = measured(compare(moved, others, 3, BOOTSTRAP))["value"]
    for metric in ("share_norm_over_3x_median_of_base", "judged_share"):
        group = "judged" if metric == "judged_share" else "peak_block_of_base"
        assert value[group, f"{metric}_minus_random"] == -15
        assert value[group, f"{metric}_minus_zeroed"] == 0
    assert value["own_head", "top1_minus_zeroed"] == pytest.approx(20)
    assert value["own_head", "top1_minus_random"] == 0


def test_attention_that_no_longer_stands_out():
    peak = np.ones((10, 49))
    peak[:, 24] = 52  # of 100: 51 beyond the surroundings
    norms = np.ones((10, 1, 49))
    base = BackboneTokens(norms, {}, {"cls": peak}, grid=(7, 7))
    after = BackboneTokens(norms, {}, {"cls": np.ones((10, 49))}, grid=(7, 7))
    value = measured(compare(after, {"r0": base}, 3, BOOTSTRAP))["value"]
    assert value["cls", "attention_excess"] == 0
    assert value["cls", "attention_excess_minus_r0"] == pytest.approx(-51)


def test_images_that_chose_the_neurons_are_left_out():
    tokens = backbone(1, 0.5)
    tokens.hits[:5] = 1
    half = tokens.of_images(np.arange(10) >= 5)
    assert len(half.patches) == len(half.prefix["cls"]) == len(half.maps["cls"]) == 5
    assert half.hits.tolist() == [0.5] * 5


def test_what_registers_look_at():
    tokens = backbone(0, kinds=("cls", "reg0", "reg1"))
    tokens.maps["cls"][:, :10] = 0
    tokens.maps["reg0"][:, :10] = 0
    tokens.maps["reg1"][:, 10:] = 0
    objects = np.zeros((10, 20))
    objects[:, :10] = 1
    value = measured(registers(tokens, BOOTSTRAP, objects))["value"]
    assert value["reg0", "norm_mean"] == 5
    assert value["reg0", "map_entropy"] == pytest.approx(np.log(10) / np.log(20))
    assert value["reg0", "map_cosine_with_cls"] == pytest.approx(1)
    assert value["registers", "map_cosine_between"] == pytest.approx(-1)
    assert value["reg0", "attention_on_objects_over_area"] == 0
    assert value["reg1", "attention_on_objects_over_area"] == 2


def test_maps_by_hand():
    assert entropy(np.ones((2, 7))) == pytest.approx([1, 1])
    assert entropy(np.eye(7)) == pytest.approx(np.zeros(7), abs=1e-12)
    a = np.array([[1.0, 2, 3]])
    assert cosine(a, 10 * a + 4) == pytest.approx([1]) and cosine(a, -a) == pytest.approx([-1])


def test_objects_by_patch():
    instance = np.zeros((1, 4, 4), int)
    instance[0, :2, :3] = 5
    assert object_share(instance, 4).tolist() == [[1, 0.5, 0, 0]]
    assert object_share(instance, 9) is None and object_share(instance, 6) is None


def test_two_backbones_of_other_grids_are_contrasted_on_the_same_images():
    """4 of 20 patches against 1 of 20 of a deeper one: 15 points and four times as many."""
    deeper = backbone(1)
    deeper = replace(deeper, patches=np.repeat(deeper.patches, [3, 1], axis=1))
    table = measured(contrast(backbone(4), deeper, 3, BOOTSTRAP))
    share = "share_norm_over_3x_median"
    assert table["value"]["last_block", f"{share}_minus_other"] == 15
    assert table["value"]["last_block", f"{share}_over_other"] == 4
    assert table["low"]["last_block", f"{share}_minus_other"] == 15  # all images are alike
    assert "judged" not in table.index.get_level_values("group")  # neither was judged
    none = replace(backbone(0), judged=Judged("no"))
    judged = replace(backbone(4), judged=Judged("yes", 2, 3.0))
    table = measured(contrast(judged, none, 3, BOOTSTRAP))
    assert table["value"]["judged", "judged_share_minus_other"] == 20
    assert not table.index.get_level_values("metric").str.endswith("_over_other").any()
