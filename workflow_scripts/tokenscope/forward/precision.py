"""The one precision of forward passes: bfloat16 autocast on a GPU, float32 on a CPU."""

import torch


def autocast(device: str | torch.device) -> torch.autocast:
    """The context in which a backbone runs on ``device`` (``cuda``, ``cuda:1``, ``cpu``)."""
    kind = torch.device(device).type
    return torch.autocast(kind, torch.bfloat16, enabled=kind == "cuda")


def precision_name(device: str | torch.device) -> str:
    """What receipts and stores say of :func:`autocast`."""
    return "bfloat16 autocast" if torch.device(device).type == "cuda" else "float32"
