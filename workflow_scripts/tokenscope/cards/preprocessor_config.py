"""``preprocessor_config.json`` of transformers: how images go into a model.

No torch is needed to read it.
"""

import json
from pathlib import Path
from typing import Any

from tokenscope.errors import StudyError

_RESAMPLING = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}  # PIL's numbers


def settings(file: Path) -> dict:
    """A JSON file's settings by name. Raises StudyError where it is none."""
    if not file.is_file():
        raise StudyError(f"'{file.parent}' has no {file.name}: it is no Hugging Face model folder")
    try:
        said = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise StudyError(f"'{file}' is no JSON ({error})") from None
    if not isinstance(said, dict):
        raise StudyError(f"'{file}' holds no settings but a {type(said).__name__}")
    return said


def geometry(folder: str | Path) -> dict:
    """Which part of a photograph is seen, and how it is resized; what is not said is left out."""
    file = Path(folder, "preprocessor_config.json")
    said = settings(file) if file.is_file() else {}
    size, crop = said.get("size"), said.get("crop_size")
    if isinstance(crop, dict):
        crop = crop.get("height")
    found: dict = {}
    if (way := said.get("resample")) in _RESAMPLING and not isinstance(way, bool):
        found["interpolation"] = _RESAMPLING[way]
    shortest = size.get("shortest_edge") if isinstance(size, dict) else None
    if isinstance(shortest, int) and isinstance(crop, int) and said.get("do_center_crop", True):
        if 0 < crop <= shortest:
            found |= {"crop_pct": crop / shortest, "crop_mode": "center"}
    elif isinstance(size, dict) and "height" in size and not said.get("do_center_crop"):
        found |= {"crop_pct": 1.0, "crop_mode": "squash"}
    return found


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
    said = settings(file)
    keys = ("image_mean", "image_std", "do_rescale", "do_normalize", "rescale_factor")
    given = {key: said[key] for key in keys if said.get(key) is not None}
    for key in ("do_rescale", "do_normalize"):
        if not isinstance(given.get(key, True), bool):
            raise StudyError(f"'{file}': {key} is {given[key]!r}, not true or false")
    normalised, rescaled = given.get("do_normalize", True), given.get("do_rescale", True)
    factor = _numbers(file, "rescale_factor", given.get("rescale_factor", 1 / 255), 1)[0]
    scale = 255 * factor if rescaled else 255.0
    exact = abs(scale - 1) < 1e-6  # 1/255 is written with few digits
    wanted = {"mean": given.get("image_mean"), "std": given.get("image_std")}
    if not normalised:
        wanted = {"mean": 0.0, "std": 1.0}
    elif not exact and None in wanted.values():
        raise StudyError(f"'{file}': rescales, but does not say both image_mean and image_std")
    values = {
        key: _numbers(file, f"image_{key}", value, 3)
        for key, value in wanted.items()
        if value is not None  # what timm says of the architecture holds
    }
    if min([factor, *values.get("std", [1.0])]) <= 0:
        raise StudyError(f"'{file}': image_std and rescale_factor must be above 0")
    scale = 1.0 if exact else scale
    return {key: (a / scale, b / scale, c / scale) for key, (a, b, c) in values.items()}


def _numbers(file: Path, key: str, value: Any, count: int) -> list[float]:
    values = value if isinstance(value, list) else [value] * count
    good = all(
        isinstance(v, int | float) and not isinstance(v, bool) and abs(v) < 1e30 for v in values
    )
    if len(values) != count or not good:
        raise StudyError(f"'{file}': {key} is {value!r}, not {count} finite number(s)")
    return [float(v) for v in values]
