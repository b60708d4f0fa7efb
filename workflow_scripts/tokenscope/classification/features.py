"""Features of a data set that a pass of a backbone has left behind, as heads take them."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tokenscope.errors import StudyError
from tokenscope.stores.zarr_store import open_store
from tokenscope.tables.names import parts_of

SLICE = 2048  # images scored at once
BLOCK = 1 << 16  # training images compared with at once


@dataclass
class Features:
    """Features of a data set: parts by name, (image, D) each, and labels (image,) on the host."""

    parts: dict[str, Tensor]
    labels: Tensor
    ids: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def sets(self, wanted: tuple[str, ...]) -> list[str]:
        """Those of the wanted sets (``cls+patch_mean``) whose parts this backbone has."""
        return [name for name in wanted if set(parts_of(name)) <= set(self.parts)]

    def rows(self, name: str, index: Tensor | slice, device: str) -> Tensor:
        """float32 (..., D + 1) of one set on the device; the last feature is 1, for the bias."""
        parts = [self.parts[part][index].to(device).float() for part in parts_of(name)]
        bias = parts[0].new_ones((*parts[0].shape[:-1], 1))
        return torch.cat([*parts, bias], -1)

    def without(self, ids: set[str]) -> "Features":
        """The same but for some images; it takes the place of these, which have no parts then.

        Part by part: the memory of a GPU holds no more than one of them twice.
        """
        keep = ~np.isin(self.ids, list(ids))
        at, parts = torch.from_numpy(keep), {}
        for name in list(self.parts):
            part = self.parts.pop(name)
            parts[name] = part[at.to(part.device)]
        return Features(parts, self.labels[at], self.ids[keep])


def read(stores: list[str], wanted: list[str], memory_gb: float, device: str = "cpu") -> Features:
    """Features from the stores of one backbone's shards, in float32, or in float16 to fit.

    Post-norm features are of order 1, so that 16 bits cost them 0.05 %.

    Args:
        wanted: variables: ``cls``, ``patch_mean``, ``registers``, ``cls_blocks``; those that the
            backbone has not are left out. Tokens are laid side by side.

    Raises:
        StudyError: an image without a label, or a feature that is not finite.
    """
    shards = [open_store(store) for store in stores]
    names = [name for name in wanted if name in shards[0]]
    images = sum(shard.sizes["image"] for shard in shards)
    widths = {name: math.prod(shards[0][name].shape[1:]) for name in names}
    half = 4e-9 * images * sum(widths.values()) > memory_gb
    parts = {}
    for name, width in widths.items():
        dtype = torch.float16 if half else torch.float32
        parts[name] = torch.empty(images, width, dtype=dtype)
        first = 0
        for shard in shards:
            for a in range(0, shard.sizes["image"], BLOCK):
                values = torch.from_numpy(shard[name][a : a + BLOCK].values).flatten(1)
                if not torch.isfinite(values).all():
                    raise StudyError(f"{stores[0]}: '{name}' holds values that are not finite")
                parts[name][first : first + len(values)] = values
                first += len(values)
        parts[name] = parts[name].to(device)
    labels = np.concatenate([shard["label"].values for shard in shards]).astype(np.int64)
    if (labels < 0).any():
        raise StudyError(f"{stores[0]}: {int((labels < 0).sum())} images have no label")
    ids = np.concatenate([shard["image_id"].values for shard in shards]).astype(str)
    return Features(parts, torch.from_numpy(labels), ids)
