"""Read a token store: norms of patch tokens, and what the same pass took beside them.

tokens = PatchNorms.open(["results/.../receipt.json"])
tokens.norms(-1)            # (image, patch) after the last block
"""

from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import xarray as xr

from tokenscope.stores.zarr_store import open_store, store_of

PIECE = 4096  # images read at once: beside an array, no more than these are in memory


class Bulk(NamedTuple):
    """What the images of a set have in common, by which one that is mostly outliers is told.

    So that a pass over other images, batch by batch, corrects the same images as
    :func:`tokenscope.norms.outlier_rule.image_medians` does with the whole set before it.

    Attributes:
        usual: median of the images' median norms.
        rise: of an ordinary image, its median norm over its lowest tenth.
    """

    usual: float
    rise: float

    @classmethod
    def of(cls, norms: np.ndarray) -> "Bulk":
        """Of the norms (image, patch) of one block."""
        some = norms[:: max(1, len(norms) // 256)]
        rise = np.median(np.median(some, axis=1) / np.quantile(some, 0.1, axis=1))
        return cls(float(np.median(np.median(norms, axis=1))), float(rise))


class PatchNorms:
    """The token store of one backbone on one data set, its shards read as one.

    Opening reads no array; each method reads what it returns, and keeps nothing. All arrays begin
    with the image, in the order of the sample.

    Attributes:
        kinds: of each token, in the model's order: ``cls``, ``dist``, ``reg0`` ..., then ``patch``.
        queries: prefix tokens whose attention over the patches was kept, in the array's order.
        ranges: of images (start, stop), one for each shard.
        images: their number.
    """

    def __init__(self, stores: list[str | Path]):
        self.shards = [open_store(store) for store in stores]
        first = self.shards[0]
        self.kinds: np.ndarray = first["token_kind"].values
        self.queries: list[str] = first["query"].values.tolist() if "query" in first.coords else []
        ends = np.cumsum([0, *(shard.sizes["image"] for shard in self.shards)]).tolist()
        self.ranges = list(zip(ends[:-1], ends[1:], strict=True))
        self.images: int = ends[-1]

    @classmethod
    def open(cls, receipts: list[str | Path]) -> "PatchNorms":
        """The stores that the receipts of an extraction name, one receipt for each shard."""
        return cls([store_of(receipt) for receipt in receipts])

    def __contains__(self, name: str) -> bool:
        """Whether the pass left this array, e.g. ``top5`` or ``label``."""
        return name in self.shards[0]

    @cached_property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        first = self.shards[0]
        return int(first["patch_row"].max()) + 1, int(first["patch_column"].max()) + 1

    @cached_property
    def image_ids(self) -> np.ndarray:
        """Names of the images (image,)."""
        return np.concatenate([shard["image_id"].values for shard in self.shards])

    def norms(self, block: int | None = None) -> np.ndarray:
        """Norms of patch tokens (image, block, patch), float32.

        Args:
            block: one block alone, from 0, or -1 for the last: (image, patch).
        """
        return self._norms(self.kinds == "patch", block)

    def prefix_norms(self) -> dict[str, np.ndarray]:
        """Norms of the prefix tokens after the last block, by kind (image,)."""
        prefix = self.kinds != "patch"
        return dict(zip(self.kinds[prefix].tolist(), self._norms(prefix, -1).T, strict=True))

    def attention(self, query: str) -> np.ndarray | None:
        """Attention of a prefix token over the patches (image, patch); None without that token."""
        if query not in self.queries:
            return None
        row = self.queries.index(query)
        return self._joined("attention", lambda array: array[:, row].values)

    def read(self, name: str) -> np.ndarray:
        """A whole array of numbers, e.g. ``neighbour_cosine`` (image, patch, neighbour)."""
        return self._joined(name, lambda array: array.values)

    def of_image(self, name: str, image: int) -> np.ndarray:
        """Patches of one image: ``norms`` (block, patch), ``tokens`` (patch, feature)."""
        shard, start = next(
            (shard, start)
            for shard, (start, stop) in zip(self.shards, self.ranges, strict=True)
            if image < stop
        )
        return shard[name][image - start].load().isel(token=self.kinds == "patch").values

    def _norms(self, tokens: np.ndarray, block: int | None) -> np.ndarray:
        at = slice(None) if block is None else block
        return self._joined("norms", lambda array: array[:, at].values[..., tokens])

    def _joined(self, name: str, take: Callable[[xr.DataArray], np.ndarray]) -> np.ndarray:
        """What ``take`` makes of an array, piece by piece of images, laid out as the pieces are."""
        joined = None
        for shard, (start, _) in zip(self.shards, self.ranges, strict=True):
            for a, b in _pieces(shard[name]):
                values = take(shard[name][a:b])
                if joined is None:
                    joined = np.empty_like(values, shape=(self.images, *values.shape[1:]))
                joined[start + a : start + b] = values
        return joined


def _pieces(array: xr.DataArray) -> Iterator[tuple[int, int]]:
    """Ranges of images of about :data:`PIECE`, in whole chunks, so that none is read twice."""
    chunk = array.encoding.get("preferred_chunks", {}).get("image", 1)
    step, images = chunk * max(1, PIECE // chunk), array.sizes["image"]
    return ((i, min(i + step, images)) for i in range(0, images, step))
