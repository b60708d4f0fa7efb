"""Chunks without a codec: a Zarr chunk that is a file of numbers, written and read as one.

Such a file holds whole images in C order, least significant byte first, and nothing else; the last
one is filled up to the length of the others. Zarr itself reads it through several buffers; here the
system copies it to where it is wanted, and its checksum is taken on the way: piece by piece of what
is read, while the processor has it at hand, and beside the write of a whole chunk, which the system
takes fastest in one piece. Scattered reads go through a memory map, made once the file has been
compared with its checksum.
"""

import math
import mmap
import os
import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from io import FileIO
from pathlib import Path

import numpy as np
import xxhash
from xarray.backends import BackendArray
from xarray.core import indexing

from tokenscope.errors import StudyError
from tokenscope.stores import checksums

PIECE = 1 << 18  # bytes: they stay in the cache between checksum and copy
MAPPED = 1 << 30  # bytes of one array that are mapped at a time

Part = int | slice | np.ndarray


def write(file: Path, values: np.ndarray, images: int, fill: float) -> str:
    """Write one chunk aside, then give it its name.

    Args:
        values: (image, ...) of at most ``images``; those that lack are ``fill``.

    Returns:
        its checksum.
    """
    if lacking := images - len(values):
        values = np.concatenate([values, np.full((lacking, *values.shape[1:]), fill, values.dtype)])
    content = _bytes_of(np.ascontiguousarray(values))
    file.parent.mkdir(parents=True, exist_ok=True)
    aside = file.with_name(f"{file.name}.{secrets.token_hex(4)}.partial")
    with ThreadPoolExecutor(1) as beside, FileIO(aside, "wb") as handle:
        summed = beside.submit(checksums.digest, content)
        rest = content
        while rest:  # a disk that is nearly full takes a part, and then says why
            rest = rest[handle.write(rest) or 0 :]
    os.replace(aside, file)
    return summed.result()


def key_of(name: str, number: int, dims: int) -> str:
    """The file of a chunk of whole images, below the folder of its group."""
    return "/".join([name, "c", str(number), *["0"] * (dims - 1)])


def is_raw(metadata: dict) -> bool:
    """Whether an array's ``zarr.json`` says that its chunks are raw files of whole images."""
    try:
        grid, keys = metadata["chunk_grid"], metadata["chunk_key_encoding"]
        codec, *more = metadata["codecs"]
        dtype = np.dtype(metadata["data_type"])
        return (
            grid["name"] == "regular"
            and list(grid["configuration"]["chunk_shape"][1:]) == list(metadata["shape"][1:])
            and keys == {"name": "default", "configuration": {"separator": "/"}}
            and codec["name"] == "bytes" and not more
            and codec.get("configuration", {}).get("endian", "little") == "little"
            and dtype.kind in "biuf" and min(metadata["shape"]) > 0
        )  # fmt: skip
    except (KeyError, TypeError, ValueError, IndexError):
        return False


