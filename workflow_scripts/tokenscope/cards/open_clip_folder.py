"""A folder as open_clip saves it for the hub: ``open_clip_config.json``, and weights beside it.

Of its two towers the one of images is read: open_clip's own Vision Transformer (open_clip/model.py,
``CLIPVisionCfg``), or one of timm's (``timm_model_name``). What ``model_cfg`` says becomes the
arguments of timm's architecture, ``preprocess_cfg`` says how images go in. What no ViT of timm
computes (pooling by several queries as in CoCa, convolutions, other attention) is refused. No torch
and no timm is needed.
"""

from pathlib import Path

from tokenscope.cards.preprocessor_config import settings
from tokenscope.cards.timm_folder import Card, triple
from tokenscope.cards.transformers_folder import TWINS
from tokenscope.errors import StudyError, some

CONFIG = "open_clip_config.json"
# What open_clip takes where a config is silent (open_clip/model.py, transform.py, constants.py).
_TOWER = {"layers": 12, "width": 768, "head_width": 64, "mlp_ratio": 4.0, "patch_size": 16,
          "image_size": 224}  # fmt: skip
_IMAGES = {
    "mean": [0.48145466, 0.4578275, 0.40821073], "std": [0.26862954, 0.26130258, 0.27577711],
    "interpolation": "bicubic", "resize_mode": "shortest",
}  # fmt: skip
_CROPS = {"shortest": "center", "squash": "squash"}
# They count in training alone, in the tower of texts, or say nothing of what is computed.
_NO_MATTER = {"patch_dropout", "output_tokens", "pos_embed_type", "timm_drop", "timm_drop_path",
              "timm_model_pretrained", "timm_proj_bias", "attn_pooler_queries",
              "attn_pooler_heads"}  # fmt: skip
_KNOWN = {*_TOWER, "ls_init_value", "no_ln_pre", "final_ln_after_pool", "pool_type", "act_kwargs",
          "norm_kwargs", "timm_model_name", "timm_pool", "timm_proj"}  # fmt: skip


def read(folder: str | Path) -> Card:
    """What a folder says of its tower of images, as a card of timm's.

    Raises:
        StudyError: no config, a tower that timm has no twin of, or values that are none.
    """
    file = Path(folder, CONFIG)
    said = settings(file)
    model = said.get("model_cfg")
    model = model if isinstance(model, dict) else {}
    vision = model.get("vision_cfg")
    if not isinstance(vision, dict):
        raise StudyError(f"'{file}' has no model_cfg with a vision_cfg: no tower of images")
    other = set(vision) - _KNOWN - _NO_MATTER
    strange = sorted(key for key in other if vision[key] not in (None, False, "", "default"))
    if strange:
        raise StudyError(
            f"'{file}': its tower of images is none of timm's: {some(strange)} in vision_cfg has "
            "no equal there, so that its tokens cannot be read exactly"
        )
    if name := vision.get("timm_model_name"):
        architecture, arguments = _of_timm(file, name, vision)
    else:
        architecture, arguments = _own(file, vision, bool(model.get("quick_gelu")))
    size = arguments.get("img_size")
    data = {**({"input_size": size} if size else {}), **_images(file, said.get("preprocess_cfg"))}
    return Card(str(file), architecture, {**arguments, "num_classes": 0}, data)


def _own(file: Path, vision: dict, quick: bool) -> tuple[str, dict]:
    if isinstance(vision.get("layers"), list):
        raise StudyError(f"'{file}': its tower of images is a ResNet, not a Vision Transformer")
    facts = {key: _number(file, key, vision.get(key, usual)) for key, usual in _TOWER.items()}
    if facts["width"] % facts["head_width"]:
        raise StudyError(
            f"'{file}': width {facts['width']} cannot be cut into heads of {facts['head_width']}"
        )
    arguments = {
        "img_size": facts["image_size"], "patch_size": facts["patch_size"],
        "embed_dim": facts["width"], "depth": facts["layers"],
        "num_heads": facts["width"] // facts["head_width"], "mlp_ratio": facts["mlp_ratio"],
        "act_layer": _activation(file, vision.get("act_kwargs"), quick),
        "norm_eps": _epsilon(file, vision.get("norm_kwargs")),
        "pre_norm": not vision.get("no_ln_pre", False), **_pooling(file, vision),
    }  # fmt: skip
    if vision.get("ls_init_value") is not None:
        arguments["init_values"] = vision["ls_init_value"]
    shape = facts["width"], facts["layers"], facts["patch_size"]
    known = TWINS["clip"]
    twin = known.get(shape, next(iter(known.values())))
    return twin.format(*(("quickgelu_", "openai") if quick else ("", "laion2b"))), arguments


