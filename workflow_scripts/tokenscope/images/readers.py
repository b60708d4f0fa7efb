"""Data loading: where a job takes its pixels from, a decoded store or the files themselves."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import pandas as pd

from tokenscope.errors import StudyError
from tokenscope.images.geometry import Geometry
from tokenscope.images.location import locations
from tokenscope.images.preprocess import decode
from tokenscope.images.sample_rows import read_rows
from tokenscope.images.workers import forked_pool
from tokenscope.stores import receipts
from tokenscope.stores.zarr_store import open_array, store_of

Chunk = tuple[int, int, np.ndarray]


class DecodedImages:
    """Pixels of a store written by the ``decode`` rule, ``(image, row, column, channel)`` uint8."""

    def __init__(self, store: str | Path):
        self.pixels = open_array(store, "pixels")

    def __len__(self) -> int:
        return self.pixels.shape[0]

    def read(self, start: int, stop: int) -> np.ndarray:
        return self.pixels.read(start, stop)

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


@dataclass(frozen=True)
class ImageInputs:
    """Where the images of a job are, in the plain values that a rule hands over.

    Args:
        sample: CSV file of the images in their order (:mod:`tokenscope.datasets.sample`).
        root: folder that the paths of the sample are relative to.
        geometry: name of what is done to each image (:attr:`Geometry.key`).
        decoded: store of the decoded images; where empty, files are decoded on the way.
        receipt: of that store, which is then compared with it and with the sample.
    """

    sample: str
    root: str
    geometry: str
    decoded: str = ""
    receipt: str = ""

    @cached_property
    def rows(self) -> pd.DataFrame:
        """The sample, one row per image."""
        return read_rows(self.sample)

    @property
    def fingerprint(self) -> str:
        """Of the images and what is done to them: what a decoded store is a store of."""
        return receipts.fingerprint(images=self.rows["sha256"].tolist(), geometry=self.geometry)

    def open(self, workers: int) -> DecodedImages | StreamedImages:
        """A reader of the pixels; ``workers`` processes decode where there is no decoded store.

        Raises:
            StudyError: the decoded store is not of these images.
        """
        if self.receipt and (
            store_of(self.receipt) != self.decoded
            or receipts.read_receipt(self.receipt).get("of") != self.fingerprint
        ):
            raise StudyError(
                f"{self.receipt}: the decoded images are not those of {self.sample}; delete "
                "receipt and store, and run again"
            )
        if self.decoded:
            return DecodedImages(self.decoded)
        return StreamedImages(self.root, self.rows, Geometry.parse(self.geometry), workers)


def prefetch(read: Callable, ranges: list[tuple[int, int]], ahead: int = 2) -> Iterator[Chunk]:
    """``(start, stop, read(start, stop))`` for each range, read by a thread before its use."""
    with ThreadPoolExecutor(1) as pool:
        futures = [pool.submit(read, *r) for r in ranges[:ahead]]
        for i, (start, stop) in enumerate(ranges):
            pixels = futures.pop(0).result()
            if i + ahead < len(ranges):
                futures.append(pool.submit(read, *ranges[i + ahead]))
            yield start, stop, pixels
