"""Pixels as a backbone takes them: standardised, padded to whole patches, in batches.

Padding is at the right and below, with zeros after standardisation (the mean colour), as LOST does
it.
"""

import numpy as np
import torch
from torch import Tensor


def normalise(pixels: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """uint8 (batch, row, column, channel) to float (batch, channel, row, column), standardised."""
    return ((pixels.float() / 255 - mean) / std).permute(0, 3, 1, 2)


def padded(height: int, width: int, patch: int) -> tuple[int, int]:
    """Height and width rounded up to whole patches."""
    return -(-height // patch) * patch, -(-width // patch) * patch


def batch(images: list[np.ndarray], size: tuple[int, int], mean: Tensor, std: Tensor) -> Tensor:
    """uint8 images (row, column, 3) of any sizes up to ``size`` as one padded, standardised batch.

    Returns:
        (image, 3, row, column) float32 on the device of ``mean``.
    """
    pixels = on_host((len(images), *size, 3), torch.uint8, mean.device).zero_()
    inside = on_host((len(images), 1, *size), torch.bool, mean.device).zero_()
    for i, image in enumerate(images):
        height, width = image.shape[:2]
        pixels.numpy()[i, :height, :width] = image
        inside[i, :, :height, :width] = True
    x = normalise(pixels.to(mean.device, non_blocking=True), mean, std)
    return x * inside.to(mean.device, non_blocking=True)


def on_host(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device | str) -> Tensor:
    """Memory of the host from which ``device`` copies while the host goes on: a GPU needs pinned
    pages for that. Not filled.
    """
    return torch.empty(shape, dtype=dtype, pin_memory=torch.device(device).type == "cuda")
