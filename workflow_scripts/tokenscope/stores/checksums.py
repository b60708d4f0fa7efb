"""Checksums of a store's files, taken as they are written and compared whenever one is read.

Zarr takes a chunk that is not there for one of fill values: black pixels, zeros, NaN. A store of
ours therefore carries a list of its files with their XXH3-128 (``checksums.json``), and is read
through it: a file that is missing, cut off, changed or another store's ends the job in a sentence.
The list's own checksums, array by array, stand in the receipt (:func:`of_arrays`).

XXH3 tells contents apart at the speed of memory; nobody forges a store against us.
"""

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncIterator
from pathlib import Path

import xxhash
from zarr.abc.store import ByteRequest
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import LocalStore, WrapperStore

from tokenscope.errors import StudyError

FILE = "checksums.json"
MARK = "checksums"  # attribute of a group that has the list
REMEDY = "take it away by make verify STUDY=<name> MEND=yes, and run again"
DAMAGED = "is damaged or another store's: its checksum is not the one that was written"


def digest(content: bytes | memoryview) -> str:
    """Hex XXH3-128."""
    return xxhash.xxh3_128_hexdigest(content)


def digest_file(file: str | Path) -> str:
    """:func:`digest` of a file, read in pieces."""
    summed, buffer = xxhash.xxh3_128(), bytearray(1 << 22)
    with open(file, "rb", buffering=0) as handle:
        while count := handle.readinto(buffer):
            summed.update(memoryview(buffer)[:count])
    return summed.hexdigest()


def named(folder: Path, key: str) -> str:
    """A file of a store in words, with the images that it holds where it is a chunk of some."""
    name, *place = key.split("/")
    images = ""
    try:
        metadata = json.loads((folder / name / "zarr.json").read_text())
        if place[0] == "c" and metadata["dimension_names"][0] == "image":
            chunk = metadata["chunk_grid"]["configuration"]["chunk_shape"][0]
            first = int(place[1]) * chunk
            images = f" (images {first} to {min(first + chunk, metadata['shape'][0]) - 1})"
    except (OSError, ValueError, KeyError, IndexError, TypeError):
        pass  # what says which images these are is gone as well
    return f"{folder}: its file {key}{images}"


class Recorded(WrapperStore[LocalStore]):
    """A folder that is written to, and what was written: ``taken``, checksums by file."""

    def __init__(self, store: LocalStore, taken: dict[str, str] | None = None):
        super().__init__(store)
        self.taken: dict[str, str] = {} if taken is None else taken

    def _with_store(self, store: LocalStore) -> "Recorded":
        return Recorded(store, self.taken)

    async def set(self, key: str, value: Buffer) -> None:
        # Beside the write: the checksum is taken while the system copies.
        written = super().set(key, value)
        taken, _ = await asyncio.gather(asyncio.to_thread(_of_buffer, value), written)
        self.taken[key] = taken


class Checked(WrapperStore[LocalStore]):
    """A folder that is read, each file compared with the list ``sums``.

    Raises:
        StudyError: of every read, where the file is not the one that was written.
    """

    def __init__(self, store: LocalStore, sums: dict[str, str]):
        super().__init__(store)
        self.sums = sums

    @property
    def folder(self) -> Path:
        """Where the files are."""
        return self._store.root

    def _with_store(self, store: LocalStore) -> "Checked":
        return Checked(store, self.sums)

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        if byte_range is not None:
            await self.get(key, prototype)
            return await super().get(key, prototype, byte_range)
        expected = self.sums.get(key)
        # A pipe in the place of a file would be waited for.
        there = (self._store.root / key).is_file()
        value = await super().get(key, prototype) if there else None
        if value is None:
            if expected is not None:
                raise StudyError(f"{named(self.folder, key)} is missing; {REMEDY}")
        elif expected is None:
            raise StudyError(f"{named(self.folder, key)} is none of its own; {REMEDY}")
        elif await asyncio.to_thread(_of_buffer, value) != expected:
            raise StudyError(f"{named(self.folder, key)} {DAMAGED}; {REMEDY}")
        return value

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        async for name in super().list_dir(prefix):
            # The list is no part of the hierarchy, nor is what Snakemake leaves in folders.
            if prefix.strip("/") or not (name == FILE or name.startswith(".")):
                yield name

    async def get_partial_values(self, prototype, key_ranges):
        return [await self.get(key, prototype, part) for key, part in key_ranges]


def _of_buffer(value: Buffer) -> str:
    return digest(memoryview(value.as_buffer_like()))


def write_list(folder: Path, chunks: dict[str, str], work: dict) -> dict[str, str]:
    """Write the list of a finished store and return it.

    Args:
        chunks: checksums by file, taken when they were written. The few small files beside them
            (metadata, coordinates) are read back.
        work: which unfinished work this was, should a chunk be needed again.
    """
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != FILE)
    names = {file.relative_to(folder).as_posix(): file for file in files}
    sums = {name: chunks.get(name) or digest(file.read_bytes()) for name, file in names.items()}
    content = {"algorithm": "xxh3_128", "files": sums, "work": work}
    (folder / FILE).write_text(json.dumps(content, indent=0))
    return sums


def read_list(folder: str | Path) -> dict[str, str] | None:
    """The list of a store; None of a folder that never had one (written without this library).

    Raises:
        StudyError: no such store, or its list is missing or damaged.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise StudyError(f"there is no store {folder}: delete its receipt, and run again")
    try:
        content = json.loads((folder / FILE).read_text())
        sums = content["files"]
        if not all(isinstance(value, str) for value in sums.values()):
            raise ValueError("no list of checksums")
    except FileNotFoundError:
        if _marked(folder):
            raise StudyError(f"{folder}: its file {FILE} is missing; {REMEDY}") from None
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise StudyError(f"{folder}: its file {FILE} is damaged; {REMEDY}") from None
    return sums


def _marked(folder: Path) -> bool:
    """Whether the group says that it has a list of checksums."""
    try:
        return MARK in json.loads((folder / "zarr.json").read_text())["attributes"]
    except FileNotFoundError:
        return False
    except (OSError, ValueError, KeyError, TypeError):
        raise StudyError(f"{folder}: its file zarr.json is damaged; {REMEDY}") from None


def checked(folder: str | Path) -> Checked | LocalStore:
    """A store as zarr and xarray read it, compared with its list where it has one."""
    store, sums = LocalStore(folder, read_only=True), read_list(folder)
    return store if sums is None else Checked(store, sums)


def of_arrays(sums: dict[str, str]) -> dict[str, str]:
    """One checksum of each array, over those of its files: what a receipt says of it."""
    parts = defaultdict(list)
    for name in sorted(sums):
        array, inside, _ = name.partition("/")
        if inside:
            parts[array].append(sums[name])
    return {array: digest("".join(values).encode()) for array, values in parts.items()}
