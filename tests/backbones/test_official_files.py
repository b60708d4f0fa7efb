"""Files as the authors of DINO, DINOv2, DINOv3, DeiT-III and CLIP publish them: opened as they are.

Built here under the names of those files, from random weights; what training adds to them is there.
"""

import re

import pytest
import timm
import torch

from tokenscope.backbones.loading import open_backbone


def dino(state):
    return state  # the file of a released backbone: timm's names


def dino_training(state):
    """Checkpoint of a training: two networks, the projection head of each, wrapped."""
    other = {f"module.backbone.{k}": v + 1 for k, v in state.items()}
    mine = {f"module.backbone.{k}": v for k, v in state.items()}
    mine["module.head.mlp.0.weight"] = torch.ones(3, 3)
    return {"student": other, "teacher": mine, "epoch": 3, "args": None}


def dinov2(state):
    return {**state, "mask_token": torch.zeros(1, 384)}


def dinov2_registers(state):
    """With a place for CLS, and registers by their own name."""
    names = {("register_tokens" if k == "reg_token" else k): v for k, v in state.items()}
    names["pos_embed"] = torch.cat([torch.ones(1, 1, 384), state["pos_embed"]], 1)
    names["cls_token"] = state["cls_token"] - 1
    return {**names, "mask_token": torch.zeros(1, 384)}


def dinov3(state):
    names = {}
    for key, value in state.items():
        key = key.replace("reg_token", "storage_tokens")
        key = re.sub(r"gamma_(\d)", r"ls\1.gamma", key)
        if not key.endswith(("q_bias", "v_bias")):
            names[key] = value
    q, v = state["blocks.0.attn.q_bias"], state["blocks.0.attn.v_bias"]
    names["blocks.0.attn.qkv.bias"] = torch.cat([q, torch.full_like(q, 7), v])
    names["blocks.0.attn.qkv.bias_mask"] = torch.ones(3 * 384)
    names["rope_embed.periods"] = torch.ones(16)
    return {**names, "mask_token": torch.zeros(1, 384)}


def deit3(state):
    names = {re.sub(r"ls(\d)\.gamma", r"gamma_\1", k): v for k, v in state.items()}
    return {"model": {**names, "head.weight": torch.ones(1000, 384), "head.bias": torch.ones(1000)}}


def clip(state):
    """OpenAI's and open_clip's own transformer, beside the tower of texts."""
    names = {
        "cls_token": "class_embedding", "pos_embed": "positional_embedding",
        "patch_embed.proj": "conv1", "norm_pre": "ln_pre", "norm1": "ln_1", "norm2": "ln_2",
        "norm.": "ln_post.", "attn.qkv.": "attn.in_proj_", "attn.proj": "attn.out_proj",
        "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj", "blocks.": "transformer.resblocks.",
    }  # fmt: skip
    out = {"logit_scale": torch.ones([]), "token_embedding.weight": torch.ones(9, 4),
           "transformer.resblocks.0.ln_1.weight": torch.ones(4),
           "visual.proj": torch.ones(768, 512)}  # fmt: skip
    for key, value in state.items():
        for old, new in names.items():
            key = key.replace(old, new) if old != "norm." or key.startswith(old) else key
        if key in ("class_embedding", "positional_embedding"):
            value = value[0, 0] if key == "class_embedding" else value[0]
        out[f"visual.{key}"] = value
    return out


def clip_training(state):
    """open_clip's checkpoint of a distributed training."""
    return {
        "epoch": 1,
        "name": "x",
        "state_dict": {f"module.{k}": v for k, v in clip(state).items()},
    }


def trunk(state):
    """open_clip around a ViT of timm's."""
    out = {f"visual.trunk.{k}": v for k, v in state.items()}
    return {
        **out,
        "visual.head.proj.weight": torch.ones(5, 96),
        "text.ln_final.bias": torch.ones(4),
    }


FILES = {
    "dino": (dino, "vit_small_patch16_224", {}),
    "dino-training": (dino_training, "vit_small_patch16_224", {}),
    "dinov2": (dinov2, "vit_small_patch14_dinov2", {}),
    "dinov2-registers": (dinov2_registers, "vit_small_patch14_reg4_dinov2", {}),
    "dinov3": (dinov3, "vit_small_patch16_dinov3_qkvb", {}),
    "deit3": (deit3, "deit3_small_patch16_224", {}),
    "openai-clip": (clip, "vit_base_patch32_clip_quickgelu_224", {}),
    "open-clip-training": (clip_training, "vit_base_patch32_clip_224", {}),
    "open-clip-timm": (trunk, "vit_base_patch16_siglip_224", {"embed_dim": 96, "num_heads": 3}),
}


@pytest.mark.parametrize("kind", FILES)
def test_a_published_file_opens_to_the_weights_that_it_holds(kind, tmp_path):
    written, name, arguments = FILES[kind]
    arguments = {
        "img_size": 56 if "patch14" in name else 64,
        "depth": 1,
        "num_classes": 0,
        **arguments,
    }
    torch.manual_seed(0)
    state = timm.create_model(name, **arguments).state_dict()
    state = {key: torch.randn_like(value) for key, value in state.items()}
    torch.save(written(state), tmp_path / "official.pth")
    registers = 4 * ("reg4" in name or "dinov3" in name)
    spec = {"name": "mine/x/r0", "timm_id": name, "registers": registers, "model": arguments}
    opened = open_backbone(spec, tmp_path / "official.pth").state_dict()
    assert set(opened) == set(state)
    for key, value in opened.items():
        assert torch.allclose(value, state[key], atol=1e-6), key
