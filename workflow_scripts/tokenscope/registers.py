"""Registers for a ViT that has none: tokens after CLS, without a position."""

import torch
from torch import nn

from tokenscope.errors import StudyError


@torch.no_grad()
def add_registers(model: nn.Module, registers: int) -> nn.Module:
    """Insert ``registers`` zero tokens after CLS, in place; weights are kept.

    A position embedding that CLS had is added to the CLS token itself, as timm does it for models
    with registers, so that the patches' embedding can still be resampled to other sizes.
    """
    if registers == 0:
        return model
    if getattr(model, "reg_token", None) is not None or not hasattr(model, "no_embed_class"):
        raise StudyError(f"{type(model).__name__}: registers cannot be added to this model")
    prefix = model.num_prefix_tokens
    if model.pos_embed is not None and not model.no_embed_class:
        if prefix:
            model.cls_token += model.pos_embed[:, :prefix]
            model.pos_embed = nn.Parameter(model.pos_embed[:, prefix:].clone())
        model.no_embed_class = True
    like = model.patch_embed.proj.weight
    model.reg_token = nn.Parameter(torch.zeros(1, registers, model.embed_dim).to(like))
    model.num_reg_tokens = registers
    for module in model.modules():
        if hasattr(module, "num_prefix_tokens"):
            module.num_prefix_tokens += registers
    return model
