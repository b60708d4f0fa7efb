"""A folder as Hugging Face's transformers saves it: ``config.json`` with ``model_type``.

Its Vision Transformers are those of timm under other names. What ``config.json`` says of the shape
becomes the arguments of timm's architecture, so that any size, patch and number of registers is
read; ``preprocessor_config.json`` says how images go in. No torch and no timm is needed. Layouts:
Dinov2, Dinov2WithRegisters, DINOv3ViT, ViT, DeiT, CLIP, SigLIP and SigLIP 2, alone, with a
classifier or beside a text tower.
"""

import math
from pathlib import Path

from tokenscope.cards.preprocessor_config import colours, geometry, settings
from tokenscope.cards.timm_folder import Card
from tokenscope.errors import StudyError

# What transformers takes where a config is silent, of the keys that decide what is computed.
_SHAPE = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12}
_VIT = {**_SHAPE, "intermediate_size": 3072, "image_size": 224, "patch_size": 16,
        "hidden_act": "gelu", "layer_norm_eps": 1e-12, "qkv_bias": True}  # fmt: skip
_DINOV2 = {**_SHAPE, "mlp_ratio": 4, "image_size": 224, "patch_size": 14, "hidden_act": "gelu",
           "layer_norm_eps": 1e-6, "qkv_bias": True, "use_swiglu_ffn": False}  # fmt: skip
