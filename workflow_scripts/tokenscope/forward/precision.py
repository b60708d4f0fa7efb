"""The one precision of forward passes: bfloat16 autocast on a GPU, float32 on a CPU."""

import torch
from torch import nn


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


def cast_once(model: nn.Module) -> nn.Module:
    """Frozen weights of linear layers and convolutions of the blocks as bfloat16, in place.

    Autocast would shorten them again in every batch; what it computes is the same to the bit. The
    head stays as it is: it runs outside of autocast. For passes on a GPU that only read the model.
    """
    for part in (model.patch_embed, model.blocks):
        for module in part.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                for parameter in module.parameters(recurse=False):
                    if not parameter.requires_grad and parameter.dtype == torch.float32:
                        parameter.data = parameter.data.bfloat16()
    return model
