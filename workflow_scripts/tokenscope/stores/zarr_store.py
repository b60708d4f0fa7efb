"""Zarr stores that are complete or absent: written aside, resumed, moved into place by one rename.

A store is written chunk by chunk into a ``partial`` folder beside the results, each finished chunk
of images noted in a journal with the checksums of its files. When the journal is full the store
moves to its place in one rename, and only then is the receipt written. Whoever reads it compares
what is read with these checksums, see :mod:`tokenscope.stores.checksums`. A job that dies leaves
its partial folder; its successor goes on after the last whole chunk, provided that the fingerprint
(weights, images, settings, code) is the same.

A job declared lost that still runs is shut out by its successor, see :mod:`tokenscope.stores.lock`.
"""

import json
import os
import platform
import shutil
import time
import warnings
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import xarray as xr
import zarr
from xarray.core import indexing
from zarr.errors import BaseZarrError
from zarr.storage import LocalStore

from tokenscope.errors import StudyError
from tokenscope.stores import checksums, lock, raw_chunks, vocabulary
from tokenscope.stores.receipts import read_receipt, write_text

# Snakemake leaves a timestamp file in directories it declares; zarr warns that it is no array.
warnings.filterwarnings("ignore", message=".*not recognized as a component of a Zarr hierarchy.*")
# Stores of earlier versions hold texts of a fixed width.
warnings.filterwarnings("ignore", message=".*does not have a Zarr V3 specification.*")


@dataclass(frozen=True)
class Variable:
    """An array of a store; the first dimension is ``image``, ``shape`` is that of one image."""

    dims: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: str
    attrs: dict = field(default_factory=dict)
    compress: bool = False  # worth it for label maps; float16 tokens shrink by 6 % only


