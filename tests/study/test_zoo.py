"""The table of backbones: what it says must be what timm builds, and mistakes must be named."""

import csv
import re
from pathlib import Path

import pytest
import timm
import torch
import yaml
from torch.utils.flop_counter import FlopCounterMode

from tokenscope.backbones.architecture_table import describe
from tokenscope.errors import StudyError
from tokenscope.study import flops, zoo
from tokenscope.study.architecture import Architecture

TABLE = "config/backbones.csv"
RECIPES = {
    name: {"model": {"img_size": 80, "patch_size": 8, "embed_dim": 96, "depth": 6, "num_heads": 3}}
    for name in ("embedded", "control")
}


@pytest.fixture(scope="module")
def everything(tmp_path_factory):
    return zoo.load([TABLE], ["*/*/*"], RECIPES, str(tmp_path_factory.mktemp("cache")))


def test_the_papers_backbones_are_there(everything):
    keys = set(everything)
    for size in ("small", "base", "large", "giant"):
        assert {f"dinov2/{size}/r0", f"dinov2/{size}/r4"} <= keys
    for tag in ("deit3", "deit3-in22k"):
        assert {f"{tag}/{s}/r0" for s in ("small", "medium", "base", "large", "huge")} <= keys
    assert {f"dino/{s}-p{p}/r0" for s in ("small", "base") for p in (16, 8)} <= keys
    sizes = ("base", "base-p32", "large", "huge", "giant", "gigantic")
    assert {f"openclip/{s}/r0" for s in sizes} <= keys
    released = {row.family for row in everything.values() if row.kind == "trained"}
    assert {"dinov2", "dinov3", "tipsv2", "sbb"} <= released


def test_the_zoo_of_newer_families_is_whole(everything, tmp_path, monkeypatch):
    """Facts of every row are kept, so that planning asks nobody; licence and reason are named."""
    monkeypatch.setattr(
        "tokenscope.study.architecture._ask_timm", lambda ids: pytest.fail(str(ids))
    )
    tables = [TABLE, "config/zoo.csv"]
    rows = zoo.load(tables, ["*/*/r[0-9]"], RECIPES, str(tmp_path))
    newer = [row for key, row in rows.items() if key not in everything]
    families = {"clip", "siglip", "siglip2", "pe-core", "pe-spatial", "aimv2", "eva02", "mae",
                "ijepa", "eupe", "dinov3-sat", "rope", "rope-ape", "rope-mixed", "metaclip2", "dfn",
                "datacomp", "flexivit", "deit", "deit-distilled", "intern"}  # fmt: skip
    assert families <= {row.family for row in newer} and not {r.recipe for r in newer} - {""}
    assert all(re.search(r"\w.* \([a-z0-9.-]+\)$", row.note) for row in newer)
    assert {key for key in everything if zoo.matches(key, ["*/*/r[0-9]"])} <= set(rows)
    assert {row.arch.has_cls for row in newer} == {True, False}
    assert rows["deit-distilled/tiny/r0"].arch.prefix_tokens == 2
    config = yaml.safe_load(Path("config/zoo.yaml").read_text())
    assert config["backbone_tables"] == tables
    assert set(zoo.load(tables, config["backbones"], RECIPES, str(tmp_path))) == set(rows)


def test_released_weights_are_named_by_tag(everything):
    assert all("." in row.timm_id for row in everything.values() if not row.recipe)


@pytest.mark.parametrize(
    "timm_id",
    [
        "vit_small_patch14_reg4_dinov2.lvd142m",
        "deit3_huge_patch14_224.fb_in1k",
        "vit_wee_patch16_reg1_gap_256.sbb_in1k",
        "vit_small_patch16_dinov3.lvd1689m",
        "vit_base_patch16_siglip_256.v2_webli",
        "deit_tiny_distilled_patch16_224.fb_in1k",
    ],
)
def test_facts_are_timms(timm_id):
    with open("config/architectures.csv", newline="") as handle:
        row = next(r for r in csv.DictReader(handle) if r["timm_id"] == timm_id)
    assert Architecture.from_strings(row) == describe(timm_id)


@pytest.mark.parametrize(
    "timm_id, size",
    [("vit_small_patch16_224.dino", 224), ("vit_small_patch14_reg4_dinov2.lvd142m", 224)],
)
def test_flops_are_what_torch_counts(everything, timm_id, size):
    arch = next(row.arch for row in everything.values() if row.timm_id == timm_id)
    model = timm.create_model(timm_id, img_size=size, num_classes=0).eval()
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        model.forward_features(torch.randn(1, 3, size, size))
    assert flops.forward_flops(arch, size) == pytest.approx(counter.get_total_flops(), rel=1e-3)


def test_high_resolution_is_a_multiple_of_the_patch(everything):
    assert everything["dinov2/small/r0"].size_near(800) == 798
    assert everything["deit3/small/r0"].size_near(800) == 800


