"""A model folder, of timm's hub format, transformers or open_clip: what it says, its weights."""

from collections.abc import Collection
from pathlib import Path

from tokenscope.cards import open_clip_folder, timm_folder, transformers_folder
from tokenscope.cards.timm_folder import Card
from tokenscope.cards.weights_files import INDEX
from tokenscope.errors import StudyError

# Names of weights by the config that says what they are, the first that is there first. Weights of
# transformers may be cut into shards, with an index.
_HUB = ("model.safetensors", "pytorch_model.bin")
CONFIGS = {
    "config.json": (*_HUB, *(name + INDEX for name in _HUB)),
    open_clip_folder.CONFIG: ("open_clip_model.safetensors", "open_clip_pytorch_model.bin"),
}
WEIGHTS = tuple(name for names in CONFIGS.values() for name in names)
_SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".ckpt")


def config_of(weights: str | Path) -> str:
    """Name of the config that goes with a weights file."""
    name = Path(weights).name
    return next((config for config, names in CONFIGS.items() if name in names), "config.json")


def chosen(held: Collection[str]) -> tuple[str, str]:
    """Of the files of a folder or repository the config and the weights that are read.

    Either is empty where there is none; a config without weights gives way to one that has them.
    """
    found = [
        (config, next((name for name in names if name in held), ""))
        for config, names in CONFIGS.items()
        if config in held
    ]
    return next((pair for pair in found if pair[1]), found[0] if found else ("", ""))


def read(folder: str | Path) -> Card:
    """What a folder says of its model.

    Raises:
        StudyError: no config, one of a model that is not known here, or values that are none.
    """
    config, _ = chosen(_names(folder))
    if not config:
        raise StudyError(
            f"'{folder}' has no config.json or {open_clip_folder.CONFIG}: it is no model folder; "
            "name its weights file, and the architecture (ARCH=<timm id>)"
        )
    return _read(folder, config)


def _read(folder: str | Path, config: str) -> Card:
    if config == open_clip_folder.CONFIG:
        return open_clip_folder.read(folder)
    return timm_folder.read(folder) or transformers_folder.read(folder)


def beside(weights: str, timm_id: str) -> Card | None:
    """What the folder of a weights file says of it, if it is of the same architecture."""
    if not weights:
        return None
    folder, config = Path(weights).parent, config_of(weights)
    if config == open_clip_folder.CONFIG:
        card = open_clip_folder.read(folder) if (folder / config).is_file() else None
    else:
        card = timm_folder.read(folder)
        if card is None and transformers_folder.known(folder):
            card = transformers_folder.read(folder)
    same = card and card.architecture.partition(".")[0] == timm_id.partition(".")[0]
    return card if same else None


def architecture_of(weights: str) -> str:
    """Which architecture the folder of a weights file says that it is; empty where it does not."""
    folder, config = Path(weights).parent, config_of(weights)
    try:
        return _read(folder, config).architecture if (folder / config).is_file() else ""
    except StudyError:
        return ""


def weights_file(folder: str | Path) -> str:
    """The file of weights in a folder, or the index of its shards.

    Raises:
        StudyError: there is none, or there are several of no usual name.
    """
    names = _names(folder)
    if name := chosen(names)[1] or next((name for name in WEIGHTS if name in names), ""):
        return str(Path(folder, name))
    others = sorted(name for name in names if name.endswith(_SUFFIXES))
    if len(others) == 1:
        return str(Path(folder, others[0]))
    if others:
        raise StudyError(
            f"'{folder}' has several weights files ({', '.join(others[:4])}): name the one that is "
            "meant (MODEL=<file> ARCH=<timm id>)"
        )
    raise StudyError(f"'{folder}' has no weights file {', '.join(_HUB)} or {WEIGHTS[-2]}")


def _names(folder: str | Path) -> set[str]:
    return {entry.name for entry in Path(folder).iterdir() if entry.is_file()}
