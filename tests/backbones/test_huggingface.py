"""Weights as transformers saves them: the same tensors under timm's names, or a refusal."""

import json

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from tokenscope.backbones.huggingface import official
from tokenscope.backbones.loading import check_weights, open_backbone
from tokenscope.cards import model_folder, preprocessor_config
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


VIT = {
    "norm1.": "layernorm_before.", "norm2.": "layernorm_after.",
    "attn.proj": "attention.output.dense",
    "mlp.fc1": "intermediate.dense", "mlp.fc2": "output.dense", "blocks.0.": "encoder.layer.0.",
    "patch_embed.proj": "embeddings.patch_embeddings.projection",
    "cls_token": "embeddings.cls_token", "dist_token": "embeddings.distillation_token",
    "pos_embed": "embeddings.position_embeddings",
}  # fmt: skip
SIGLIP = {
    "attn_pool.latent": "head.probe", "attn_pool.proj": "head.attention.out_proj",
    "attn_pool.norm": "head.layernorm", "attn_pool.mlp": "head.mlp",
    "norm1.": "layer_norm1.", "norm2.": "layer_norm2.", "attn.proj": "self_attn.out_proj",
    "blocks.0.": "encoder.layers.0.", "patch_embed.proj": "embeddings.patch_embedding",
    "pos_embed": "embeddings.position_embedding.weight",
}  # fmt: skip
DINOV3 = {
    "attn.proj": "attention.o_proj", "gamma_1": "layer_scale1.lambda1",
    "gamma_2": "layer_scale2.lambda1", "mlp.fc1": "mlp.up_proj", "mlp.fc2": "mlp.down_proj",
    "patch_embed.proj": "embeddings.patch_embeddings", "cls_token": "embeddings.cls_token",
    "reg_token": "embeddings.register_tokens", "blocks.0.": "layer.0.",
}  # fmt: skip
QKV = [f"attention.attention.{part}" for part in ("query", "key", "value")]
# Kind -> timm's name, arguments, names that transformers has, those of q, k and v, of the last
# norm, the prefix of models with a head.
LAYOUTS = {
    "vit": ("vit_tiny_patch16_224", {}, VIT,
            QKV, "layernorm.", "vit."),
    "deit": ("deit_tiny_distilled_patch16_224", {}, VIT,
             QKV, "layernorm.", "deit."),
    "siglip": ("vit_base_patch16_siglip_224", {"embed_dim": 96, "num_heads": 3}, SIGLIP,
               [f"self_attn.{n}_proj" for n in "qkv"], "post_layernorm.", "vision_model."),
    "dinov3": ("vit_small_patch16_dinov3_qkvb", {}, DINOV3,
               [f"attention.{n}_proj" for n in "qkv"], "norm.", "model."),
}  # fmt: skip


def as_saved(kind, state):
    """timm's state as transformers names it, q, k and v apart."""
    _, _, renamed, qkv, norm, _ = LAYOUTS[kind]
    saved = {}
    for key, value in state.items():
        key = norm + key.removeprefix("norm.") if key.startswith("norm.") else key
        if key in ("attn_pool.q.weight", "attn_pool.q.bias"):
            ending = key.rpartition(".")[2]
            both = torch.cat([value, state[f"attn_pool.kv.{ending}"]])
            saved[f"head.attention.in_proj_{ending}"] = both
            continue
        if key.startswith("attn_pool.kv"):
            continue
        for old, new in renamed.items():
            key = key.replace(old, new)
        if "attn.qkv." in key:
            for part, piece in zip(qkv, value.chunk(3), strict=True):
                saved[key.replace("attn.qkv", part)] = piece.contiguous()
        elif key.endswith(("attn.q_bias", "attn.v_bias")):
            saved[f"layer.0.attention.{key[-6]}_proj.bias"] = value
        else:
            saved[key] = value[0] if "position_embedding.weight" in key else value
    return saved


