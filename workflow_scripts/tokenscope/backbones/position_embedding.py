"""Position-embedding interpolation: a backbone at sizes other than the one it was trained at.

Embeddings are always resampled from the trained ones, never from a resampled copy: as timm does it,
or as the code of DINOv2 does it (Oquab et al., https://arxiv.org/abs/2304.07193).
"""

import math

import torch
from torch import nn

from tokenscope.errors import StudyError


class AnySize:
    """Sets a timm VisionTransformer or Eva to one input size after another.

    Args:
        model: at the size it was trained at.
    """

    def __init__(self, model: nn.Module):
        self.model = model
        self.size = model.patch_embed.img_size
        self.position = model.pos_embed
        self.dynamic = getattr(model, "dynamic_img_size", False)

    def set(self, height: int, width: int) -> None:
        """Prepare for inputs of this many pixels, multiples of the patch."""
        model = self.model
        if self.dynamic or model.patch_embed.img_size == (height, width):
            return
        model.patch_embed.set_input_size(img_size=self.size)
        model.pos_embed = self.position
        model.set_input_size(img_size=(height, width))


@torch.no_grad()
def resample_as_dinov2(model: nn.Module, learned: torch.Tensor, name: str) -> None:
    """Position embedding of ``model`` from the ``learned`` one, as DINOv2 without registers has it.

    Its code scales by (grid + 0.1) / learned grid, bicubic without antialiasing
    (dinov2/models/vision_transformer.py); timm resamples to the exact size with antialiasing. With
    registers both do the same.

    Args:
        learned: (1, 1 + M^2, D), the CLS token's first.
    """
    rows, columns = model.patch_embed.grid_size
    side = math.isqrt(learned.shape[1] - 1)
    if model.no_embed_class or side**2 != learned.shape[1] - 1:
        raise StudyError(
            f"{name}: the view resize256-official is for DINOv2 without registers, whose position "
            f"embedding holds the CLS token and a square grid; this one has {learned.shape[1]}"
        )
    grid = learned[:, 1:].unflatten(1, (side, side)).permute(0, 3, 1, 2)
    scale = ((rows + 0.1) / side, (columns + 0.1) / side)
    grid = nn.functional.interpolate(grid, scale_factor=scale, mode="bicubic")
    if grid.shape[2:] != (rows, columns):
        raise StudyError(f"{name}: resampling gave a grid of {tuple(grid.shape[2:])}")
    model.pos_embed.copy_(torch.cat([learned[:, :1], grid.permute(0, 2, 3, 1).flatten(1, 2)], 1))