def _pooling(file: Path, vision: dict) -> dict:
    pool = vision.get("pool_type", "tok")
    if pool == "tok":  # norm and choice of CLS may change places
        return {}
    if pool == "avg":
        return {"global_pool": "avg", "fc_norm": bool(vision.get("final_ln_after_pool"))}
    raise StudyError(f"'{file}': pool_type is {pool!r}, neither 'tok' nor 'avg'")


def _activation(file: Path, said: object, quick: bool) -> str:
    if not said:
        return "quick_gelu" if quick else "gelu"
    if said == {"approximate": "tanh"} and not quick:
        return "gelu_tanh"
    raise StudyError(f"'{file}': act_kwargs is {said!r}, only {{'approximate': 'tanh'}} is known")


def _epsilon(file: Path, said: object) -> float:
    if not said:
        return 1e-5
    if not isinstance(said, dict) or set(said) != {"eps"}:
        raise StudyError(f"'{file}': norm_kwargs is {said!r}, only eps is known")
    return _number(file, "eps", said["eps"])


def _of_timm(file: Path, name: object, vision: dict) -> tuple[str, dict]:
    if not isinstance(name, str):
        raise StudyError(f"'{file}': timm_model_name is {name!r}, no name")
    arguments: dict = {}
    if vision.get("image_size") is not None:
        arguments["img_size"] = _number(file, "image_size", vision["image_size"])
    pool = vision.get("timm_pool", "avg")
    if pool not in ("", "avg", "token", "map"):
        raise StudyError(
            f"'{file}': timm_pool is {pool!r}, which pools a map of a convolutional network"
        )
    if pool and vision.get("timm_proj", "linear") in ("linear", "mlp"):
        arguments["pool"] = pool  # set when the model is there: its norms stay as they are
    elif pool:
        arguments["global_pool"] = pool
    return name.removeprefix("hf-hub:timm/"), arguments


def _images(file: Path, said: object) -> dict:
    """Colours, resizing and crop; the size is the tower's."""
    given = said if isinstance(said, dict) else {}
    found = {key: given.get(key) or usual for key, usual in _IMAGES.items()}
    for key in ("mean", "std"):
        value = found[key] if isinstance(found[key], list) else [found[key]] * 3
        found[key] = triple(file, key, value)
    if found["resize_mode"] not in _CROPS:
        raise StudyError(
            f"'{file}': resize_mode is {found['resize_mode']!r}; an image is seen as "
            f"{' or '.join(_CROPS)} here"
        )
    if found["interpolation"] == "random":  # that of training; open_clip evaluates with bicubic
        found["interpolation"] = "bicubic"
    if found["interpolation"] not in ("bicubic", "bilinear"):
        raise StudyError(f"'{file}': interpolation is {found['interpolation']!r}")
    return {
        "mean": found["mean"], "std": found["std"], "interpolation": found["interpolation"],
        "crop_pct": 1.0, "crop_mode": _CROPS[found["resize_mode"]],
    }  # fmt: skip


def _number(file: Path, key: str, value: object):
    """A positive number; whole where open_clip's usual one is."""
    if isinstance(value, list) and len(value) == 2 and value[0] == value[1]:
        value = value[0]  # rows and columns alike
    kinds = int if isinstance(_TOWER.get(key), int) or key == "image_size" else int | float
    if not isinstance(value, kinds) or isinstance(value, bool) or not 0 < value < 1e9:
        raise StudyError(f"'{file}': {key} is {value!r}, no {'whole ' * (kinds is int)}number")
    return value
