"""Weights in the layout of Hugging Face's transformers, handed to timm's own filters.

timm converts the official files of DINOv2 and OpenAI's CLIP. What transformers saves differs from
those in names, and in that q, k and v are separate; here it gets the official names back, and
timm's filter for the architecture does the rest. Layouts: ``Dinov2Model``,
``Dinov2WithRegistersModel`` (with or without a classifier), ``CLIPVisionModel`` and ``CLIPModel``.
Heads and text towers are left out. No torch is needed to read a folder's ``config.json``.
"""

import json
import re
from pathlib import Path

from tokenscope.errors import StudyError, some

DINOV2, REGISTERS, CLIP = "dinov2", "dinov2_with_registers", "clip"
WEIGHTS = ("model.safetensors", "pytorch_model.bin")
# Config key of the facts that decide the architecture, and what transformers takes without it.
_DEFAULTS = {
    DINOV2: {"hidden_size": 768, "num_hidden_layers": 12, "patch_size": 14, "image_size": 224,
             "use_swiglu_ffn": False, "hidden_act": "gelu", "num_register_tokens": 0},
    CLIP: {"hidden_size": 768, "num_hidden_layers": 12, "patch_size": 32, "image_size": 224,
           "hidden_act": "quick_gelu"},
}  # fmt: skip
_DEFAULTS[REGISTERS] = {**_DEFAULTS[DINOV2], "num_register_tokens": 4, "patch_size": 16}
# (width, blocks, patch) -> timm's name; CLIP has the activation and the size in it as well.
_DINOV2 = {
    (384, 12, 14): "vit_small_patch14_{}dinov2.lvd142m",
    (768, 12, 14): "vit_base_patch14_{}dinov2.lvd142m",
    (1024, 24, 14): "vit_large_patch14_{}dinov2.lvd142m",
    (1536, 40, 14): "vit_giant_patch14_{}dinov2.lvd142m",
}
_CLIP = {
    (768, 12, 32): {"quick_gelu": "vit_base_patch32_clip_quickgelu_224.openai",
                    "gelu": "vit_base_patch32_clip_224.laion2b"},
    (768, 12, 16): {"quick_gelu": "vit_base_patch16_clip_quickgelu_224.openai",
                    "gelu": "vit_base_patch16_clip_224.laion2b"},
    (1024, 24, 14): {"quick_gelu": "vit_large_patch14_clip_quickgelu_224.openai",
                     "gelu": "vit_large_patch14_clip_224.laion2b"},
    (1280, 32, 14): {"gelu": "vit_huge_patch14_clip_224.laion2b"},
    (1408, 40, 14): {"gelu": "vit_giant_patch14_clip_224.laion2b"},
    (1664, 48, 14): {"gelu": "vit_gigantic_patch14_clip_224.laion2b"},
}  # fmt: skip

