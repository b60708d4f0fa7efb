"""Linear heads that others have published: where their files are, and whether they fit.

Those of DINOv2 (https://arxiv.org/abs/2304.07193, dinov2/hub/classifiers.py) are the heads of
Table 4 of the main paper.
"""

import json
import os
import urllib.error
import urllib.request
from pathlib import Path

import torch
from torch import Tensor

from tokenscope.errors import StudyError
from tokenscope.jobs.network import why
from tokenscope.stores.receipts import read_receipt, sha256_file, write_text
from tokenscope.tables.names import parts_of

ONE_LAYER, SEVERAL = "cls+patch_mean", "cls_blocks+patch_mean"


def locate(head: dict, folder: str | None, cache: str, download: bool) -> tuple[Path, str]:
    """The file of a head and where it was found: its row, the folder, the cache, or the network.

    A file from the network is kept in ``cache`` with a note of its checksum. Where the publisher
    gives none (DINOv2 does not), the first download is trusted, and later ones must equal it.

    Raises:
        StudyError: no file anywhere, or one that is not what the table or the note says.
    """
    source = head["source"]
    name, remote = source.rsplit("/", 1)[-1], source.startswith(("https://", "http://"))
    if not remote:
        file, origin = Path(source), "row"
    elif folder and Path(folder, name).is_file():
        file, origin = Path(folder, name), "folder"
    else:
        file, origin = Path(cache, "heads", name), "cache"
        if not file.is_file():
            if not download:
                raise StudyError(
                    f"{head['key']}: no head {name}: heads: released: download is false. Put it at "
                    f"{Path(folder or cache + '/heads', name)}, from {source}"
                )
            _fetch(head["key"], source, file)
            origin = "network"
    if not file.is_file():
        raise StudyError(f"{head['key']}: the head {file} does not exist (column 'source')")
    checksum, note = sha256_file(file), file.with_suffix(".json")
    first = read_receipt(note).get("sha256", "") if note.is_file() else ""
    for wanted, whose in ((head["sha256"], "the table of heads"), (first, str(note))):
        if wanted and checksum != wanted:
            raise StudyError(
                f"{head['key']}: {file} has the checksum {checksum[:16]}..., {whose} says "
                f"{wanted[:16]}...: delete the file to obtain it again"
            )
    if origin == "network":
        write_text(note, json.dumps({"source": source, "sha256": checksum}, indent=1))
    return file, origin


def _fetch(key: str, source: str, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    aside = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        with urllib.request.urlopen(source, timeout=60) as answer, open(aside, "wb") as out:
            size = int(answer.headers.get("Content-Length", 0))
            while piece := answer.read(1 << 20):
                out.write(piece)
        if size and aside.stat().st_size != size:
            raise OSError(f"{aside.stat().st_size} of {size} bytes arrived")
        os.replace(aside, file)
    except (urllib.error.URLError, OSError, ValueError) as error:
        aside.unlink(missing_ok=True)
        reason = why(error, "its server", file.parent)
        raise StudyError(
            f"{key}: {source} cannot be downloaded: {reason}. Put the file at {file}, or "
            "into the folder of heads: released: folder"
        ) from None


def check_head(head: dict, file: str | Path, width: int) -> None:
    """Raise a StudyError unless the file holds a head of this layout for features of ``width``."""
    weights = _state(file)["weight"]
    wanted = (1 + head["layers"]) * width
    if weights.shape[1] != wanted:
        raise StudyError(
            f"{head['key']}: the head {file} takes {weights.shape[1]} features, the backbone gives "
            f"{wanted} ({1 + head['layers']} x {width}, {head['layers']} layers): it belongs to "
            "another backbone or has another number of layers"
        )


def open_head(card: dict, features) -> tuple[Tensor, str]:
    """Weights (D + 1, class), the bias last, and the feature set that they take.

    The input of DINOv2's heads is the CLS token of the last block, or of the last four from the
    earlier to the later, and the mean patch token of the last (dinov2/hub/classifiers.py).

    Raises:
        StudyError: the file has changed since its card, or does not fit the features or labels.
    """
    file = card["file"]
    if not Path(file).is_file() or sha256_file(file) != card["sha256"]:
        raise StudyError(f"{card['name']}: the head {file} is gone or has changed; delete its card")
    state = _state(file)
    inputs = ONE_LAYER if card["layers"] == 1 else SEVERAL
    if not features.sets((inputs,)):
        raise StudyError(f"{card['name']}: the features have no '{inputs}' for a released head")
    weights = torch.cat([state["weight"].float().T, state["bias"].float()[None]])
    width = sum(features.parts[part].shape[1] for part in parts_of(inputs))
    if weights.shape[0] != width + 1:
        raise StudyError(
            f"{card['name']}: the head {file} takes {weights.shape[0] - 1} features, the backbone "
            f"gives {width}"
        )
    if int(features.labels.max()) >= weights.shape[1]:
        raise StudyError(
            f"{card['name']}: the head knows {weights.shape[1]} classes, the test set has labels "
            f"up to {int(features.labels.max())}"
        )
    return weights, inputs


def _state(file: str | Path) -> dict[str, Tensor]:
    """``weight`` (class, D) and ``bias`` (class) of a state dict or safetensors file."""
    try:
        if str(file).endswith(".safetensors"):
            from safetensors.torch import load_file

            state = load_file(file)
        else:
            state = torch.load(file, map_location="cpu", weights_only=True)
        # Files differ in what the layer is called: weight, linear.weight, classifier.weight.
        named = {key.rsplit(".", 1)[-1]: value for key, value in state.items()}
        weight, bias = named["weight"], named["bias"]
        if len(named) != len(state) or weight.ndim != 2 or bias.shape != weight.shape[:1]:
            raise ValueError(f"its tensors are {', '.join(state)}")
        for tensor in (weight, bias):
            if not tensor.is_floating_point() or not torch.isfinite(tensor.float()).all():
                raise ValueError("its numbers are not finite, or no floating-point numbers")
        return {"weight": weight, "bias": bias}
    except Exception as error:
        first = str(error).splitlines()[0][:200]
        raise StudyError(f"{file}: cannot be read as one linear layer ({first})") from None
