"""Weights in the layouts of Hugging Face's transformers and of open_clip, under timm's names.

What transformers saves differs from timm's in names, in that q, k and v are separate, and in a few
shapes. Layouts: ``Dinov2Model``, ``Dinov2WithRegistersModel``, ``DINOv3ViTModel``, ``ViTModel``,
``DeiTModel``, ``CLIPVisionModel``, ``SiglipVisionModel`` and ``Siglip2VisionModel``, alone, with a
classifier, or beside a text tower. Classifiers are kept (on CLS, on CLS and the distillation token,
on the mean patch, on CLS and the mean patch); other heads and text towers are left out. Of
open_clip: the tower of images, its own or one of timm's. What a folder says of itself:
tokenscope.cards.transformers_folder and open_clip_folder.
"""

import re

from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from tokenscope.backbones.weights_file import put
from tokenscope.errors import StudyError, some

_LAYER = r"encoder\.layer\.(\d+)\."
_HEADS = [
    (r"(?:cls_)?classifier\.(\w+)", r"head.\1"),
    (r"distillation_classifier\.(\w+)", r"head_dist.\1"),
]
_TOKENS = [
    (r"embeddings\.(cls_token|mask_token)", r"\1"),
    (r"embeddings\.distillation_token", "dist_token"),
    (r"embeddings\.register_tokens", "reg_token"),
    (r"embeddings\.position_embeddings", "pos_embed"),
    (r"embeddings\.patch_embeddings\.projection\.(\w+)", r"patch_embed.proj.\1"),
    (_LAYER + r"attention\.attention\.(query|key|value)\.(\w+)", r"blocks.\1.attn.qkv.\3 \2"),
    (_LAYER + r"attention\.output\.dense\.(\w+)", r"blocks.\1.attn.proj.\2"),
    (r"layernorm\.(\w+)", r"norm.\1"),
]
_DINOV2 = [
    *_TOKENS,
    (_LAYER + r"layer_scale(\d)\.lambda1", r"blocks.\1.ls\2.gamma"),
    (_LAYER + r"mlp\.weights_in\.(\w+)", r"blocks.\1.mlp.fc1.\2"),
    (_LAYER + r"mlp\.weights_out\.(\w+)", r"blocks.\1.mlp.fc2.\2"),
    (_LAYER + r"(norm\d|mlp\.fc\d)\.(\w+)", r"blocks.\1.\2.\3"),
    *_HEADS,
]
_VIT = [
    *_TOKENS,
    (_LAYER + r"layernorm_before\.(\w+)", r"blocks.\1.norm1.\2"),
    (_LAYER + r"layernorm_after\.(\w+)", r"blocks.\1.norm2.\2"),
    (_LAYER + r"intermediate\.dense\.(\w+)", r"blocks.\1.mlp.fc1.\2"),
    (_LAYER + r"output\.dense\.(\w+)", r"blocks.\1.mlp.fc2.\2"),
    *_HEADS,
]
_DINOV3_LAYER = r"(?:model\.)?layer\.(\d+)\."
_DINOV3 = [
    (r"embeddings\.(cls_token|mask_token)", r"\1"),
    (r"embeddings\.register_tokens", "reg_token"),
    (r"embeddings\.patch_embeddings\.(\w+)", r"patch_embed.proj.\1"),
    (_DINOV3_LAYER + r"attention\.([qkv])_proj\.weight", r"blocks.\1.attn.qkv.weight \2"),
    (_DINOV3_LAYER + r"attention\.([qkv])_proj\.bias", r"blocks.\1.attn.\2_bias"),
    (_DINOV3_LAYER + r"attention\.o_proj\.(\w+)", r"blocks.\1.attn.proj.\2"),
    (_DINOV3_LAYER + r"layer_scale(\d)\.lambda1", r"blocks.\1.gamma_\2"),
    (_DINOV3_LAYER + r"mlp\.up_proj\.(\w+)", r"blocks.\1.mlp.fc1.\2"),
    (_DINOV3_LAYER + r"mlp\.gate_proj\.(\w+)", r"blocks.\1.mlp.fc1_g.\2"),
    (_DINOV3_LAYER + r"mlp\.down_proj\.(\w+)", r"blocks.\1.mlp.fc2.\2"),
    (_DINOV3_LAYER + r"(norm\d)\.(\w+)", r"blocks.\1.\2.\3"),
    (r"(?:model\.)?norm\.(\w+)", r"norm.\1"),
]
_LAYERS = r"encoder\.layers\.(\d+)\."
_TOWER = [
    (r"embeddings\.class_embedding", "cls_token"),
    (r"embeddings\.patch_embedding\.(\w+)", r"patch_embed.proj.\1"),
    (r"embeddings\.position_embedding\.weight", "pos_embed"),
    (r"pre_layrnorm\.(\w+)", r"norm_pre.\1"),  # so spelt by transformers
    (r"post_layernorm\.(\w+)", r"norm.\1"),
    (_LAYERS + r"self_attn\.([qkv])_proj\.(\w+)", r"blocks.\1.attn.qkv.\3 \2"),
    (_LAYERS + r"self_attn\.out_proj\.(\w+)", r"blocks.\1.attn.proj.\2"),
    (_LAYERS + r"layer_norm(\d)\.(\w+)", r"blocks.\1.norm\2.\3"),
    (_LAYERS + r"mlp\.fc(\d)\.(\w+)", r"blocks.\1.mlp.fc\2.\3"),
]
_SIGLIP = [
    *_TOWER,
    (r"head\.probe", "attn_pool.latent"),
    (r"head\.attention\.in_proj_(\w+)", r"attn_pool.qkv.\1"),
    (r"head\.attention\.out_proj\.(\w+)", r"attn_pool.proj.\1"),
    (r"head\.layernorm\.(\w+)", r"attn_pool.norm.\1"),
    (r"head\.mlp\.fc(\d)\.(\w+)", r"attn_pool.mlp.fc\1.\2"),
    *_HEADS,
]
_OPEN_CLIP_LAYER = r"visual\.transformer\.resblocks\.(\d+)\."
_OPEN_CLIP = [
    (r"visual\.class_embedding", "cls_token"),
    (r"visual\.positional_embedding", "pos_embed"),
    (r"visual\.conv1\.(\w+)", r"patch_embed.proj.\1"),
    (r"visual\.ln_pre\.(\w+)", r"norm_pre.\1"),
    (r"visual\.ln_post\.(\w+)", r"norm.\1"),
    (r"visual\.proj", "head.weight"),
    (_OPEN_CLIP_LAYER + r"ln_(\d)\.(\w+)", r"blocks.\1.norm\2.\3"),
    (_OPEN_CLIP_LAYER + r"ls_(\d)\.(\w+)", r"blocks.\1.ls\2.\3"),
    (_OPEN_CLIP_LAYER + r"attn\.in_proj_(\w+)", r"blocks.\1.attn.qkv.\2"),
    (_OPEN_CLIP_LAYER + r"attn\.out_proj\.(\w+)", r"blocks.\1.attn.proj.\2"),
    (_OPEN_CLIP_LAYER + r"mlp\.c_fc\.(\w+)", r"blocks.\1.mlp.fc1.\2"),
    (_OPEN_CLIP_LAYER + r"mlp\.c_proj\.(\w+)", r"blocks.\1.mlp.fc2.\2"),
]
_TRUNK = "visual.trunk."
# What is no part of a backbone: heads, text towers, buffers.
_LEFT_OUT = re.compile(
    r"classifier\..*|pooler\..*|decoder\..*|text_model\..*|(text|visual)_projection\..*"
    r"|logit_(scale|bias)|embeddings\.position_ids|rope_embeddings\..*"
)
_PREFIX = re.compile(r"(dinov2_with_registers|dinov2|dinov3_vit|vit|deit|vision_model)\.")