_BLOCK = r"encoder\.layer\.(\d+)\."
_DINOV2_NAMES = [
    (r"embeddings\.(cls_token|mask_token|register_tokens)", r"\1"),
    (r"embeddings\.position_embeddings", "pos_embed"),
    (r"embeddings\.patch_embeddings\.projection\.(\w+)", r"patch_embed.proj.\1"),
    (_BLOCK + r"attention\.attention\.(query|key|value)\.(\w+)", r"blocks.\1.attn.qkv.\3 \2"),
    (_BLOCK + r"attention\.output\.dense\.(\w+)", r"blocks.\1.attn.proj.\2"),
    (_BLOCK + r"layer_scale(\d)\.lambda1", r"blocks.\1.ls\2.gamma"),
    (_BLOCK + r"mlp\.weights_in\.(\w+)", r"blocks.\1.mlp.w12.\2"),
    (_BLOCK + r"mlp\.weights_out\.(\w+)", r"blocks.\1.mlp.w3.\2"),
    (_BLOCK + r"(norm\d|mlp\.fc\d)\.(\w+)", r"blocks.\1.\2.\3"),
    (r"layernorm\.(\w+)", r"norm.\1"),
]
_LAYER = r"encoder\.layers\.(\d+)\."
_OFFICIAL = "visual.transformer.resblocks."
_CLIP_NAMES = [
    (r"embeddings\.class_embedding", "visual.class_embedding"),
    (r"embeddings\.patch_embedding\.weight", "visual.conv1.weight"),
    (r"embeddings\.position_embedding\.weight", "visual.positional_embedding"),
    (r"pre_layrnorm\.(\w+)", r"visual.ln_pre.\1"),  # so spelt by transformers
    (r"post_layernorm\.(\w+)", r"visual.ln_post.\1"),
    (_LAYER + r"self_attn\.([qkv])_proj\.(\w+)", _OFFICIAL + r"\1.attn.in_proj_\3 \2"),
    (_LAYER + r"self_attn\.out_proj\.(\w+)", _OFFICIAL + r"\1.attn.out_proj.\2"),
    (_LAYER + r"layer_norm(\d)\.(\w+)", _OFFICIAL + r"\1.ln_\2.\3"),
    (_LAYER + r"mlp\.fc1\.(\w+)", _OFFICIAL + r"\1.mlp.c_fc.\2"),
    (_LAYER + r"mlp\.fc2\.(\w+)", _OFFICIAL + r"\1.mlp.c_proj.\2"),
]
# What is no part of a backbone: heads, text towers, and a buffer of older versions.
_LEFT_OUT = re.compile(
    r"classifier\..*|pooler\..*|text_model\..*|(text|visual)_projection\..*|logit_scale"
    r"|embeddings\.position_ids"
)
_PREFIX = re.compile(r"(dinov2_with_registers|dinov2|vision_model)\.")


def architecture(folder: str | Path) -> tuple[str, str]:
    """timm id and weights file of a folder with a ``config.json``.

    Raises:
        StudyError: no config, no single weights file, or a model that timm has no twin of.
    """
    folder = Path(folder)
    if not (file := folder / "config.json").is_file():
        raise StudyError(f"'{folder}' has no config.json: it is no Hugging Face model folder")
    config = _settings(file)
    if isinstance(config.get("vision_config"), dict):
        config = {**config["vision_config"], "model_type": config.get("model_type")}
    kind = str(config.get("model_type")).removesuffix("_vision_model")
    if kind not in _DEFAULTS:
        raise StudyError(
            f"'{file}': model_type '{config.get('model_type')}' cannot be converted, only "
            f"{', '.join(_DEFAULTS)} (vision); for others give timm's id"
        )
    facts = _DEFAULTS[kind] | {k: v for k, v in config.items() if k in _DEFAULTS[kind]}
    for key, default in _DEFAULTS[kind].items():
        if type(facts[key]) is not type(default):
            raise StudyError(f"'{file}': {key} is {facts[key]!r}, no {type(default).__name__}")
    shape = facts["hidden_size"], facts["num_hidden_layers"], facts["patch_size"]
    if timm_id := _twin(kind, facts, shape):
        return timm_id, weights_file(folder)
    described = ", ".join(f"{k} {facts[k]}" for k in _DEFAULTS[kind])
    raise StudyError(f"'{file}': timm has no {kind} of this shape ({described})")


def _twin(kind: str, facts: dict, shape: tuple) -> str:
    if kind == CLIP:
        name = _CLIP.get(shape, {}).get(facts["hidden_act"], "")
        larger = {("vit_large_patch14_clip_quickgelu_224.openai", 336):
                  "vit_large_patch14_clip_quickgelu_336.openai"}  # fmt: skip
        return name if facts["image_size"] == 224 else larger.get((name, facts["image_size"]), "")
    registers = {0: "", 4: "reg4_"}.get(facts["num_register_tokens"])
    gated = facts["use_swiglu_ffn"] == (shape[0] == 1536)
    plain = facts["hidden_act"] == "gelu"
    known = shape in _DINOV2 and registers is not None and gated and plain
    return _DINOV2[shape].format(registers) if known else ""


def weights_file(folder: str | Path) -> str:
    """The single file of weights in a folder; a StudyError where there is none."""
    folder = Path(folder)
    for name in WEIGHTS:
        if (folder / name).is_file():
            return str(folder / name)
        if (folder / f"{name}.index.json").is_file():
            raise StudyError(f"'{folder}': its weights are cut into parts; save them as one {name}")
    raise StudyError(f"'{folder}' has no weights file {' or '.join(WEIGHTS)}")


