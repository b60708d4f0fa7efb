"""Claim 3's measure: how alike a patch embedding and its neighbours are (protocol: redundancy).

As in Darcet et al., "Vision Transformers Need Registers" (https://arxiv.org/abs/2309.16588).
"""

import torch
import torch.nn.functional as F
from torch import Tensor

NEIGHBOURS = ("up", "right", "down", "left")


def neighbour_cosine(patches: Tensor, grid: tuple[int, int]) -> Tensor:
    """Cosine similarity of each patch embedding with its neighbours; NaN where there is none.

    Args:
        patches: (batch, patch, feature), right after the patch embedding, without position.
        grid: rows and columns of the patch grid; rows do not wrap.

    Returns:
        (batch, patch, 4) in the order of :data:`NEIGHBOURS`, float32.
    """
    rows, columns = grid
    x = F.normalize(patches.float(), dim=-1).unflatten(1, grid)
    out = x.new_full((x.shape[0], rows, columns, 4), torch.nan)
    vertical = (x[:, 1:] * x[:, :-1]).sum(-1).clamp(-1, 1)
    horizontal = (x[:, :, 1:] * x[:, :, :-1]).sum(-1).clamp(-1, 1)
    out[:, 1:, :, 0], out[:, :-1, :, 2] = vertical, vertical
    out[:, :, :-1, 1], out[:, :, 1:, 3] = horizontal, horizontal
    return out.flatten(1, 2)