class StoreWriter:
    """Writes the chunks of one group; see the module for what happens when it is interrupted."""

    def __init__(
        self,
        final: str | Path,
        partial: str | Path,
        variables: dict[str, Variable],
        images: int,
        chunk: int,
        fingerprint: str,
    ):
        self.final = Path(final)
        self.images, self.chunk = images, chunk
        self.variables = variables
        self.work = {
            "partial": os.path.relpath(partial, final), "fingerprint": fingerprint,
            "arrays": list(variables),
        }  # fmt: skip
        self.partial = lock.claim(partial, fingerprint, self._create)
        self.group_path = self.partial / "group"
        self.journal = self.partial / "journal"
        # A killed job leaves the chunk it was writing, under a name that ends so.
        for torn in self.group_path.rglob("*.partial"):
            torn.unlink(missing_ok=True)
        self.written = checksums.Recorded(LocalStore(self.group_path))
        # A chunk of zeros must exist on disk like any other.
        config = {"write_empty_chunks": True}
        self.coded = {
            name: zarr.open_array(self.written, path=name, mode="r+").with_config(config)
            for name, variable in variables.items()
            if variable.compress
        }
        self._begin_attempt(os.environ.get("SLURM_JOB_ID", str(os.getpid())))

    def _create(self, new: Path) -> None:
        """Fill a new folder: an empty journal and arrays without chunks."""
        (new / "journal").mkdir()
        group = zarr.open_group(new / "group", mode="w")
        for name, v in self.variables.items():
            group.create_array(
                name,
                shape=(self.images, *v.shape),
                chunks=(self.chunk, *v.shape),
                dtype=v.dtype,
                compressors="auto" if v.compress else None,
                fill_value=_fill(v.dtype),
                dimension_names=("image", *v.dims),
                attributes=vocabulary.described(v.attrs),
            )

    def _begin_attempt(self, job: str) -> None:
        self._attempts = self.partial / "attempts.json"
        before = _note_of(self._attempts) if self._attempts.exists() else []
        done = self.images - sum(b - a for a, b in self.missing())
        attempt = {"job": job, "host": platform.node(), "started": time.time(), "from_image": done}
        write_text(self._attempts, json.dumps([*before, attempt]))

    def end_attempt(self, how: str) -> list[dict]:
        """Note how this attempt ended; one without an end was killed. Returns all attempts."""
        self._check_owner()
        attempts = _note_of(self._attempts)
        attempts[-1] |= {"ended": time.time(), "how": how}
        write_text(self._attempts, json.dumps(attempts))
        return [{"how": "killed", **attempt} for attempt in attempts]

    def ranges(self) -> list[tuple[int, int]]:
        """All image ranges of the store, one per chunk."""
        return [(i, min(i + self.chunk, self.images)) for i in range(0, self.images, self.chunk)]

    def missing(self) -> list[tuple[int, int]]:
        """The ranges whose chunks an earlier attempt has not finished."""
        return [r for r in self.ranges() if not self._note(r[0]).exists()]

    def _note(self, start: int) -> Path:
        return self.journal / f"{start // self.chunk:06d}.json"

    def write(self, start: int, values: dict[str, np.ndarray]) -> None:
        """Write one whole chunk of every array, then note it as done. Safe to call from threads.

        Raises:
            Superseded: another job has taken this store over.
        """
        notes = {}
        for name, variable in self.variables.items():
            key = raw_chunks.key_of(name, start // self.chunk, 1 + len(variable.shape))
            data = np.asarray(values[name], np.dtype(variable.dtype).newbyteorder("<"))
            if data.shape[1:] != variable.shape:
                raise ValueError(f"array '{name}' of {data.shape}, not (image, *{variable.shape})")
            try:
                if name in self.coded:
                    self.coded[name][start : start + len(data)] = data
                    notes[key] = self.written.taken.pop(key)
                else:
                    file, fill = self.group_path / key, _fill(variable.dtype)
                    notes[key] = raw_chunks.write(file, data, self.chunk, fill)
            except OSError:  # the folder was taken away at this moment
                self._check_owner()
                raise
        self._check_owner()
        write_text(self._note(start), json.dumps(notes))

    def _check_owner(self) -> None:
        lock.check(self.partial, self.final)

    def publish(self, coords: dict[str, tuple[tuple[str, ...], np.ndarray]], attrs: dict) -> dict:
        """Add coordinates and attributes, then move the store to its place.

        Returns:
            shape, dtype and checksum (XXH3 over the checksums of its files) by array, coordinates
            among them: what a receipt says of the store.

        Raises:
            StudyError: a chunk is missing, in the journal or on disk.
            Superseded: another job has taken this store over.
        """
        try:
            chunks = self._chunks()
            marks = {"Conventions": vocabulary.CONVENTIONS, checksums.MARK: checksums.FILE}
            write_coords(self.group_path, coords, {**attrs, **marks})
            sums = checksums.write_list(self.group_path, chunks, self.work)
            contents = _contents(self.group_path, sums)
            self._close()
        except (OSError, StudyError):
            self._check_owner()
            raise
        self._move()
        return contents

    def _chunks(self) -> dict[str, str]:
        """Checksums of all chunks, each of which is on disk."""
        self._check_owner()
        if unfinished := self.missing():
            raise StudyError(f"{self.final}: {len(unfinished)} chunks were never written")
        chunks = {}
        for start, _ in self.ranges():
            chunks |= _note_of(self._note(start))
        for name in self.variables:
            wanted = [key for key in chunks if key.startswith(f"{name}/")]
            on_disk = sum((self.group_path / key).is_file() for key in wanted)
            if on_disk != len(self.ranges()):
                raise StudyError(
                    f"{self.final}: array '{name}' has {on_disk} chunks on disk, not "
                    f"{len(self.ranges())}; delete {self.partial} and run again"
                )
        return chunks

    def _close(self) -> None:
        """Give the folder a name that no successor takes over, then look whose it was."""
        closed = self.partial.with_name(f"closed-{self.partial.name}")
        os.rename(self.partial, closed)
        self.partial, self.group_path = closed, closed / "group"
        self._check_owner()

    def _move(self) -> None:
        self.final.parent.mkdir(parents=True, exist_ok=True)
        if self.final.exists():  # a lost job came back and published first
            os.rename(self.final, self.partial / "replaced")
        os.rename(self.group_path, self.final)
        shutil.rmtree(self.partial, ignore_errors=True)


def _note_of(file: Path):
    """What a small file of unfinished work says. Raises StudyError where it is damaged."""
    try:
        return json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise StudyError(
            f"{file}: is damaged ({error}); delete {file.parent.parent} to begin this work anew"
        ) from None


def _contents(group_path: Path, sums: dict[str, str]) -> dict[str, dict]:
    of = checksums.of_arrays(sums)
    arrays = dict(zarr.open_group(checksums.checked(group_path), mode="r").arrays())
    return {
        name: {"shape": list(array.shape), "dtype": str(array.dtype), "xxh3_128": of[name]}
        for name, array in sorted(arrays.items())
    }


def _fill(dtype: str):
    return float("nan") if np.dtype(dtype).kind == "f" else 0


def write_coords(path: Path, coords: dict, attrs: dict) -> None:
    """Add coordinate variables ``{name: (dims, values)}`` and attributes to a group."""
    described = {n: vocabulary.coordinate(n, *given) for n, given in coords.items()}
    xr.Dataset(coords=described, attrs=attrs).to_zarr(path, mode="a", consolidated=False)


def open_store(path: str | Path) -> xr.Dataset:
    """One group as a lazy xarray data set (no dask needed).

    Raises:
        StudyError: there is no such store; or, whenever a part of it is read, the part is missing,
            damaged or another store's.
    """
    store = checksums.checked(path)
    try:
        dataset = xr.open_zarr(store, chunks=None, consolidated=False)
    except (OSError, ValueError, KeyError, TypeError, BaseZarrError) as error:
        raise StudyError(f"{path}: is no Zarr group that can be read ({_first(error)})") from None
    if lost := set(checksums.of_arrays(getattr(store, "sums", {}))) - set(dataset.variables):
        raise StudyError(f"{path}: its array '{min(lost)}' is missing; {checksums.REMEDY}")
    vocabulary.check_version(path, dataset.attrs)
    for name, variable in dataset.coords.variables.items():
        if variable.dtype.kind == "T":  # as numpy compares and sorts them
            dataset[name] = variable.copy(data=np.array(variable.values.tolist(), dtype=str))
    for name, variable in dataset.data_vars.variables.items():
        array = _raw_array(store, str(name))
        if array is not None and array.shape == variable.shape and array.dtype == variable.dtype:
            lazy = indexing.CopyOnWriteArray(indexing.LazilyIndexedArray(array))
            data = indexing.MemoryCachedArray(lazy)
            dataset[name] = xr.Variable(variable.dims, data, variable.attrs, variable.encoding)
    return dataset


def _raw_array(store: checksums.Checked | LocalStore, name: str) -> raw_chunks.RawArray | None:
    """An array that is read without Zarr's help, where it may be."""
    if not isinstance(store, checksums.Checked):
        return None
    metadata = json.loads((store.folder / name / "zarr.json").read_bytes())
    if not raw_chunks.is_raw(metadata):
        return None
    return raw_chunks.RawArray(store.folder, name, metadata, store.sums)


class CodedArray:
    """An array that Zarr reads, with the two methods of :class:`raw_chunks.RawArray`."""

    def __init__(self, array: zarr.Array):
        self.array, self.shape = array, array.shape

    def read(self, start: int, stop: int) -> np.ndarray:
        """Whole images ``start`` to ``stop``."""
        return self.array[start:stop]

    def points(self, images: np.ndarray, *index: np.ndarray) -> np.ndarray:
        """The entries ``[images[i], index[0][i], ...]``."""
        wanted, at = np.unique(images, return_inverse=True)
        return self.array.oindex[wanted][(at, *index)]


def open_array(path: str | Path, name: str) -> raw_chunks.RawArray | CodedArray:
    """One array of a group, for reading. Raises StudyError as :func:`open_store`."""
    store = checksums.checked(path)
    try:
        array = zarr.open_array(store, path=name, mode="r")
    except (OSError, ValueError, KeyError, TypeError, BaseZarrError) as error:
        raise StudyError(f"{path}: has no array '{name}' to read ({_first(error)})") from None
    return _raw_array(store, name) or CodedArray(array)


def _first(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def store_of(receipt: str | Path) -> str:
    """Folder of the store that a receipt names, after making sure that it is that store.

    Raises:
        StudyError: the receipt is damaged, the store gone or another one.
    """
    facts = read_receipt(receipt)
    store, arrays = facts.get("store"), facts.get("arrays", {})
    if not isinstance(store, str) or not isinstance(arrays, dict):
        raise StudyError(f"{receipt}: is no receipt of a store; delete it and run again")
    sums = checksums.read_list(store)
    of = {} if sums is None else checksums.of_arrays(sums)
    for name, array in arrays.items():
        if array["xxh3_128"] != of.get(name):
            raise StudyError(
                f"{store}: its array '{name}' is not the one that {receipt} is of; "
                f"{checksums.REMEDY}"
            )
    return store


def read_shards(paths: list[str], names: list[str]) -> xr.Dataset:
    """The named arrays of all shards of a backbone, in memory, joined along ``image``."""
    parts = []
    for path in paths:
        with open_store(path) as dataset:
            if lacking := [name for name in names if name not in dataset]:
                raise StudyError(f"{path}: has no array '{lacking[0]}'")
            parts.append(dataset[names].load())
    return parts[0] if len(parts) == 1 else xr.concat(parts, dim="image", combine_attrs="override")
