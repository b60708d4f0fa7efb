"""Weights as transformers saves them: the same tensors under timm's names, or a refusal."""

import json

import pytest
import timm
import torch
from safetensors.torch import save_file

from tokenscope.backbones.huggingface import architecture, official
from tokenscope.backbones.loading import check_weights, open_backbone
from tokenscope.errors import StudyError


def shaken(name, **arguments):
    torch.manual_seed(0)
    model = timm.create_model(name, depth=1, num_classes=0, **arguments)
    return {k: torch.randn_like(v) for k, v in model.state_dict().items()}


def spec(name, registers=0, **arguments):
    return {
        "name": "mine/x/r0", "timm_id": name, "registers": registers,
        "model": {"depth": 1, "num_classes": 0, **arguments},
    }  # fmt: skip


def as_dinov2(state, prefix=""):
    """timm's state as transformers names it; its position embedding of CLS is zero."""
    named = {}
    for key, value in state.items():
        key = key.replace("blocks.0.", "encoder.layer.0.")
        key = key.replace("attn.proj", "attention.output.dense").replace("ls1.gamma", "LS1")
        key = key.replace("ls2.gamma", "LS2").replace("patch_embed.proj", "PROJECTION")
        key = "layernorm" + key.removeprefix("norm") if key.startswith("norm.") else key
        for old, new in {
            "LS1": "layer_scale1.lambda1", "LS2": "layer_scale2.lambda1",
            "PROJECTION": "embeddings.patch_embeddings.projection",
            "cls_token": "embeddings.cls_token", "reg_token": "embeddings.register_tokens",
            "pos_embed": "embeddings.position_embeddings",
        }.items():  # fmt: skip
            key = key.replace(old, new)
        if "attn.qkv" in key:
            for part, piece in zip(("query", "key", "value"), value.chunk(3), strict=True):
                named[prefix + key.replace("attn.qkv", f"attention.attention.{part}")] = piece
        else:
            named[prefix + key] = value.contiguous()
    return {k: v.contiguous() for k, v in named.items()}


@pytest.mark.parametrize("registers", [0, 4])
def test_dinov2_of_transformers(tmp_path, registers):
    name = f"vit_small_patch14_{'reg4_' * bool(registers)}dinov2"
    state = shaken(name, img_size=28)
    saved = as_dinov2(state, "dinov2_with_registers." if registers else "")
    if registers:  # the file has a place for CLS, which timm adds to the token
        key = "dinov2_with_registers.embeddings.position_embeddings"
        saved[key] = torch.cat([torch.ones(1, 1, 384), saved[key]], 1)
        state["cls_token"] = state["cls_token"] + 1
    saved["classifier.weight"] = torch.zeros(3, 768)
    save_file(saved, tmp_path / "model.safetensors")
    opened = open_backbone(spec(name, registers, img_size=28), tmp_path / "model.safetensors")
    for key, value in opened.state_dict().items():
        assert torch.equal(value, state[key]), key


def test_clip_of_transformers(tmp_path):
    name = "vit_base_patch32_clip_quickgelu_224"
    state = shaken(name, img_size=64)
    swaps = {
        "blocks.0.": "encoder.layers.0.", "attn.proj": "self_attn.out_proj",
        "norm_pre": "pre_layrnorm", "norm1": "layer_norm1", "norm2": "layer_norm2",
        "patch_embed.proj": "embeddings.patch_embedding", "cls_token": "embeddings.class_embedding",
        "pos_embed": "embeddings.position_embedding.weight",
    }  # fmt: skip
    saved = {"logit_scale": torch.ones(1), "text_model.final_layer_norm.weight": torch.ones(8)}
    for key, value in state.items():
        key = "post_layernorm" + key[4:] if key.startswith("norm.") else key
        for old, new in swaps.items():
            key = key.replace(old, new)
        parts = zip("qkv", value.chunk(3), strict=True) if "attn.qkv" in key else [("", value)]
        for part, piece in parts:
            name_ = key.replace("attn.qkv", f"self_attn.{part}_proj")
            piece = piece.flatten() if "class_embedding" in name_ else piece
            piece = piece[0] if "position_embedding" in name_ else piece
            saved[f"vision_model.{name_}"] = piece.contiguous()
    save_file(saved, tmp_path / "model.safetensors")
    opened = open_backbone(spec(name, img_size=64), tmp_path / "model.safetensors")
    for key, value in opened.state_dict().items():
        assert torch.equal(value, state[key]), key


def test_what_cannot_be_converted_is_named(tmp_path):
    name = "vit_small_patch14_dinov2"
    saved = as_dinov2(shaken(name, img_size=28))
    lora = "encoder.layer.0.attention.attention.query.lora_A.weight"
    with pytest.raises(StudyError, match=f"cannot be converted: {lora}"):
        official({**saved, lora: torch.zeros(1)}, "mine")
    with pytest.raises(StudyError, match="blocks.0.attn.qkv.bias lacks k"):
        official({k: v for k, v in saved.items() if not k.endswith("key.bias")}, "mine")
    saved.pop("encoder.layer.0.norm1.weight")
    save_file(saved, tmp_path / "model.safetensors")
    with pytest.raises(StudyError, match="1 keys are missing from it .blocks.0.norm1.weight."):
        check_weights(spec(name, img_size=28), tmp_path / "model.safetensors")
    with pytest.raises(StudyError, match="shapes differ, first .*file .*384.*model .*768"):
        saved = as_dinov2(shaken(name, img_size=28))
        save_file(saved, tmp_path / "model.safetensors")
        check_weights(spec("vit_base_patch14_dinov2", img_size=28), tmp_path / "model.safetensors")


@pytest.mark.parametrize(
    "config, timm_id",
    [
        ({"model_type": "dinov2", "hidden_size": 768, "patch_size": 14, "image_size": 518},
         "vit_base_patch14_dinov2.lvd142m"),
        ({"model_type": "dinov2_with_registers", "hidden_size": 1536, "num_hidden_layers": 40,
          "patch_size": 14, "use_swiglu_ffn": True, "num_register_tokens": 4},
         "vit_giant_patch14_reg4_dinov2.lvd142m"),
        ({"model_type": "clip_vision_model", "patch_size": 16},
         "vit_base_patch16_clip_quickgelu_224.openai"),
        ({"model_type": "clip", "vision_config": {"hidden_act": "gelu"}},
         "vit_base_patch32_clip_224.laion2b"),
    ],
)  # fmt: skip
def test_architecture_of_a_folder(tmp_path, config, timm_id):
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(StudyError, match="no weights file"):
        architecture(tmp_path)
    (tmp_path / "model.safetensors").touch()
    assert architecture(tmp_path) == (timm_id, str(tmp_path / "model.safetensors"))
    assert timm.is_model_pretrained(timm_id)


def test_folders_that_are_refused(tmp_path):
    with pytest.raises(StudyError, match="no config.json"):
        architecture(tmp_path)
    for config, words in (
        ({"model_type": "swin"}, "'swin' cannot be converted"),
        ({"model_type": "dinov2", "hidden_size": 100}, "of this shape .hidden_size 100"),
        ({"model_type": "dinov2_with_registers", "num_register_tokens": 2}, "of this shape"),
    ):
        (tmp_path / "config.json").write_text(json.dumps(config))
        with pytest.raises(StudyError, match=words):
            architecture(tmp_path)