def official(state: dict, name: str, model: nn.Module) -> dict:
    """A state dict with timm's names, where it has those of transformers or open_clip; else as is.

    Args:
        name: of the backbone, for messages. model: what the weights are for.

    Raises:
        StudyError: keys that nothing here knows; the message lists them.
    """
    if any(key.startswith("visual.") for key in state):
        return _tower_of_images(state, name, model)
    bare: dict = {}
    for key, value in state.items():
        put(bare, _PREFIX.sub("", key, count=1), value, name)
    if (names := _layout(bare)) is None:
        return state
    return _shaped(_joined(_renamed(bare, names, name), name))


def _renamed(state: dict, names: list[tuple[str, str]], name: str) -> dict:
    out, unknown = {}, []
    for key, value in state.items():
        rule = next((r for r in names if re.fullmatch(r[0], key)), None)
        if rule:
            put(out, re.sub(*rule, key), value, name)
        elif not _LEFT_OUT.fullmatch(key):
            unknown.append(key)
    if unknown:
        raise StudyError(f"{name}: these keys of its weights cannot be converted: {some(unknown)}")
    return out


def _tower_of_images(state: dict, name: str, model: nn.Module) -> dict:
    """open_clip's tower of images; towers that timm's own filter knows (PE's) stay as they are."""
    import torch

    trunk = {k.removeprefix(_TRUNK): v for k, v in state.items() if k.startswith(_TRUNK)}
    if trunk:
        if model.num_classes and (head := state.get("visual.head.proj.weight")) is not None:
            trunk |= {"head.weight": head, "head.bias": torch.zeros(len(head))}
        return trunk
    if "visual.class_embedding" not in state or not isinstance(model, VisionTransformer):
        return state
    tower = {key: value for key, value in state.items() if key.startswith("visual.")}
    out, own = _shaped(_renamed(tower, _OPEN_CLIP, name)), model.state_dict()
    if (head := out.pop("head.weight", None)) is not None and model.num_classes:
        out |= {"head.weight": head.T.contiguous(), "head.bias": torch.zeros(head.shape[1])}
    if "norm_pre.weight" not in own and "patch_embed.proj.bias" in own:
        # Its patches are embedded without bias; timm's have none where a norm follows.
        out.setdefault("patch_embed.proj.bias", torch.zeros(model.embed_dim))
    if "fc_norm.weight" in own:  # the final norm, after pooling
        out = {re.sub(r"^norm\.", "fc_norm.", key): value for key, value in out.items()}
    return out


