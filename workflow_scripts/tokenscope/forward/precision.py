"""The one precision of forward passes: bfloat16 autocast on a GPU, float32 on a CPU."""

import torch


def autocast(device: str | torch.device) -> torch.autocast:
    """The context in which a backbone runs on ``device`` (``cuda``, ``cuda:1``, ``cpu``)."""
    kind = torch.device(device).type
    return torch.autocast(kind, torch.bfloat16, enabled=kind == "cuda")


def exact(device: str | torch.device) -> torch.autocast:
    """Within :func:`autocast`, where sums and scores keep float32: bfloat16 holds 8 bits alone."""
    return torch.autocast(torch.device(device).type, enabled=False)


def precision_name(device: str | torch.device) -> str:
    """What receipts and stores say of :func:`autocast`."""
    return "bfloat16 autocast" if torch.device(device).type == "cuda" else "float32"
