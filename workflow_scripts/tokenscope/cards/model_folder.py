"""A model folder, of timm's hub format or of transformers: what it says, and its weights file."""

from pathlib import Path

from tokenscope.cards import timm_folder, transformers_folder
from tokenscope.cards.timm_folder import Card
from tokenscope.errors import StudyError

WEIGHTS = ("model.safetensors", "pytorch_model.bin")


def read(folder: str | Path) -> Card:
    """What a folder says of its model.

    Raises:
        StudyError: no config, one of a model that is not known here, or values that are none.
    """
    return timm_folder.read(folder) or transformers_folder.read(folder)


def beside(weights: str, timm_id: str) -> Card | None:
    """What the folder of a weights file says of it, if it is of the same architecture."""
    if not weights:
        return None
    folder = Path(weights).parent
    card = timm_folder.read(folder)
    if card is None and transformers_folder.known(folder):
        card = transformers_folder.read(folder)
    same = card and card.architecture.partition(".")[0] == timm_id.partition(".")[0]
    return card if same else None


def weights_file(folder: str | Path) -> str:
    """The single file of weights in a folder; a StudyError where there is none."""
    folder = Path(folder)
    for name in WEIGHTS:
        if (folder / name).is_file():
            return str(folder / name)
        if (folder / f"{name}.index.json").is_file():
            raise StudyError(f"'{folder}': its weights are cut into parts; save them as one {name}")
    raise StudyError(f"'{folder}' has no weights file {' or '.join(WEIGHTS)}")
