"""Folders as transformers writes them: read as transformers computes them, block by block.

Needs the library transformers, which the study itself does not; without it these tests are skipped
and tests/backbones/test_huggingface.py compares names alone.
"""

import pytest
import torch
from model_folders import apart, blocks_of, row_of, shaken

from tokenscope.backbones.loading import open_backbone
from tokenscope.forward.hooks import TokenHooks

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
    "dinov2-registers-head": ("Dinov2WithRegistersForImageClassification",
                              "Dinov2WithRegistersConfig",
                              {**SQUARE, "num_register_tokens": 3, "num_labels": 7}),
    "dinov2-gated": ("Dinov2Model", "Dinov2Config", {**SQUARE, "use_swiglu_ffn": True}),
    "dinov2-registers": ("Dinov2WithRegistersModel", "Dinov2WithRegistersConfig",
                         {**SQUARE, "num_register_tokens": 3}),
    "dinov3": ("DINOv3ViTModel", "DINOv3ViTConfig",
               {**SQUARE, **MLP, "num_register_tokens": 5}),
    "dinov3-gated": ("DINOv3ViTModel", "DINOv3ViTConfig",
                     {**SQUARE, **MLP, "use_gated_mlp": True, "hidden_act": "silu",
                      "query_bias": False, "value_bias": False}),
    "dinov3-key-bias": ("DINOv3ViTModel", "DINOv3ViTConfig",
                        {**SQUARE, **MLP, "num_register_tokens": 2, "key_bias": True}),
}  # fmt: skip


def saved(folder, kind, shard="1GB"):
    model_class, config_class, arguments = SAVED[kind]
    config = getattr(transformers, config_class)(**arguments)
    config._attn_implementation = "eager"
    torch.manual_seed(0)
    model = shaken(getattr(transformers, model_class)(config))
    model.save_pretrained(folder, max_shard_size=shard)
    return model


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
    assert apart(blocks_of(opened, x), states) < 1e-5
    rows = attention.mean(1)
    if prefix:
        assert apart(seen["attention"], rows[:, :prefix, prefix:]) < 1e-5
    else:
        assert apart(seen["attention_received"], rows.mean(1)) < 1e-5


@pytest.mark.parametrize("kind", ["dinov3", "dinov3-key-bias"])
def test_rotary_position_at_another_size(kind, tmp_path, monkeypatch):
    """Learned positions are resampled as timm does it; rotary ones are the same at any size."""
    model = saved(tmp_path / "net", kind)
    backbone = row_of(tmp_path / "net", tmp_path, monkeypatch)
    x = torch.randn(2, 3, 2 * SIDE, 2 * SIDE)
    _, states, _ = as_transformers(model, kind, x)
    opened = open_backbone(backbone.spec, backbone.weights, size=2 * SIDE)
    assert apart(blocks_of(opened, x), states) < 1e-5
    one = torch.cat([blocks_of(opened, image[None]) for image in x])
    assert apart(one, states) < 1e-5


HEADS = ["vit-head", "deit-heads", "siglip-head", "dinov2-head", "dinov2-registers-head"]


@pytest.mark.parametrize("kind", HEADS)
def test_a_classifier_says_the_same(kind, tmp_path, monkeypatch):
    model = saved(tmp_path / "net", kind)
    backbone = row_of(tmp_path / "net", tmp_path, monkeypatch, classes="mine")
    assert backbone.arch.num_classes == 7
    x = torch.randn(2, 3, SIDE, SIDE)
    own, *_ = as_transformers(model, kind, x)
    opened = open_backbone(backbone.spec, backbone.weights, size=SIDE)
    with torch.no_grad(), TokenHooks(opened, logits=True) as observe:
        assert apart(observe(x)["logits"], own.logits) < 1e-5
        one = torch.cat([observe(image[None])["logits"] for image in x])
    assert apart(one, own.logits) < 1e-5


@pytest.mark.parametrize("kind", ["dinov2-registers-head", "clip"])
def test_shards_are_read_as_one_file_is(kind, tmp_path, monkeypatch):
    model = saved(tmp_path / "net", kind, shard="60KB")
    assert len(list((tmp_path / "net").glob("model-*.safetensors"))) > 2
    backbone = row_of(tmp_path / "net", tmp_path, monkeypatch)
    assert backbone.weights.endswith("model.safetensors.index.json") and backbone.size == "net"
    x = torch.randn(2, 3, SIDE, SIDE)
    _, states, _ = as_transformers(model, kind, x)
    assert apart(blocks_of(open_backbone(backbone.spec, backbone.weights), x), states) < 1e-5
