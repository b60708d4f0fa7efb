"""A folder in timm's hub format: ``config.json`` with ``architecture``, and weights beside it.

So timm saves its models (``save_for_hf``, ``push_to_hf_hub``), and so many pathology and satellite
encoders are given away. ``model_args`` says how the architecture was changed, ``pretrained_cfg`` at
which size and in which colours images go in. No torch and no timm is needed to read it.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path

from tokenscope.errors import StudyError, some

# What timm takes where a card is silent (timm.data.constants).
DATA = {
    "mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225), "crop_pct": 0.875,
    "interpolation": "bicubic", "crop_mode": "center",
}  # fmt: skip
# Arguments of a ViT whose effect on size, width, tokens and blocks is known here.
ARGUMENTS = frozenset((
    "img_size", "patch_size", "embed_dim", "depth", "num_heads", "mlp_ratio", "init_values",
    "num_classes", "reg_tokens", "class_token", "global_pool", "no_embed_class", "fc_norm",
    "dynamic_img_size", "qkv_bias", "qk_norm", "pre_norm", "final_norm", "act_layer", "norm_layer",
    "mlp_layer",
))  # fmt: skip
# They count in training alone, or say nothing of the model.
_NO_MATTER = frozenset((
    "drop_rate", "pos_drop_rate", "patch_drop_rate", "proj_drop_rate", "attn_drop_rate",
    "drop_path_rate", "weight_init", "fix_init", "in_chans", "strict_img_size", "dynamic_img_pad",
))  # fmt: skip
_WHOLE = ("img_size", "patch_size", "embed_dim", "depth", "num_heads", "num_classes", "reg_tokens")


@dataclass(frozen=True)
class Card:
    """What a ``config.json`` of timm says.

    Attributes:
        architecture: timm's name, without a tag.
        arguments: of the architecture, as ``timm.create_model`` takes them.
        data: of images: ``input_size`` and the keys of :data:`DATA`, where they are known.
    """

    file: str
    architecture: str
    arguments: dict = field(default_factory=dict)
    data: dict = field(default_factory=dict)


def read(folder: str | Path) -> Card | None:
    """The card of a folder; None where its ``config.json`` is absent or not of timm's format.

    Raises:
        StudyError: a card with arguments or values that are not understood.
    """
    file = Path(folder, "config.json")
    try:
        said = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(said, dict) or not isinstance(said.get("architecture"), str):
        return None
    arguments, data = said.get("model_args") or {}, said.get("pretrained_cfg") or {}
    if not isinstance(arguments, dict) or not isinstance(data, dict):
        raise StudyError(f"'{file}': model_args and pretrained_cfg must be settings by name")
    arguments = {k: v for k, v in arguments.items() if k not in _NO_MATTER}
    if unknown := sorted(set(arguments) - ARGUMENTS):
        raise StudyError(
            f"'{file}': what these model_args make of a ViT is not known here: {some(unknown)}"
        )
    for key in _WHOLE:
        if key in arguments:
            arguments[key] = _whole(file, key, arguments[key])
    if isinstance(said.get("num_classes"), int):
        arguments.setdefault("num_classes", said["num_classes"])
    given = {key: data[key] for key in DATA if data.get(key) is not None}
    for key in ("mean", "std"):
        if key in given:
            given[key] = triple(file, key, given[key])
    for key in ("interpolation", "crop_mode"):
        if not isinstance(given.get(key, ""), str):
            raise StudyError(f"'{file}': {key} is {given[key]!r}, no word")
    crop = given.get("crop_pct", 1)
    if not isinstance(crop, int | float) or not 0 < crop <= 1:
        raise StudyError(f"'{file}': crop_pct is {crop!r}, no share of an image")
    if data.get("input_size") is not None:
        size = data["input_size"]
        if not isinstance(size, list) or len(size) != 3 or size[0] != 3:
            raise StudyError(f"'{file}': input_size is {size!r}, not 3 colours, rows and columns")
        given["input_size"] = _whole(file, "input_size", size[1:])
    return Card(str(file), said["architecture"].partition(".")[0], arguments, DATA | given)


def _whole(file: Path, key: str, value: object) -> int:
    if isinstance(value, list) and len(set(map(str, value))) == 1:
        value = value[0]  # rows and columns alike
    least = 0 if key in ("num_classes", "reg_tokens") else 1
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise StudyError(f"'{file}': {key} is {value!r}, no whole number (of a square)")
    return value


def triple(file: Path, key: str, value: object) -> tuple[float, ...]:
    numbers = value if isinstance(value, list) else []
    good = len(numbers) == 3 and all(isinstance(x, int | float) for x in numbers)
    if not good or (key == "std" and min(numbers) <= 0):
        raise StudyError(f"'{file}': {key} is {value!r}, no three numbers for the colours")
    return tuple(float(x) for x in numbers)
