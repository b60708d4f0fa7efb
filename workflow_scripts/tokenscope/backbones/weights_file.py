"""Weights as a file holds them: which of several, each once, and every number finite.

What a file says is taken at its word nowhere: weights that were cast, quantised or have broken give
results that look like any other's.
"""

from pathlib import Path

import torch
from timm.models import load_state_dict
from timm.models._helpers import _torch_load
from torch import Tensor

from tokenscope.cards import weights_files
from tokenscope.errors import StudyError, some
from tokenscope.jobs.job import log

# Under which names training code keeps weights, the most telling first: averages over the training
# are what is meant to be used, and what timm takes.
CONTAINERS = ("state_dict_ema", "model_ema", "state_dict", "model", "teacher")
# DINO and DINOv2 publish and evaluate the teacher; of other pairs of networks there is no first.
AMBIGUOUS = ("student", "online", "target", "encoder_q", "encoder_k")
# Below which a training keeps a backbone among other parts, averages before what is trained.
PARTS = (
    "teacher.backbone.", "teacher.", "model_ema.module.", "model_ema.", "ema_model.", "ema.",
    "model.backbone.", "backbone.",
)  # fmt: skip
_FIRST = "patch_embed.proj.weight"  # every ViT of timm, and of DINO and DINOv2, has it
WRAPPERS = ("_orig_mod.", "module.", "_orig_mod.")  # of torch.compile and of DDP


def read_weights(name: str, file: str | Path) -> dict[str, Tensor]:
    """Tensors by name, of one network, without the wrappers of training code.

    Args:
        name: of the backbone, for messages. file: one of weights, or the index of shards.

    Raises:
        StudyError: no such file, a shard that is missing or lacks weights, none that can be read
            safely, two networks that are both meant or two weights of one name, numbers that are
            not finite or no floating point.
    """
    path = Path(file)
    if not path.is_file():
        raise StudyError(
            f"{name}: the weights file {file} does not exist or is no regular file; put it there, "
            "or delete the backbone's card.json and run again to obtain it anew"
        )
    try:
        weights_files.check(path)
        shards = weights_files.shards(path) if weights_files.is_index(path) else None
    except StudyError as error:
        raise StudyError(f"{name}: {error}") from None
    content = _content(path, name) if shards is None else _joined(path, shards, name)
    state = _part(_unwrapped(_one_of(content, name, file), name, file), name, file)
    state = {key: value for key, value in state.items() if isinstance(value, Tensor)}
    check_numbers(state, name, file)
    return state


def _content(path: Path, name: str) -> object:
    try:
        if path.suffix == ".safetensors":
            return load_state_dict(str(path))
        return _torch_load(str(path))  # timm's: tensors alone, and settings of its own trainings
    except Exception as error:
        # torch refuses anything but tensors here (weights_only), by an error of its own
        first = (str(error).splitlines() or [type(error).__name__])[0][:200]
        if "weights_only" in first:
            first = "it holds pickled objects, which are refused as unsafe"
        raise StudyError(
            f"{name}: {path} cannot be read as weights ({first}). Accepted are safetensors files "
            "and PyTorch state dicts, as torch.save(model.state_dict(), file) writes them"
        ) from None


def _joined(index: Path, shards: dict[str, list[str]], name: str) -> dict:
    """The weights of all shards, each of which must hold what its index says."""
    whole: dict = {}
    for shard, named in shards.items():
        path = index.with_name(shard)
        held = _content(path, name)
        content = held if isinstance(held, dict) else {}
        lacking = [key for key in named if key not in content]
        if lacking:
            raise StudyError(
                f"{name}: {path} lacks {len(lacking)} weights that {index.name} says are in it "
                f"({some(lacking, 3)}): the shards are of different weights"
            )
        for key in content:
            put(whole, key, content[key], f"{name}: {index}")
    return whole


def _one_of(content: object, name: str, file: str | Path) -> dict:
    """The state dict, out of what training code keeps beside it."""
    if not isinstance(content, dict):
        raise StudyError(f"{name}: {file} holds no weights by name but a {type(content).__name__}")
    held = [key for key in CONTAINERS if isinstance(content.get(key), dict) and content[key]]
    if held:
        more = [key for key in AMBIGUOUS if isinstance(content.get(key), dict)]
        if len(held + more) > 1 or held[0] == "teacher":
            log.info("%s: %s holds weights as %s: '%s' are taken", name, file, held + more, held[0])
        return content[held[0]]
    pair = [key for key in AMBIGUOUS if isinstance(content.get(key), dict)]
    if pair:
        raise StudyError(
            f"{name}: {file} holds the networks {', '.join(pair)}: save the one that is meant as a "
            "file of its own"
        )
    return content


def _unwrapped(state: dict, name: str, file: str | Path) -> dict:
    """The same without the prefixes of wrappers."""
    bare: dict = {}
    for key, value in state.items():
        plain = str(key)
        for wrapper in WRAPPERS:
            plain = plain.removeprefix(wrapper)
        put(bare, plain, value, f"{name}: {file}")
    return bare


def _part(state: dict, name: str, file: str | Path) -> dict:
    """The backbone alone, where it is one of several parts; says which was taken."""
    found = [part for part in PARTS if part + _FIRST in state]
    if not found or _FIRST in state:
        return state
    part = {k.removeprefix(found[0]): v for k, v in state.items() if k.startswith(found[0])}
    log.info(
        "%s: of %s the %d weights below '%s' are taken, %d others are left out", name, file,
        len(part), found[0].rstrip("."), len(state) - len(part),
    )  # fmt: skip
    return part


def put(state: dict, key: str, value: object, where: str) -> None:
    """Add a weight. Raises StudyError where another one has the same name already."""
    if key in state and not _same(state[key], value):
        raise StudyError(
            f"{where} holds '{key}' twice, under two names and with other numbers: save the "
            "weights that are meant alone"
        )
    state[key] = value


def _same(a: object, b: object) -> bool:
    if not (isinstance(a, Tensor) and isinstance(b, Tensor)):
        return a is b
    return a.shape == b.shape and a.dtype == b.dtype and torch.equal(a, b)


def check_numbers(state: dict[str, Tensor], name: str, file: str | Path) -> None:
    """Raise a StudyError unless all weights are finite floating-point numbers in float32, too.

    Integers may only be buffers of no more than an index (``num_batches_tracked``,
    ``relative_position_index``), never what a layer multiplies with.
    """
    other = [key for key, value in state.items() if _cast(key, value)]
    if other:
        kinds = sorted({str(state[key].dtype).removeprefix("torch.") for key in other})
        raise StudyError(
            f"{name}: {file} holds {', '.join(kinds)} where weights are floating-point numbers "
            f"({some(other, 3)}): quantised weights have scales of their own; save them as float32"
        )
    if broken := [key for key, value in state.items() if not _finite(value)]:
        raise StudyError(
            f"{name}: {file} holds numbers that are not finite (NaN or infinite, or too large for "
            f"float32) in {len(broken)} of {len(state)} weights: {some(broken, 3)}"
        )


def _cast(key: str, value: Tensor) -> bool:
    if value.dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        return False
    index = not (value.is_floating_point() or value.is_complex())
    return not (index and key.rpartition(".")[2] not in ("weight", "bias", "gamma", "pos_embed",
                "cls_token", "reg_token", "register_tokens", "class_embedding"))  # fmt: skip


def _finite(value: Tensor) -> bool:
    if not value.is_floating_point() or not value.numel():
        return True
    low, high = torch.aminmax(value)  # NaN wins
    return bool(torch.isfinite(low.float()) and torch.isfinite(high.float()))
