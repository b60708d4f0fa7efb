"""Where a job takes its pixels from: a decoded store, or the files themselves."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import zarr

from tokenscope.images.geometry import Geometry
from tokenscope.images.location import locations
from tokenscope.images.preprocess import decode
from tokenscope.images.workers import forked_pool

Chunk = tuple[int, int, np.ndarray]


class DecodedImages:
    """Pixels of a store written by the ``decode`` rule, ``(image, row, column, channel)`` uint8."""

    def __init__(self, store: str | Path):
        self.pixels = zarr.open_array(Path(store) / "pixels", mode="r")

    def __len__(self) -> int:
        return self.pixels.shape[0]

    def read(self, start: int, stop: int) -> np.ndarray:
        return self.pixels[start:stop]

    def close(self) -> None:
        pass


class StreamedImages:
    """The same pixels decoded on the way by worker processes, for sets too large to keep."""

    def __init__(self, root: str, sample: pd.DataFrame, geometry: Geometry, workers: int):
        self.locations = locations(root, sample)
        self.decode = partial(decode, geometry=geometry)
        self.pool = forked_pool(workers) if workers > 1 else None

    def __len__(self) -> int:
        return len(self.locations)

    def read(self, start: int, stop: int) -> np.ndarray:
        locations = self.locations[start:stop]
        if self.pool is None:
            return np.stack([self.decode(location) for location in locations])
        size = max(1, len(locations) // (4 * self.pool._max_workers))
        return np.stack(list(self.pool.map(self.decode, locations, chunksize=size)))

    def close(self) -> None:
        if self.pool is not None:
            self.pool.shutdown(cancel_futures=True)


def open_images(
    decoded: str, root: str, sample: pd.DataFrame, geometry: str, workers: int
) -> DecodedImages | StreamedImages:
    """The decoded store where there is one (``decoded`` is its path), the files otherwise."""
    if decoded:
        return DecodedImages(decoded)
    return StreamedImages(root, sample, Geometry.parse(geometry), workers)


def chunks(start: int, stop: int, size: int) -> Iterator[tuple[int, int]]:
    """Half-open ranges of ``size`` images that cover ``start`` to ``stop``."""
    return ((i, min(i + size, stop)) for i in range(start, stop, size))


def prefetch(read: Callable, ranges: list[tuple[int, int]], ahead: int = 2) -> Iterator[Chunk]:
    """``(start, stop, read(start, stop))`` for each range, read by a thread before its use."""
    with ThreadPoolExecutor(1) as pool:
        futures = [pool.submit(read, *r) for r in ranges[:ahead]]
        for i, (start, stop) in enumerate(ranges):
            pixels = futures.pop(0).result()
            if i + ahead < len(ranges):
                futures.append(pool.submit(read, *ranges[i + ahead]))
            yield start, stop, pixels