def _settings(file: Path) -> dict:
    try:
        settings = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise StudyError(f"'{file}' is no JSON ({error})") from None
    if not isinstance(settings, dict):
        raise StudyError(f"'{file}' holds no settings but a {type(settings).__name__}")
    return settings


def colours(folder: str | Path) -> dict[str, tuple[float, float, float]]:
    """``mean`` and ``std`` that amount to a folder's own scaling of colours; empty without one.

    transformers multiplies by ``rescale_factor`` (1/255) unless ``do_rescale`` is false, then
    subtracts ``image_mean`` and divides by ``image_std`` unless ``do_normalize`` is false. Pixels
    are divided by 255 here in any case, and what differs goes into mean and deviation.

    Raises:
        StudyError: no JSON, or values that are no three numbers, or not finite, or a deviation
            of zero.
    """
    file = Path(folder, "preprocessor_config.json")
    if not file.is_file():
        return {}
    settings = _settings(file)
    keys = ("image_mean", "image_std", "do_rescale", "do_normalize", "rescale_factor")
    given = {key: settings[key] for key in keys if settings.get(key) is not None}
    for key in ("do_rescale", "do_normalize"):
        if not isinstance(given.get(key, True), bool):
            raise StudyError(f"'{file}': {key} is {given[key]!r}, not true or false")
    normalised, rescaled = given.get("do_normalize", True), given.get("do_rescale", True)
    factor = _numbers(file, "rescale_factor", given.get("rescale_factor", 1 / 255), 1)[0]
    scale = 255 * factor if rescaled else 255.0
    exact = abs(scale - 1) < 1e-6  # 1/255 is written with few digits
    said = {"mean": given.get("image_mean"), "std": given.get("image_std")}
    if not normalised:
        said = {"mean": 0.0, "std": 1.0}
    elif not exact and None in said.values():
        raise StudyError(f"'{file}': rescales, but does not say both image_mean and image_std")
    values = {
        key: _numbers(file, f"image_{key}", value, 3)
        for key, value in said.items()
        if value is not None  # what timm says of the architecture holds
    }
    if min([factor, *values.get("std", [1.0])]) <= 0:
        raise StudyError(f"'{file}': image_std and rescale_factor must be above 0")
    scale = 1.0 if exact else scale
    return {key: (a / scale, b / scale, c / scale) for key, (a, b, c) in values.items()}


def _numbers(file: Path, key: str, value: object, count: int) -> list[float]:
    values = value if isinstance(value, list) else [value] * count
    good = all(
        isinstance(v, int | float) and not isinstance(v, bool) and abs(v) < 1e30 for v in values
    )
    if len(values) != count or not good:
        raise StudyError(f"'{file}': {key} is {value!r}, not {count} finite number(s)")
    return [float(v) for v in values]


def official(state: dict, name: str) -> dict:
    """A state dict with the official names, where it has those of transformers; else as it is.

    Raises:
        StudyError: keys that nothing here knows; the message lists them.
    """
    from tokenscope.backbones.weights_file import put  # needs torch

    bare: dict = {}
    for key, value in state.items():
        put(bare, _PREFIX.sub("", key, count=1), value, name)
    if "embeddings.cls_token" in bare:
        names = _DINOV2_NAMES
    elif "embeddings.class_embedding" in bare:
        names = _CLIP_NAMES
    else:
        return state
    out, unknown = {}, []
    for key, value in bare.items():
        if _LEFT_OUT.fullmatch(key):
            continue
        rule = next((r for r in names if re.fullmatch(r[0], key)), None)
        if rule is None:
            unknown.append(key)
            continue
        put(out, re.sub(*rule, key), value, name)
    if unknown:
        raise StudyError(f"{name}: these keys of its weights cannot be converted: {some(unknown)}")
    out = _joined(out, name)
    if names is _DINOV2_NAMES:  # it is by this token that timm knows the layout
        out.setdefault("mask_token", out["cls_token"][:, 0] * 0)
    return out


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
