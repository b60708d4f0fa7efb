"""Open a backbone: architecture from timm, weights from a file, ready for a forward pass."""

import logging
import os
import re
import warnings
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # compute jobs never ask the network for weights

import timm
import torch
from timm.models import load_state_dict
from torch import nn

from tokenscope.errors import StudyError
from tokenscope.registers import add_registers
from tokenscope.taps import refuse_unsupported

logging.getLogger("timm").setLevel(logging.ERROR)


def create(spec: dict, register_std: float = 0.02) -> nn.Module:
    """The architecture with fresh weights, at its own size, with the registers of its row."""
    model = timm.create_model(spec["timm_id"], **spec["model"])
    return add_registers(model, spec["registers"], register_std)


def open_backbone(
    spec: dict, weights: str | Path, size: int | None = None, device: str = "cpu"
) -> nn.Module:
    """A backbone with its weights, in evaluation mode, for images of ``size`` pixels.

    Weights may be a timm state dict or anything that timm's own filter for that architecture
    converts (official DINOv2, DINO, DeiT-III and OpenCLIP files among them). Away from the native
    size the position embedding is resampled as timm does it.

    Raises:
        StudyError: the file is missing or unreadable, or does not fit; the message lists the keys.
    """
    model = _load(spec, weights)
    refuse_unsupported(model, spec["name"])
    if size is not None and size != model.patch_embed.img_size[0]:
        model.set_input_size(img_size=(size, size))
    return model.eval().requires_grad_(False).to(device)


def check_weights(spec: dict, weights: str | Path) -> None:
    """Raise a StudyError unless the file fits the architecture; takes no memory for the model."""
    with torch.device("meta"):
        _load(spec, weights)


def _load(spec: dict, weights: str | Path) -> nn.Module:
    state = _read(spec, weights)
    model = create(spec)
    own = model.state_dict()
    if {k: v.shape for k, v in state.items()} == {k: v.shape for k, v in own.items()}:
        with warnings.catch_warnings():  # on the meta device nothing is copied, which is the point
            warnings.filterwarnings("ignore", message=".*no-op.*")
            model.load_state_dict(state)
        return model
    cfg = {"file": str(weights), "custom_load": False, "num_classes": model.num_classes}
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*no-op.*")
            opened = timm.create_model(
                spec["timm_id"], pretrained=True, pretrained_cfg_overlay=cfg, **spec["model"]
            )
        # timm knows no registers but the released ones; added ones must come from the file.
        if opened.num_prefix_tokens == model.num_prefix_tokens:
            return opened
        error = RuntimeError("registers are missing")
    except (RuntimeError, KeyError, ValueError, AttributeError) as refusal:
        error = refusal
    raise StudyError(_mismatch(spec, weights, state, own, error))


def _read(spec: dict, weights: str | Path) -> dict[str, torch.Tensor]:
    if not Path(weights).is_file():
        raise StudyError(
            f"{spec['name']}: the weights file {weights} does not exist; put it there, or delete "
            "the backbone's card.json and run again to obtain it anew"
        )
    try:
        return load_state_dict(str(weights))
    except Exception as error:
        # torch refuses anything but tensors here (weights_only), by an error of its own
        first = str(error).splitlines()[0][:200]
        raise StudyError(
            f"{spec['name']}: {weights} cannot be read as weights ({first}). Accepted are "
            "safetensors files and PyTorch state dicts; pickled objects are refused as unsafe"
        ) from None


def _mismatch(spec: dict, weights: str | Path, state: dict, own: dict, error: Exception) -> str:
    reasons = re.findall(r"size mismatch for (\S+): .*?(\[[\d, ]*\]).*?(\[[\d, ]*\])", str(error))
    if reasons:
        key, theirs, ours = reasons[0]
        detail = f"{len(reasons)} shapes differ, first {key}: file {theirs}, model {ours}"
    else:
        missing, extra = sorted(set(own) - set(state)), sorted(set(state) - set(own))
        detail = (
            f"{len(missing)} keys are missing from it ({', '.join(missing[:4])} ...), "
            f"{len(extra)} are unknown ({', '.join(extra[:4])} ...)"
        )
    return f"{spec['name']}: {weights} does not fit {spec['timm_id']}: {detail}"


def pick_device(wanted: str) -> str:
    """``cuda`` or ``cpu`` for a config value of ``auto``, ``cuda`` or ``cpu``."""
    available = torch.cuda.is_available()
    if wanted == "cuda" and not available:
        raise StudyError("device: cuda, but torch sees no GPU here; use device: auto or cpu")
    return "cuda" if wanted != "cpu" and available else "cpu"