def _layout(bare: dict) -> list[tuple[str, str]] | None:
    """The table of names that a state dict without prefixes needs."""
    if "embeddings.class_embedding" in bare:
        return _TOWER
    if "embeddings.patch_embedding.weight" in bare:
        return _SIGLIP
    if "embeddings.cls_token" not in bare:
        return None
    if "embeddings.patch_embeddings.weight" in bare:
        return _DINOV3
    return _DINOV2 if any(".layer_scale1." in key for key in bare) else _VIT


def _joined(state: dict, name: str) -> dict:
    """q, k and v of each block as one matrix."""
    import torch

    out, parts = {}, {}
    for key, value in state.items():
        target, _, part = key.partition(" ")
        if part:
            parts.setdefault(target, {})[part[0]] = value
        else:
            out[target] = value
    for target, matrices in parts.items():
        if set(matrices) != set("qkv"):
            raise StudyError(
                f"{name}: {target} lacks {', '.join(sorted(set('qkv') - set(matrices)))}"
            )
        out[target] = torch.cat([matrices[part] for part in "qkv"])
    return out


def _shaped(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same in timm's shapes: one batch of tokens, patches as a convolution, CLS with its place.

    timm keeps no position of CLS beside registers; it is added to the token, which changes no sum.
    """
    import torch

    state.pop("mask_token", None)  # of training alone
    for key in [key for key in state if key.endswith(".attn.k_bias")]:  # of a DINOv3 with all three
        block = key.removesuffix("k_bias")
        if all(f"{block}{part}_bias" in state for part in "qkv"):
            state[f"{block}qkv.bias"] = torch.cat([state.pop(f"{block}{p}_bias") for p in "qkv"])
    out = {key: value for key, value in state.items() if value.numel()}  # none: no registers
    for key in ("cls_token", "pos_embed"):
        if key in out and out[key].dim() < 3:
            out[key] = out[key].reshape(1, -1, out[key].shape[-1])
    if "reg_token" in out and "pos_embed" in out:
        out["cls_token"] = out["cls_token"] + out["pos_embed"][:, :1]
        out["pos_embed"] = out["pos_embed"][:, 1:]
    if (patches := out.get("patch_embed.proj.weight")) is not None and patches.dim() == 2:
        side = round((patches.shape[1] / 3) ** 0.5)  # SigLIP 2: rows, columns, colours
        out["patch_embed.proj.weight"] = patches.reshape(-1, side, side, 3).permute(0, 3, 1, 2)
    for key in [key for key in out if key.endswith(".mlp.fc1_g.weight")]:  # gate beside the value
        block = key.removesuffix("fc1_g.weight")
        for part in ("weight", "bias"):
            if f"{block}fc1.{part}" in out:
                out[f"{block}fc1_x.{part}"] = out.pop(f"{block}fc1.{part}")
    for part in ("weight", "bias"):
        if (both := out.pop(f"attn_pool.qkv.{part}", None)) is not None:
            third = both.shape[0] // 3
            out[f"attn_pool.q.{part}"] = both[:third]
            out[f"attn_pool.kv.{part}"] = both[third:]
    return out