@pytest.mark.parametrize("whole", [False, True], ids=["alone", "with-a-head"])
@pytest.mark.parametrize("kind", LAYOUTS)
def test_names_of_the_other_layouts(tmp_path, kind, whole):
    name, arguments, *_, prefix = LAYOUTS[kind]
    arguments = {"img_size": 32, **arguments}
    state = shaken(name, **arguments)
    saved = as_saved(kind, state)
    if kind == "dinov3":
        saved["embeddings.mask_token"] = torch.zeros(1, 1, 384)
    if whole:
        saved = {prefix + key: value for key, value in saved.items()}
        saved |= {"classifier.weight": torch.ones(3, 8), "classifier.bias": torch.ones(3)}
        saved |= {"logit_scale": torch.ones(1), "text_model.x.weight": torch.ones(8)}
    if whole and kind == "siglip":  # SigLIP 2: patches as rows, columns, colours
        key = prefix + "embeddings.patch_embedding.weight"
        saved[key] = saved[key].permute(0, 2, 3, 1).flatten(1).contiguous()
    if whole and kind == "dinov3":
        saved = {k: v for k, v in saved.items() if not k.startswith("classifier")}
        saved = {k.replace("model.embeddings", "embeddings"): v for k, v in saved.items()}
    save_file(saved, tmp_path / "model.safetensors")
    given = spec(name, 4 * (kind == "dinov3"), **arguments)
    opened = open_backbone(given, tmp_path / "model.safetensors").state_dict()
    assert set(opened) == set(state)
    for key, value in opened.items():
        assert torch.equal(value, state[key]), key


def test_what_cannot_be_converted_is_named(tmp_path):
    name = "vit_small_patch14_dinov2"
    saved = as_dinov2(shaken(name, img_size=28))
    lora = "encoder.layer.0.attention.attention.query.lora_A.weight"
    with pytest.raises(StudyError, match=f"cannot be converted: {lora}"):
        official({**saved, lora: torch.zeros(1)}, "mine", nn.Identity())
    without = {k: v for k, v in saved.items() if not k.endswith("key.bias")}
    with pytest.raises(StudyError, match="blocks.0.attn.qkv.bias lacks k"):
        official(without, "mine", nn.Identity())
    saved.pop("encoder.layer.0.norm1.weight")
    save_file(saved, tmp_path / "model.safetensors")
    with pytest.raises(StudyError, match="1 keys are missing from it .blocks.0.norm1.weight."):
        check_weights(spec(name, img_size=28), tmp_path / "model.safetensors")
    with pytest.raises(StudyError, match="shapes differ, first .*file .*384.*model .*768"):
        saved = as_dinov2(shaken(name, img_size=28))
        save_file(saved, tmp_path / "model.safetensors")
        check_weights(spec("vit_base_patch14_dinov2", img_size=28), tmp_path / "model.safetensors")


@pytest.mark.parametrize(
    "config, timm_id, arguments",
    [
        ({"model_type": "dinov2", "hidden_size": 768, "patch_size": 14, "image_size": 518},
         "vit_base_patch14_dinov2.lvd142m", {"img_size": 518, "norm_eps": 1e-6}),
        ({"model_type": "dinov2_with_registers", "hidden_size": 1536, "num_hidden_layers": 40,
          "patch_size": 14, "use_swiglu_ffn": True, "num_attention_heads": 24},
         "vit_giant_patch14_reg4_dinov2.lvd142m",
         {"reg_tokens": 4, "no_embed_class": True, "mlp_layer": "SwiGLUPacked"}),
        ({"model_type": "dinov2_with_registers", "num_register_tokens": 7, "patch_size": 8},
         "vit_base_patch14_reg4_dinov2.lvd142m", {"reg_tokens": 7, "patch_size": 8}),
        ({"model_type": "clip_vision_model", "patch_size": 16},
         "vit_base_patch16_clip_quickgelu_224.openai", {"act_layer": "quick_gelu"}),
        ({"model_type": "clip", "vision_config": {"hidden_act": "gelu", "image_size": 336}},
         "vit_base_patch32_clip_224.laion2b", {"act_layer": "gelu", "img_size": 336}),
        ({"model_type": "siglip", "vision_config": {"model_type": "siglip_vision_model"}},
         "vit_base_patch16_siglip_224", {"class_token": False, "act_layer": "gelu_tanh"}),
        ({"model_type": "siglip2", "vision_config": {"num_patches": 256}},
         "vit_base_patch16_siglip_224", {"img_size": 256}),
        ({"model_type": "dinov3_vit", "num_register_tokens": 4},
         "vit_small_patch16_dinov3.lvd1689m", {"num_reg_tokens": 4, "qkv_bias": True}),
        ({"model_type": "vit", "architectures": ["ViTForImageClassification"],
          "id2label": {"0": "a", "1": "b", "2": "c"}},
         "vit_base_patch16_224", {"num_classes": 3, "norm_eps": 1e-12}),
        ({"model_type": "deit", "hidden_size": 192, "num_attention_heads": 3},
         "deit_tiny_distilled_patch16_224", {"num_classes": 0}),
    ],
)  # fmt: skip
def test_architecture_of_a_folder(tmp_path, config, timm_id, arguments):
    (tmp_path / "config.json").write_text(json.dumps(config))
    card = model_folder.read(tmp_path)
    assert card.architecture == timm_id and timm.is_model(timm_id.partition(".")[0])
    assert "." not in timm_id or timm.is_model_pretrained(timm_id)
    assert arguments.items() <= card.arguments.items()
    with pytest.raises(StudyError, match="no weights file"):
        model_folder.weights_file(tmp_path)
    (tmp_path / "model.safetensors").touch()
    assert model_folder.weights_file(tmp_path) == str(tmp_path / "model.safetensors")
    assert model_folder.beside(str(tmp_path / "model.safetensors"), timm_id) == card


