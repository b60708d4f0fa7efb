"""Images at their own size: padded to whole patches, grouped, and a backbone that takes them.

Padding is at the right and below, with zeros after standardisation (the mean colour), as LOST does
it. Position embeddings are always resampled from the trained ones, never from a resampled copy.
"""

import numpy as np
import torch
from torch import Tensor, nn

from tokenscope.backbones.hooks import normalise


def padded(height: int, width: int, patch: int) -> tuple[int, int]:
    """Height and width rounded up to whole patches."""
    return -(-height // patch) * patch, -(-width // patch) * patch


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


def batch(images: list[np.ndarray], size: tuple[int, int], mean: Tensor, std: Tensor) -> Tensor:
    """uint8 images (row, column, 3) of any sizes up to ``size`` as one padded, standardised batch.

    Returns:
        (image, 3, row, column) float32 on the device of ``mean``.
    """
    pixels = np.zeros((len(images), *size, 3), np.uint8)
    inside = np.zeros((len(images), 1, *size), bool)
    for i, image in enumerate(images):
        height, width = image.shape[:2]
        pixels[i, :height, :width] = image
        inside[i, :, :height, :width] = True
    x = normalise(torch.from_numpy(pixels).to(mean.device), mean, std)
    return x * torch.from_numpy(inside).to(mean.device)
