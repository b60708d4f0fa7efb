"""How images become crops of one size, and crops the tokens of a frozen backbone."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from tokenscope.backbones.position_embedding import AnySize
from tokenscope.forward.inputs import batch, padded
from tokenscope.forward.precision import autocast

Pair = tuple[np.ndarray, np.ndarray]


def windows(height: int, width: int, crop: tuple[int, int], stride: int) -> list[tuple[int, int]]:
    """Top left corners of windows that cover an image; the last ones are moved inside."""
    starts = [
        [min(i * stride, side - length) for i in range(-(-(side - length) // stride) + 1)]
        for side, length in zip((height, width), crop, strict=True)
    ]
    return [(top, left) for top in starts[0] for left in starts[1]]


def resized(pair: Pair, size: tuple[int, int]) -> Pair:
    """Image (bilinear) and map (nearest) at height and width ``size``."""
    image, target = pair
    back = size[::-1]
    return (
        np.asarray(Image.fromarray(image).resize(back, Image.Resampling.BILINEAR)),
        np.asarray(Image.fromarray(target).resize(back, Image.Resampling.NEAREST)),
    )


class FrozenBackbone:
    """The frozen side of a task: how images become crops, and crops tokens.

    Args:
        model: as open_backbone gives it.
        settings: ``crop`` (height, width), ``stride``, ``batch``, ``supervise`` (every how many
            pixels the loss looks, reduced to a divisor of the patch).
        with_cls: whether the CLS token goes beside each patch; left out where there is none.
        depth: whole images are resized to the crop; otherwise the shorter side to the crop's.
    """

    def __init__(self, model: nn.Module, mean, std, settings: dict, with_cls, depth, device: str):
        self.model, self.device, self.depth = model, device, depth
        self.mean, self.std = (torch.tensor(v, device=device) for v in (mean, std))
        self.crop, self.stride = tuple(settings["crop"]), settings["stride"]
        self.patch = model.patch_embed.patch_size[0]
        self.every = math.gcd(self.patch, settings["supervise"])
        self.size = padded(*self.crop, self.patch)
        self.grid = (self.size[0] // self.patch, self.size[1] // self.patch)
        AnySize(model).set(*self.size)
        self.with_cls = with_cls and model.cls_token is not None
        self.width = model.embed_dim * (1 + self.with_cls)
        self.batch = settings["batch"]

    def fit(self, pair: Pair, scale: float = 1.0) -> Pair:
        """An image at the size that windows are cut from, never smaller than the crop."""
        height, width = pair[0].shape[:2]
        if self.depth:
            wanted = self.crop
        else:
            ratio = max(c / s for c, s in zip(self.crop, (height, width), strict=True))
            ratio = max(ratio, min(self.crop) / min(height, width))
            wanted = (height * ratio, width * ratio)
        size = [max(c, round(w * scale)) for c, w in zip(self.crop, wanted, strict=True)]
        return resized(pair, tuple(size))

    @torch.inference_mode()
    def tokens(self, crops: list[np.ndarray]) -> tuple[Tensor, Tensor | None]:
        """Patch tokens (B, patch, width) after the final norm, and CLS (B, width) or None."""
        x = batch(crops, self.size, self.mean, self.std)
        with autocast(self.device):
            out = self.model.forward_features(x)
        return out[:, self.model.num_prefix_tokens :], out[:, 0] if self.with_cls else None

    def lay(self, tokens: Tensor, cls: Tensor | None) -> Tensor:
        """Tokens as a map (B, width, row, column) in float32, with CLS beside each patch."""
        if cls is not None:
            tokens = torch.cat([tokens, cls[:, None].expand_as(tokens)], -1)
        return tokens.float().transpose(1, 2).unflatten(2, self.grid)

    def upsampled(self, prediction: Tensor, every: int = 1) -> Tensor:
        """A head's map at the pixels of the crop, or at every so many of them."""
        size = (self.size[0] // every, self.size[1] // every)
        shape = [-(-(c - every // 2) // every) for c in self.crop]
        full = F.interpolate(prediction, size=size, mode="bilinear", align_corners=False)
        return full[..., : shape[0], : shape[1]]

    def supervised(self, target: np.ndarray) -> np.ndarray:
        """The pixels of a crop's map that the loss looks at."""
        return target[..., self.every // 2 :: self.every, self.every // 2 :: self.every]