class RawArray(BackendArray):
    """An array of raw chunks; each is compared with its checksum when it is first read.

    Args:
        store: folder of the group.
        name: of the array in it.
        metadata: its ``zarr.json``, of which :func:`is_raw`.
        sums: checksums of the files of the store.

    Raises:
        StudyError: of each read, where a file is not the one that was written.
    """

    def __init__(self, store: Path, name: str, metadata: dict, sums: dict[str, str]):
        self.store, self.name, self.sums = store, name, sums
        self.shape: tuple[int, ...] = tuple(metadata["shape"])
        self.dtype = np.dtype(metadata["data_type"]).newbyteorder("<")
        self.of_chunk = tuple(metadata["chunk_grid"]["configuration"]["chunk_shape"])
        self.chunk: int = self.of_chunk[0]
        self.chunk_bytes = int(np.prod(self.of_chunk)) * self.dtype.itemsize
        self._same: set[int] = set()
        self._map = lru_cache(max(1, MAPPED // self.chunk_bytes))(self._open_map)

    def __getitem__(self, key: indexing.ExplicitIndexer) -> np.ndarray:
        """As xarray asks for it."""
        support = indexing.IndexingSupport.OUTER
        return indexing.explicit_indexing_adapter(key, self.shape, support, self.outer)

    def outer(self, key: tuple[Part, ...]) -> np.ndarray:
        """What is at these places of each dimension, taken independently."""
        wanted, inner = np.arange(self.shape[0])[key[0]], key[1:]
        images = np.atleast_1d(wanted)
        whole = all(isinstance(part, slice) and part == slice(None) for part in inner)
        if whole and len(images) and (np.diff(images) == 1).all():
            found = self.read(int(images[0]), int(images[-1]) + 1)
        else:
            parts = [_inside(self._map(n)[_run(at)], inner) for n, at in self._by_chunk(images)]
            none = _inside(np.empty((0, *self.shape[1:]), self.dtype), inner)
            found = np.concatenate([none, *parts])
        return found if np.ndim(wanted) else found[0]

    def read(self, start: int, stop: int) -> np.ndarray:
        """Whole images ``start`` to ``stop``, copied once."""
        out = np.empty((stop - start, *self.shape[1:]), self.dtype)
        for first in range(start - start % self.chunk, stop, self.chunk):
            number, last = first // self.chunk, min(first + self.chunk, self.shape[0])
            a, b = max(start, first), min(stop, last)
            part = out[a - start : b - start]
            if (a, b) == (first, last):
                with self._open(number) as handle:
                    self._fill(handle, number, _bytes_of(part))
            else:
                part[...] = self._map(number)[a - first : b - first]
        return out

    def points(self, images: np.ndarray, *index: np.ndarray) -> np.ndarray:
        """The entries ``[images[i], index[0][i], ...]``, as tokens (token, feature)."""
        within = (self.chunk, *self.shape[1 : 1 + len(index)])
        numbers, rows = np.divmod(np.asarray(images), self.chunk)
        flat = np.ravel_multi_index((rows, *index), within)
        out = np.empty((len(flat), *self.shape[len(within) :]), self.dtype)
        # An entry as one item of that many bytes: numpy then copies it in one go.
        entry = np.dtype((np.void, self.chunk_bytes // math.prod(within)))
        entries = out.reshape(-1).view(entry)
        for number in np.flatnonzero(np.bincount(numbers)).tolist():
            at = np.flatnonzero(numbers == number)
            entries[at] = self._map(number).reshape(-1).view(entry)[flat[at]]
        return out

    def _by_chunk(self, images: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """Runs of images of one chunk: its number, and their rows in it."""
        numbers = images // self.chunk
        edges = [0, *(np.flatnonzero(np.diff(numbers)) + 1).tolist(), len(images)]
        for a, b in zip(edges[:-1], edges[1:], strict=True):
            if a < b:
                yield int(numbers[a]), images[a:b] - numbers[a] * self.chunk

    def _open_map(self, number: int) -> np.ndarray:
        with self._open(number) as handle:
            if number not in self._same:
                self._fill(handle, number, memoryview(b""))
            mapped = mmap.mmap(handle.fileno(), self.chunk_bytes, prot=mmap.PROT_READ)
        return np.frombuffer(mapped, self.dtype).reshape(self.of_chunk)

    def _open(self, number: int) -> FileIO:
        """The file of a chunk, which is there and of its length."""
        key = key_of(self.name, number, len(self.shape))
        if not (self.store / key).is_file():  # a pipe would be waited for
            raise self._wrong(number, "is missing")
        if key not in self.sums:
            raise self._wrong(number, "is none of its own")
        try:
            handle = FileIO(self.store / key)
        except OSError as error:
            raise self._wrong(number, f"cannot be read ({error.strerror})") from None
        if os.fstat(handle.fileno()).st_size != self.chunk_bytes:
            handle.close()
            raise self._wrong(number, "is damaged: it is longer or shorter than what was written")
        return handle

    def _fill(self, handle: FileIO, number: int, out: memoryview) -> None:
        """Fill ``out`` from the file's start; at the first time, compare all of the file."""
        compare = number not in self._same
        summed, done = xxhash.xxh3_128(), 0
        spare = memoryview(bytearray(PIECE if compare else 0))
        while done < (self.chunk_bytes if compare else len(out)):
            piece = out[done : done + PIECE] or spare[: self.chunk_bytes - done]
            try:
                count = handle.readinto(piece)
            except OSError as error:
                raise self._wrong(number, f"cannot be read ({error.strerror})") from None
            if not count:
                raise self._wrong(number, "was cut off while it was read")
            done += count
            if compare:
                summed.update(piece[:count])
        if not compare:
            return
        if summed.hexdigest() != self.sums[key_of(self.name, number, len(self.shape))]:
            raise self._wrong(number, checksums.DAMAGED)
        self._same.add(number)

    def _wrong(self, number: int, how: str) -> StudyError:
        key = key_of(self.name, number, len(self.shape))
        return StudyError(f"{checksums.named(self.store, key)} {how}; {checksums.REMEDY}")


def _bytes_of(values: np.ndarray) -> memoryview:
    return values.reshape(-1).view(np.uint8).data


def _run(rows: np.ndarray) -> slice | np.ndarray:
    """Rows that follow each other as a slice, which is not copied."""
    together = rows[-1] - rows[0] == len(rows) - 1 and (np.diff(rows) == 1).all()
    return slice(int(rows[0]), int(rows[-1]) + 1) if together else rows


def _inside(values: np.ndarray, inner: tuple[Part, ...]) -> np.ndarray:
    """Of values (image, ...), what is at these places of each dimension behind the image."""
    views = tuple(slice(None) if isinstance(part, np.ndarray) else part for part in inner)
    values = values[(slice(None), *views)]
    kept = [part for part in inner if isinstance(part, slice | np.ndarray)]
    for axis, part in enumerate(kept, start=1):
        if isinstance(part, np.ndarray):
            values = values.take(part, axis)
    return values
