"""Registers for any Vision Transformer of timm: new tokens after CLS, all weights kept.

The tokens of Darcet et al., "Vision Transformers Need Registers"
(https://arxiv.org/abs/2309.16588); they carry no position embedding (section 2). Where a model's
position embedding has an entry for CLS, that entry is added to the CLS token first, which changes
no sum.
"""

import torch
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from tokenscope.errors import StudyError
from tokenscope.forward.tokens import token_kinds

# The models whose way of putting tokens together is known here; subclasses with one of their own
# (a distillation token, several tokens) would drop registers silently.
_EMBED = (VisionTransformer._pos_embed, Eva._pos_embed)


def add_registers(model: nn.Module, count: int, std: float = 0.02) -> nn.Module:
    """Give ``model`` ``count`` registers in all, in place; with those it has, nothing is touched.

    Args:
        std: standard deviation of the truncated normal that new registers are drawn from; 0 for
            tokens of zeros.

    Returns:
        the model. Its prefix count is right in every module that keeps one.

    Raises:
        StudyError: a model whose tokens are put together in an unknown way, or that has more
            registers than ``count``.
    """
    registers = getattr(model, "reg_token", None)
    have = sum(kind.startswith("reg") for kind in token_kinds(model))
    if count == have:
        return model
    kind = type(model).__name__
    if count < have:
        raise StudyError(f"{kind} has {have} registers; they cannot be reduced to {count}")
    if why := why_none_fit(model):
        raise StudyError(why)
    _fold_prefix_positions(model)
    new = torch.zeros(1, count - have, model.embed_dim, device=next(model.parameters()).device)
    if std:
        nn.init.trunc_normal_(new, std=std)
    if registers is not None:
        new = torch.cat([model.reg_token.detach(), new], dim=1)
    model.reg_token = nn.Parameter(new)
    for module in model.modules():
        if isinstance(getattr(module, "num_prefix_tokens", None), int):
            module.num_prefix_tokens += count - have
    if hasattr(model, "num_reg_tokens"):
        model.num_reg_tokens = count
    return model


def why_none_fit(model: nn.Module) -> str:
    """Why registers cannot be added to a model, in a sentence; empty where they can."""
    if getattr(type(model), "_pos_embed", None) in _EMBED:
        return ""
    return (
        f"registers cannot be added to a {type(model).__name__}: it puts its tokens together in a "
        "way of its own; timm's VisionTransformer and Eva models can have them"
    )


@torch.no_grad()
def _fold_prefix_positions(model: nn.Module) -> None:
    """Move the positions of CLS and registers into these tokens; the model computes the same."""
    if model.pos_embed is not None and not model.no_embed_class:
        prefix, has_cls = model.num_prefix_tokens, model.cls_token is not None
        positions = model.pos_embed.detach()
        if has_cls:
            model.cls_token.add_(positions[:, :1])
        if model.reg_token is not None:
            model.reg_token.add_(positions[:, has_cls:prefix])
        trained = model.pos_embed.requires_grad
        model.pos_embed = nn.Parameter(positions[:, prefix:].clone(), requires_grad=trained)
    model.no_embed_class = True


def freeze(model: nn.Module, blocks: int) -> int:
    """Freeze the patch embedding and the first ``blocks`` blocks; 0 freezes nothing (tmlr-4353).

    Returns:
        number of parameters that are still trained.
    """
    if blocks > len(model.blocks):
        raise StudyError(f"frozen_blocks: {blocks}, the model has {len(model.blocks)} blocks")
    if blocks:
        for part in (model.patch_embed, *model.blocks[:blocks]):
            part.requires_grad_(False)
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
