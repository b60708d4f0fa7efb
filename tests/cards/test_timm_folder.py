"""A folder as timm saves it for its hub: opened as the model it was, or refused in a sentence."""

import csv
import json
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.layers import SwiGLUPacked
from timm.models import save_for_hf

from tokenscope.backbones.architecture_table import describe
from tokenscope.backbones.loading import open_backbone
from tokenscope.cards import model_folder, timm_folder
from tokenscope.diagnosis import setup
from tokenscope.errors import StudyError
from tokenscope.forward.hooks import TokenHooks
from tokenscope.study import architecture, zoo

# Like UNI2-h (8 registers, other width and patch), a plain ViT with a head of its own, one without
# CLS, one with rotary embedding.
SAVED = {
    "registers": ("vit_giant_patch14_224", {
        "img_size": 28, "patch_size": 7, "embed_dim": 96, "depth": 2, "num_heads": 3,
        "init_values": 1e-5, "mlp_ratio": 3.0, "num_classes": 0, "no_embed_class": True,
        "reg_tokens": 8, "dynamic_img_size": True,
    }),
    "head": ("vit_tiny_patch16_224", {"img_size": 32, "depth": 2, "num_classes": 7}),
    "no-cls": ("vit_tiny_patch16_224", {
        "img_size": 32, "depth": 2, "class_token": False, "global_pool": "avg"
    }),
    "rope": ("vit_small_patch16_dinov3", {"img_size": 32, "depth": 2}),
}  # fmt: skip


def saved(folder, name, arguments, **card):
    torch.manual_seed(0)
    model = timm.create_model(name, **arguments).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    save_for_hf(model, str(folder), model_args=arguments)
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **card}))
    return model


def as_study(folder, tmp_path, monkeypatch):
    """The backbone as `make diagnose MODEL=<folder>` has it, read back from its tables."""
    monkeypatch.chdir(Path(__file__).parents[2])
    monkeypatch.setattr(architecture, "_ask_timm", lambda ids: [describe(i) for i in ids])
    model = setup.Model.of(str(folder))
    facts = setup.facts_of([model], str(tmp_path / "cache"))
    rows = setup.rows_of([model], facts)
    setup.write_tables(tmp_path, rows, facts)
    (backbone,) = zoo.load([str(tmp_path / "backbones.csv")], ["*"], {}, str(tmp_path)).values()
    return backbone


@pytest.mark.parametrize("kind", SAVED)
def test_what_timm_saves_is_opened_as_it_was(kind, tmp_path, monkeypatch):
    name, arguments = SAVED[kind]
    folder = tmp_path / "my-encoder"
    model = saved(folder, name, arguments)
    backbone = as_study(folder, tmp_path, monkeypatch)
    arch = backbone.arch
    card = json.loads((folder / "config.json").read_text())["pretrained_cfg"]
    assert (arch.depth, arch.width, arch.patch) == (
        2, model.embed_dim, model.patch_embed.patch_size[0]
    )  # fmt: skip
    assert arch.input_size == card["input_size"][-1]
    assert arch.prefix_tokens == model.num_prefix_tokens and backbone.size == "my-encoder"
    assert arch.has_cls == (model.cls_token is not None)
    opened = open_backbone(backbone.spec, backbone.weights, size=arch.input_size)
    x = torch.randn(2, 3, arch.input_size, arch.input_size)
    with torch.no_grad(), TokenHooks(opened) as observe, TokenHooks(model) as original:
        seen, own = observe(x), original(x)
    assert set(seen) == set(own)
    for key in own:
        torch.testing.assert_close(seen[key], own[key], equal_nan=True)
    if kind == "registers":
        assert backbone.registers == "r8" and seen["registers"].shape == (2, 8, 96)


def test_images_go_in_as_the_card_says(tmp_path, monkeypatch):
    name, arguments = SAVED["head"]
    said = {"mean": [0.7, 0.5, 0.6], "std": [0.2, 0.3, 0.2], "input_size": [3, 64, 64],
            "crop_pct": 1.0, "interpolation": "bilinear"}  # fmt: skip
    saved(tmp_path / "net", name, arguments, pretrained_cfg=said)
    arch = as_study(tmp_path / "net", tmp_path, monkeypatch).arch
    assert (arch.mean, arch.std) == ((0.7, 0.5, 0.6), (0.2, 0.3, 0.2))
    assert (arch.input_size, arch.crop_pct, arch.interpolation) == (64, 1.0, "bilinear")
    with open(tmp_path / "backbones.csv", newline="") as handle:
        (row,) = csv.DictReader(handle)
    assert row["note"] == ""  # nothing of timm's own was taken instead


def test_a_gated_mlp_is_named_by_its_class(tmp_path, monkeypatch):
    """Virchow2 and UNI2-h have such MLPs; a card can only name them."""
    name, arguments = SAVED["registers"]
    torch.manual_seed(0)
    own = timm.create_model(name, **arguments, mlp_layer=SwiGLUPacked, act_layer="silu").eval()
    (tmp_path / "net").mkdir()
    save_file(own.state_dict(), tmp_path / "net" / "model.safetensors")
    card = tmp_path / "net" / "config.json"
    card.write_text(json.dumps({"architecture": name, "model_args": arguments}))
    backbone = as_study(tmp_path / "net", tmp_path, monkeypatch)
    with pytest.raises(StudyError, match="shapes differ, first blocks.0.mlp"):
        open_backbone(backbone.spec, backbone.weights)
    said = {**arguments, "mlp_layer": "SwiGLUPacked", "act_layer": "silu"}
    card.write_text(json.dumps({"architecture": name, "model_args": said}))
    backbone = as_study(tmp_path / "net", tmp_path, monkeypatch)
    x = torch.randn(1, 3, 28, 28)
    opened = open_backbone(backbone.spec, backbone.weights)
    assert torch.equal(opened.forward_features(x), own.forward_features(x))
    spec = {**backbone.spec, "model": {**backbone.spec["model"], "mlp_layer": "Other"}}
    with pytest.raises(StudyError, match="mlp_layer is 'Other', none of Mlp"):
        open_backbone(spec, backbone.weights)


@pytest.mark.parametrize(
    ("card", "said"),
    [
        ({"model_args": {"block_fn": "x"}}, "not known here: block_fn"),
        ({"model_args": {"img_size": [224, 192]}}, "img_size is .224, 192., no whole number"),
        ({"model_args": {"depth": 0}}, "depth is 0"),
        ({"model_args": [1]}, "must be settings by name"),
        ({"pretrained_cfg": {"mean": [0.5, 0.5]}}, "mean is .*no three numbers"),
        ({"pretrained_cfg": {"std": [0.5, 0.5, 0]}}, "std is .*no three numbers"),
        ({"pretrained_cfg": {"crop_pct": "all"}}, "crop_pct is 'all'"),
        ({"pretrained_cfg": {"input_size": [1, 32, 32]}}, "input_size is"),
    ],
)
def test_cards_that_are_not_understood(card, said, tmp_path):
    text = json.dumps({"architecture": "vit_tiny_patch16_224", **card})
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(StudyError, match=said):
        timm_folder.read(tmp_path)


def test_other_configs_are_none_of_timms(tmp_path):
    for text in ("{}", "[1]", "no json", '{"model_type": "dinov2"}'):
        (tmp_path / "config.json").write_text(text)
        assert timm_folder.read(tmp_path) is None
    weights = str(tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text('{"architecture": "vit_tiny_patch16_224"}')
    assert model_folder.beside(weights, "vit_tiny_patch16_224.augreg_in21k") is not None
    assert model_folder.beside(weights, "vit_base_patch16_224") is None  # not of this file