def test_another_size_is_the_first_that_is_not_its_own(everything):
    dino, deit = everything["dinov2/small/r0"], everything["deit3/small/r0"]  # 518 and 224 pixels
    assert dino.another_size([224, 518]) == 224 and deit.another_size([224, 518]) == 512
    assert dino.another_size(800) == 798 and deit.another_size(224) is None
    assert deit.another_size(15) is deit.another_size(None) is deit.another_size([224]) is None


def test_conda_environment_has_the_same_pins():
    pinned = lambda path: sorted(re.findall(r"[\w-]+==[\w.]+", Path(path).read_text()))  # noqa: E731
    light, own = pinned("envs/requirements-light.txt"), pinned("envs/requirements.txt")
    assert len(light) > 10 and pinned("envs/tokenscope-light.yaml") == light
    assert pinned("envs/tokenscope.yaml") == sorted([*light, *own])


def table(tmp_path, *rows):
    path = tmp_path / "rows.csv"
    path.write_text("\n".join([",".join(zoo.COLUMNS), *rows]) + "\n")
    return [str(path)]


@pytest.mark.parametrize(
    "row, message",
    [
        ("my,tiny,r0,vit_tinny_patch16_224.dino,,,,", "closest: .*vit_tiny_patch16_224"),
        ("my,tiny,r0,vit_tiny_patch16_224.nope,,,,", "tags: .*augreg_in21k"),
        ("my,tiny,r0,resnet50.a1_in1k,,,,", "is a ResNet, which is no Vision Transformer"),
        ("my,tiny,r4,vit_tiny_patch16_224.augreg_in21k,,,,", "has 0 registers, its row says 4"),
        ("my,tiny,x4,vit_tiny_patch16_224.augreg_in21k,,,,", "'x4' is not r<count>"),
        ("my,tiny,r0-scratch,vit_tiny_patch16_224,,absent,,", "recipe 'absent'"),
        ("my,tiny,r0", "needs 8 cells"),
        ("my,tiny,r0,vit_tiny_patch16_224,,,,", "without a tag"),
        (
            "my,tiny,r0-content-10x,vit_tiny_patch16_224,,control,,",
            "needs the row my/tiny/r0-scratch",
        ),
        ("my,tiny,r0-scratch,vit_tiny_patch16_224,,,,", "without a tag"),
        ("my,tiny,r0-scratch,vit_tiny_patch16_224,w.pth,,,", "kind 'scratch' needs a recipe"),
    ],
)
def test_mistakes_in_a_row_are_named(tmp_path, row, message):
    with pytest.raises(StudyError, match=message):
        zoo.load(table(tmp_path, row), ["*/*/*"], RECIPES, str(tmp_path))


def test_fine_tuning_without_a_head_says_what_is_missing(tmp_path):
    start = "my,tiny,r0,vit_tiny_patch16_224.augreg_in21k_ft_in1k,w.pth,,{},"
    tuned = "my,tiny,r0-finetuned,vit_tiny_patch16_224.augreg_in21k_ft_in1k,,{},,"
    recipes = {"headless": {}, "ten": {"model": {"num_classes": 10}}}
    for classes, recipe, has in (("", "headless", 0), ("imagenet-1k", "headless", 1000),
                                 ("", "ten", 10)):  # fmt: skip
        tables = table(tmp_path, start.format(classes), tuned.format(recipe))
        if has:
            rows = zoo.load(tables, ["*/*/*"], recipes, str(tmp_path))
            assert rows["my/tiny/r0-finetuned"].arch.num_classes == has
        else:
            with pytest.raises(StudyError, match="no head to train: recipe headless lacks model"):
                zoo.load(tables, ["*/*/*"], recipes, str(tmp_path))


@pytest.mark.parametrize(
    "pattern, message",
    [
        ("dinov9/*/*", "Families there are: .*dinov2"),
        ("dinov2/tiny/r0", "Sizes of dinov2: base, giant, large, small"),
        ("dinov2/small/r8", "Register counts of dinov2/small: r0, r4"),
    ],
)
def test_a_pattern_without_match_says_what_there_is(tmp_path, pattern, message):
    with pytest.raises(StudyError, match=message):
        zoo.load([TABLE], [pattern], RECIPES, str(tmp_path))


def test_a_new_row_needs_nothing_but_its_id(tmp_path):
    tables = [TABLE, *table(tmp_path, "my,reg,r1,test_vit2.r160_in1k,,,imagenet-1k,")]
    rows = zoo.load(tables, ["my/*/*"], RECIPES, str(tmp_path))
    assert rows["my/reg/r1"].arch.register_tokens == 1
    assert list((tmp_path / "architectures").glob("*.json"))
    assert zoo.load(tables, ["my/*/*"], RECIPES, str(tmp_path)) == rows
