"""Folders as transformers writes them: read as transformers computes them, block by block.

Needs the library transformers, which the study itself does not; without it these tests are skipped
and tests/backbones/test_huggingface.py compares names alone.
"""

from pathlib import Path

import pytest
import torch

from tokenscope.backbones.architecture_table import describe
from tokenscope.backbones.loading import open_backbone
from tokenscope.diagnosis import setup
from tokenscope.forward.hooks import TokenHooks
from tokenscope.study import architecture, zoo

transformers = pytest.importorskip("transformers", reason="the library transformers is not here")

SIDE, PATCH = 40, 8
SHAPE = {"hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 3}
SQUARE = {**SHAPE, "image_size": SIDE, "patch_size": PATCH}
MLP = {"intermediate_size": 120}
# Model, config: shapes that no released model has.
SAVED = {
    "vit": ("ViTModel", "ViTConfig", {**SQUARE, **MLP}),
    "vit-head": ("ViTForImageClassification", "ViTConfig",
                 {**SQUARE, **MLP, "num_labels": 7, "qkv_bias": False}),
    "deit": ("DeiTModel", "DeiTConfig", {**SQUARE, **MLP}),
    "deit-heads": ("DeiTForImageClassificationWithTeacher", "DeiTConfig",
                   {**SQUARE, **MLP, "num_labels": 7}),
    "clip": ("CLIPVisionModel", "CLIPVisionConfig", {**SQUARE, **MLP}),
    "clip-projection": ("CLIPVisionModelWithProjection", "CLIPVisionConfig",
                        {**SQUARE, **MLP, "projection_dim": 5, "hidden_act": "gelu"}),
    "siglip": ("SiglipVisionModel", "SiglipVisionConfig", {**SQUARE, **MLP}),
    "siglip-head": ("SiglipForImageClassification", "SiglipConfig",
                    {"vision_config": {**SQUARE, **MLP}, "num_labels": 7}),
    "siglip2": ("Siglip2VisionModel", "Siglip2VisionConfig",
                {**SHAPE, **MLP, "patch_size": PATCH, "num_patches": (SIDE // PATCH) ** 2}),
    "dinov2": ("Dinov2Model", "Dinov2Config", {**SQUARE, "mlp_ratio": 3}),
    "dinov2-head": ("Dinov2ForImageClassification", "Dinov2Config", {**SQUARE, "num_labels": 7}),
    "dinov2-gated": ("Dinov2Model", "Dinov2Config", {**SQUARE, "use_swiglu_ffn": True}),
    "dinov2-registers": ("Dinov2WithRegistersModel", "Dinov2WithRegistersConfig",
                         {**SQUARE, "num_register_tokens": 3}),
    "dinov3": ("DINOv3ViTModel", "DINOv3ViTConfig",
               {**SQUARE, **MLP, "num_register_tokens": 5}),
    "dinov3-gated": ("DINOv3ViTModel", "DINOv3ViTConfig",
                     {**SQUARE, **MLP, "use_gated_mlp": True, "hidden_act": "silu",
                      "query_bias": False, "value_bias": False}),
}  # fmt: skip


def saved(folder, kind):
    model_class, config_class, arguments = SAVED[kind]
    config = getattr(transformers, config_class)(**arguments)
    config._attn_implementation = "eager"
    torch.manual_seed(0)
    model = getattr(transformers, model_class)(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    model.save_pretrained(folder)
    return model


def row_of(folder, tmp_path, monkeypatch, classes=""):
    """The backbone as `make diagnose MODEL=<folder>` has it, read back from its tables."""
    monkeypatch.chdir(Path(__file__).parents[2])
    monkeypatch.setattr(architecture, "_ask_timm", lambda ids: [describe(i) for i in ids])
    model = setup.Model.of(str(folder))
    facts = setup.facts_of([model], str(tmp_path / "cache"))
    rows = setup.rows_of([model], facts)
    rows[0]["classes"] = classes
    setup.write_tables(tmp_path, rows, facts)
    (backbone,) = zoo.load([str(tmp_path / "backbones.csv")], ["*"], {}, str(tmp_path)).values()
    return backbone


def as_transformers(model, kind, x):
    """Hidden states after each block, and attention of the last, by transformers."""
    inputs = {"pixel_values": x}
    if kind == "siglip2":  # takes patches: rows, columns, colours
        grid = SIDE // PATCH
        patches = x.reshape(len(x), 3, grid, PATCH, grid, PATCH).permute(0, 2, 4, 3, 5, 1)
        inputs = {
            "pixel_values": patches.reshape(len(x), grid * grid, -1),
            "pixel_attention_mask": torch.ones(len(x), grid * grid, dtype=torch.int64),
            "spatial_shapes": torch.tensor([[grid, grid]] * len(x)),
        }
    with torch.no_grad():
        out = model(**inputs, output_hidden_states=True, output_attentions=True)
    return out, torch.stack(out.hidden_states[1:], 1), out.attentions[-1]


def apart(seen, own):
    assert seen.shape == own.shape
    return ((seen - own).abs().max() / own.abs().max()).item()


@pytest.mark.parametrize("kind", SAVED)
def test_every_block_and_attention_row_is_that_of_transformers(kind, tmp_path, monkeypatch):
    model = saved(tmp_path / "net", kind)
    backbone = row_of(tmp_path / "net", tmp_path, monkeypatch)
    opened = open_backbone(backbone.spec, backbone.weights, size=backbone.arch.input_size)
    assert backbone.arch.input_size == SIDE and backbone.arch.patch == PATCH
    x = torch.randn(2, 3, SIDE, SIDE)
    _, states, attention = as_transformers(model, kind, x)
    with torch.no_grad(), TokenHooks(opened) as observe:
        seen = observe(x)
    prefix = opened.num_prefix_tokens
    assert apart(seen["norms"], states.norm(dim=-1)) < 1e-5
    blocks = opened.forward_intermediates(
        x, norm=False, return_prefix_tokens=bool(prefix), output_fmt="NLC", intermediates_only=True
    )
    tokens = torch.stack([torch.cat((b[1], b[0]), 1) if prefix else b for b in blocks], 1)
    assert apart(tokens, states) < 1e-5
    rows = attention.mean(1)
    if prefix:
        assert apart(seen["attention"], rows[:, :prefix, prefix:]) < 1e-5
    else:
        assert apart(seen["attention_received"], rows.mean(1)) < 1e-5


@pytest.mark.parametrize("kind", ["vit-head", "deit-heads", "siglip-head"])
def test_a_classifier_that_timm_has_as_well_says_the_same(kind, tmp_path, monkeypatch):
    model = saved(tmp_path / "net", kind)
    backbone = row_of(tmp_path / "net", tmp_path, monkeypatch, classes="mine")
    assert backbone.arch.num_classes == 7
    x = torch.randn(2, 3, SIDE, SIDE)
    own, *_ = as_transformers(model, kind, x)
    opened = open_backbone(backbone.spec, backbone.weights, size=SIDE)
    with torch.no_grad(), TokenHooks(opened, logits=True) as observe:
        assert apart(observe(x)["logits"], own.logits) < 1e-5
