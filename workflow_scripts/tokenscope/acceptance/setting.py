"""The backbone and the images that are tried: random weights do, where only arithmetic is asked."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import timm
import torch
import xarray as xr
from torch import Tensor, nn

from tokenscope.extraction.loop import extract, variables
from tokenscope.forward.inputs import normalise
from tokenscope.stores.zarr_store import StoreWriter, open_store

HALVES = (0.5, 0.5, 0.5)


@dataclass(frozen=True)
class Setting:
    """An architecture of timm, images of ``size`` pixels, and how a pass takes them."""

    device: str
    timm_id: str
    size: int
    images: int
    batch: int
    chunk: int
    arguments: dict = field(default_factory=dict)

    def model(self, device: str = "") -> nn.Module:
        """With random weights, far from their tiny first values: always the same."""
        torch.manual_seed(0)
        model = timm.create_model(
            self.timm_id, img_size=self.size, num_classes=10, **self.arguments
        ).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter), alpha=0.01)
        return model.requires_grad_(False).to(device or self.device)

    def pixels(self, start: int = 0, stop: int | None = None) -> np.ndarray:
        """(image, row, column, channel) uint8, each image by its number."""
        stop = self.images if stop is None else stop
        shape = (self.size, self.size, 3)
        drawn = (np.random.default_rng(i).integers(0, 256, shape) for i in range(start, stop))
        return np.stack(list(drawn)).astype(np.uint8)

    def inputs(self, count: int, device: str = "") -> Tensor:
        """The first images as a model takes them."""
        pixels = torch.from_numpy(self.pixels(0, count)).to(device or self.device)
        half = torch.full((3,), 0.5, device=pixels.device)
        return normalise(pixels, half, half)


def standard(device: str) -> Setting:
    """ViT-S/14 with four registers at 518 pixels as in the papers; a small one on a CPU."""
    if device == "cuda":
        return Setting(device, "vit_small_patch14_reg4_dinov2", 518, 120, 60, 60)
    small = {"depth": 3, "embed_dim": 96, "num_heads": 3}
    return Setting(device, "vit_small_patch14_reg4_dinov2", 70, 12, 6, 6, small)


def waiting_for_launches() -> Setting:
    """ViT-S/16 at 224 pixels on a GPU, which computes faster than kernels can be launched."""
    return Setting("cuda", "vit_small_patch16_224", 224, 1024, 64, 64)


def extracted(
    setting: Setting, model: nn.Module, folder: Path, graphs: bool = False
) -> tuple[xr.Dataset, dict, dict]:
    """One pass into a store: the arrays, the facts of the run, and of each array."""
    arrays = variables(model, model.patch_embed.grid_size, {"tokens": True, "qkv": True,
                                                            "logits": True})  # fmt: skip
    writer = StoreWriter(
        folder / "store", folder / "partial", arrays, setting.images, setting.chunk, "accept"
    )
    run = extract(
        model, setting.pixels, writer, HALVES, HALVES, setting.batch, setting.device, graphs=graphs
    )
    contents = writer.publish({}, {})
    return open_store(folder / "store").load(), run, contents