@pytest.mark.parametrize(
    "said, expected",
    [
        ({"size": {"shortest_edge": 256}, "crop_size": {"height": 224, "width": 224},
          "resample": 3}, {"crop_pct": 0.875, "crop_mode": "center", "interpolation": "bicubic"}),
        ({"size": {"height": 224, "width": 224}, "resample": 2},
         {"crop_pct": 1.0, "crop_mode": "squash", "interpolation": "bilinear"}),
        ({"size": 224}, {}),
    ],
)  # fmt: skip
def test_geometry_of_a_folder(tmp_path, said, expected):
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(said))
    assert preprocessor_config.geometry(tmp_path) == expected


@pytest.mark.parametrize("width", [96, 48])
def test_a_classifier_takes_cls_and_the_mean_patch(width, tmp_path):
    """Dinov2ForImageClassification; a head of another width is no head of it."""
    shape = {"embed_dim": 48, "num_heads": 3, "img_size": 28}
    saved = as_dinov2(shaken("vit_small_patch14_dinov2", **shape))
    saved |= {"classifier.weight": torch.randn(3, width), "classifier.bias": torch.randn(3)}
    save_file(saved, tmp_path / "model.safetensors")
    given = spec("vit_small_patch14_dinov2", **shape, pool="cls+mean")
    given["model"]["num_classes"] = 3
    if width == 48:
        with pytest.raises(StudyError, match="1 shapes differ, first head.weight"):
            check_weights(given, tmp_path / "model.safetensors")
        return
    opened = open_backbone(given, tmp_path / "model.safetensors")
    tokens = opened.forward_features(torch.randn(2, 3, 28, 28))
    both = torch.cat([tokens[:, 0], tokens[:, 1:].mean(1)], 1)
    expected = both @ saved["classifier.weight"].T + saved["classifier.bias"]
    torch.testing.assert_close(opened.forward_head(tokens), expected)


def test_folders_that_are_refused(tmp_path):
    with pytest.raises(StudyError, match="no config.json"):
        model_folder.read(tmp_path)
    for config, words in (
        ({"model_type": "swin"}, "'swin' cannot be converted"),
        ({"model_type": "clip", "architectures": ["CLIPTextModel"]}, "is a tower of texts, which"),
        ({"model_type": "dinov2", "hidden_size": 100}, "hidden_size 100 cannot be shared"),
        ({"model_type": "dinov2", "hidden_act": "mish"}, "hidden_act is 'mish', none of gelu"),
        ({"model_type": "dinov3_vit", "mlp_bias": False}, "mlp_bias is False; .* only those with"),
        (
            {"model_type": "dinov3_vit", "key_bias": True, "value_bias": False},
            "value_bias is False",
        ),
        ({"model_type": "siglip2", "num_patches": 200}, "num_patches is 200, no square"),
        ({"model_type": "vit", "patch_size": [16, 8]}, "patch_size is .16, 8."),
    ):
        (tmp_path / "config.json").write_text(json.dumps(config))
        with pytest.raises(StudyError, match=words):
            model_folder.read(tmp_path)