_CLIP = {**_SHAPE, "intermediate_size": 3072, "image_size": 224, "patch_size": 32,
         "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5}  # fmt: skip
_SIGLIP = {**_SHAPE, "intermediate_size": 3072, "image_size": 224, "patch_size": 16,
           "hidden_act": "gelu_pytorch_tanh", "layer_norm_eps": 1e-6,
           "vision_use_head": True}  # fmt: skip
_DINOV3 = {"hidden_size": 384, "num_hidden_layers": 12, "num_attention_heads": 6,
           "intermediate_size": 1536, "image_size": 224, "patch_size": 16, "hidden_act": "gelu",
           "layer_norm_eps": 1e-5, "rope_theta": 100.0, "query_bias": True, "key_bias": False,
           "value_bias": True, "proj_bias": True, "mlp_bias": True, "use_gated_mlp": False,
           "num_register_tokens": 0}  # fmt: skip
DEFAULTS = {
    "dinov2": _DINOV2,
    "dinov2_with_registers": {**_DINOV2, "num_register_tokens": 4, "patch_size": 16},
    "dinov3_vit": _DINOV3,
    "vit": _VIT,
    "deit": _VIT,
    "clip": _CLIP,
    "siglip": _SIGLIP,
    "siglip2": {k: v for k, v in _SIGLIP.items() if k != "image_size"} | {"num_patches": 256},
}
# (width, blocks, patch) -> timm's name; of other shapes the first of a kind is changed.
TWINS = {
    "dinov2": {
        (768, 12, 14): "vit_base_patch14_{}dinov2.lvd142m",
        (384, 12, 14): "vit_small_patch14_{}dinov2.lvd142m",
        (1024, 24, 14): "vit_large_patch14_{}dinov2.lvd142m",
        (1536, 40, 14): "vit_giant_patch14_{}dinov2.lvd142m",
    },
    "dinov3_vit": {
        (768, 12, 16): "vit_base_patch16_dinov3.lvd1689m",
        (384, 12, 16): "vit_small_{}patch16_dinov3.lvd1689m",
        (1024, 24, 16): "vit_large_patch16_dinov3.lvd1689m",
        (1280, 32, 16): "vit_huge_plus_patch16_dinov3.lvd1689m",
    },
    "vit": {
        (768, 12, 16): "vit_base_patch16_224", (768, 12, 32): "vit_base_patch32_224",
        (192, 12, 16): "vit_tiny_patch16_224", (384, 12, 16): "vit_small_patch16_224",
        (1024, 24, 16): "vit_large_patch16_224", (1024, 24, 32): "vit_large_patch32_224",
        (1280, 32, 14): "vit_huge_patch14_224",
    },
    "deit": {
        (768, 12, 16): "deit_base_distilled_patch16_224",
        (192, 12, 16): "deit_tiny_distilled_patch16_224",
        (384, 12, 16): "deit_small_distilled_patch16_224",
    },
    "clip": {
        (768, 12, 32): "vit_base_patch32_clip_{}224.{}",
        (768, 12, 16): "vit_base_patch16_clip_{}224.{}",
        (1024, 24, 14): "vit_large_patch14_clip_{}224.{}",
        (1280, 32, 14): "vit_huge_patch14_clip_224.laion2b",
        (1408, 40, 14): "vit_giant_patch14_clip_224.laion2b",
        (1664, 48, 14): "vit_gigantic_patch14_clip_224.laion2b",
    },
    "siglip": {
        (768, 12, 16): "vit_base_patch16_siglip_224",
        (768, 12, 32): "vit_base_patch32_siglip_256",
        (1024, 24, 16): "vit_large_patch16_siglip_256",
        (1152, 27, 14): "vit_so400m_patch14_siglip_224",
        (1152, 27, 16): "vit_so400m_patch16_siglip_256",
    },
}  # fmt: skip
_ACTIVATIONS = {"gelu": "gelu", "gelu_pytorch_tanh": "gelu_tanh", "gelu_new": "gelu_tanh",
                "quick_gelu": "quick_gelu", "silu": "silu", "swish": "silu",
                "relu": "relu"}  # fmt: skip


def read(folder: str | Path) -> Card:
    """What a folder says of its model and of images, as a card of timm's.

    Raises:
        StudyError: no config, a model that timm has no twin of, or values that are none.
    """
    file = Path(folder, "config.json")
    config = settings(file)
    labels = _labels(config)
    if (vision := config.get("vision_config")) is not None:
        if not isinstance(vision, dict):
            raise StudyError(f"'{file}': vision_config is {vision!r}, no settings by name")
        config = {**vision, "model_type": config.get("model_type")}
    kind = str(config.get("model_type")).removesuffix("_vision_model")
    if "TextModel" in (saved := _saved_as(config)):
        raise StudyError(f"'{file}': {saved} is a tower of texts, which sees no images")
    if kind not in DEFAULTS:
        raise StudyError(
            f"'{file}': model_type '{config.get('model_type')}' cannot be converted, only "
            f"{', '.join(DEFAULTS)} (vision); for others give timm's id"
        )
    facts = {key: _fact(file, key, config, default) for key, default in DEFAULTS[kind].items()}
    if facts["hidden_size"] % facts["num_attention_heads"]:
        raise StudyError(
            f"'{file}': hidden_size {facts['hidden_size']} cannot be shared by "
            f"num_attention_heads {facts['num_attention_heads']}"
        )
    arguments = {
        "embed_dim": facts["hidden_size"], "depth": facts["num_hidden_layers"],
        "num_heads": facts["num_attention_heads"], "patch_size": facts["patch_size"],
        "img_size": facts.get("image_size") or _naflex_size(file, facts),
        "norm_eps": facts["layer_norm_eps"], "num_classes": labels if kind in _OWN_HEAD else 0,
        **_SPECIAL[kind](file, facts),
    }  # fmt: skip
    if "mlp_ratio" not in arguments:
        # A half more, since timm cuts the product with the width.
        arguments["mlp_ratio"] = (facts["intermediate_size"] + 0.5) / facts["hidden_size"]
    if kind == "siglip" and labels:  # its classifier takes the mean patch
        arguments |= {"global_pool": "avg", "fc_norm": False}
    elif kind.startswith("dinov2") and labels:
        arguments["pool"] = "cls+mean"
    data = {"input_size": arguments["img_size"], **geometry(folder), **colours(folder)}
    return Card(str(file), _twin(kind, facts), arguments, data)


def known(folder: str | Path) -> bool:
    """Whether a folder's ``config.json`` is of one of these models."""
    try:
        kind = settings(Path(folder, "config.json")).get("model_type")
    except StudyError:
        return False
    return isinstance(kind, str) and kind.removesuffix("_vision_model") in DEFAULTS


def _twin(kind: str, facts: dict) -> str:
    table = TWINS[{"dinov2_with_registers": "dinov2", "siglip2": "siglip"}.get(kind, kind)]
    shape = facts["hidden_size"], facts["num_hidden_layers"], facts["patch_size"]
    name = table.get(shape, next(iter(table.values())))
    if kind == "clip":
        quick = facts["hidden_act"] == "quick_gelu"
        return name.format(*(("quickgelu_", "openai") if quick else ("", "laion2b")))
    if kind == "dinov3_vit":
        return name.format("plus_" if facts["use_gated_mlp"] else "")
    return name.format("reg4_" if facts.get("num_register_tokens") else "")


# Kinds with a classifier: on CLS, on CLS and the distillation token, on the mean patch, on both.
_OWN_HEAD = ("vit", "deit", "siglip", "dinov2", "dinov2_with_registers")


def _saved_as(config: dict) -> str:
    """Class of transformers that a folder was saved by; empty where it does not say."""
    said = config.get("architectures")
    return str(said[0]) if isinstance(said, list) and said else ""


def _labels(config: dict) -> int:
    """How many classes a folder's own classifier has; 0 without one."""
    architecture = _saved_as(config)
    single = architecture.endswith("ForImageClassification") and not architecture.startswith("DeiT")
    if not (single or architecture == "DeiTForImageClassificationWithTeacher"):
        return 0
    names = config.get("id2label")
    return len(names) if isinstance(names, dict) and names else 2  # two are not written down


def _vit(file: Path, facts: dict) -> dict:
    return {"act_layer": _activation(file, facts), "qkv_bias": facts["qkv_bias"]}


def _dinov2(file: Path, facts: dict) -> dict:
    width, count = facts["hidden_size"], facts.get("num_register_tokens", 0)
    hidden = int(width * facts["mlp_ratio"])
    found = {
        "init_values": 1e-5,
        "qkv_bias": facts["qkv_bias"],
        "act_layer": _activation(file, facts),
        "mlp_ratio": (hidden + 0.5) / width,
    }
    if facts["use_swiglu_ffn"]:  # two thirds, in steps of 8, twice: gate and value
        hidden = 2 * ((int(hidden * 2 / 3) + 7) // 8 * 8)
        found |= {"mlp_layer": "SwiGLUPacked", "act_layer": "silu",
                  "mlp_ratio": (hidden + 0.5) / width}  # fmt: skip
    if count:
        found |= {"reg_tokens": count, "no_embed_class": True}
    return found


def _dinov3(file: Path, facts: dict) -> dict:
    gated = facts["use_gated_mlp"]
    asked: dict[str, object] = {"proj_bias": True, "mlp_bias": True}
    asked |= {"value_bias": facts["query_bias"], "hidden_act": "silu" if gated else "gelu"}
    if facts["key_bias"]:  # timm has all three biases or that of q and v
        asked |= {"query_bias": True, "value_bias": True}
    for key, value in asked.items():
        if facts[key] != value:
            raise StudyError(
                f"'{file}': {key} is {facts[key]!r}; of such models only those with {value!r} can "
                "be converted, as all released ones have it"
            )
    biased = {"attn_type": "rope"} if facts["key_bias"] else {}  # timm's other one, with all three
    return {"qkv_bias": facts["query_bias"], "init_values": 1e-5, "global_pool": "token", **biased,
            "num_reg_tokens": facts["num_register_tokens"], "swiglu_mlp": gated,
            "swiglu_align_to": 1, "rope_temperature": facts["rope_theta"]}  # fmt: skip


def _clip(file: Path, facts: dict) -> dict:
    return {"act_layer": _activation(file, facts)}


def _siglip(file: Path, facts: dict) -> dict:
    whole = {"class_token": False, "act_layer": _activation(file, facts)}
    return whole | ({} if facts["vision_use_head"] else {"global_pool": "avg", "fc_norm": False})


_SPECIAL = {
    "dinov2": _dinov2, "dinov2_with_registers": _dinov2, "dinov3_vit": _dinov3, "vit": _vit,
    "deit": _vit, "clip": _clip, "siglip": _siglip, "siglip2": _siglip,
}  # fmt: skip


def _naflex_size(file: Path, facts: dict) -> int:
    """Side of the square image that has as many patches as positions were learned for."""
    side = math.isqrt(facts["num_patches"])
    if side * side != facts["num_patches"]:
        raise StudyError(f"'{file}': num_patches is {facts['num_patches']}, no square of patches")
    return side * facts["patch_size"]


def _activation(file: Path, facts: dict) -> str:
    if facts["hidden_act"] not in _ACTIVATIONS:
        raise StudyError(
            f"'{file}': hidden_act is '{facts['hidden_act']}', none of {', '.join(_ACTIVATIONS)}"
        )
    return _ACTIVATIONS[facts["hidden_act"]]


def _fact(file: Path, key: str, config: dict, default: object):
    value = config.get(key, default)
    if isinstance(value, list) and len(value) == 2 and value[0] == value[1]:
        value = value[0]  # rows and columns alike
    if isinstance(default, bool | str):
        good = type(value) is type(default)
    else:
        whole = isinstance(default, int) and key != "mlp_ratio"
        least = 0 if key == "num_register_tokens" else 1 if whole else 1e-30
        good = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
        good = good and least <= value < 1e9
    if not good:
        raise StudyError(f"'{file}': {key} is {value!r}, unlike {default!r}, which is usual")
    return value
