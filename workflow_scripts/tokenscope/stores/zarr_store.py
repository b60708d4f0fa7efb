"""Zarr stores that are complete or absent: written aside, resumed, moved into place by one rename.

A store is written chunk by chunk into a ``partial`` folder beside the results, each finished chunk
of images noted in a journal with the checksums of its arrays. When the journal is full the store
moves to its place in one rename, and only then is the receipt written. A job that dies leaves its
partial folder; its successor goes on after the last whole chunk, provided that the fingerprint
(weights, images, settings, code) is the same.

A job declared lost that still runs is shut out by its successor, see :mod:`tokenscope.stores.lock`.
"""

import json
import os
import platform
import shutil
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import xarray as xr
import xxhash
import zarr

from tokenscope.errors import StudyError
from tokenscope.stores import lock
from tokenscope.stores.receipts import PROTOCOL, write_text

# Snakemake leaves a timestamp file in directories it declares; zarr warns that it is no array.
warnings.filterwarnings("ignore", message=".*not recognized as a component of a Zarr hierarchy.*")
# Strings have no Zarr 3 specification yet; every reader that knows xarray reads them.
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
        self.partial = lock.claim(partial, fingerprint, self._create)
        self.group_path = self.partial / "group"
        self.journal = self.partial / "journal"
        # A killed job leaves the chunk it was writing, under a name that ends so.
        for torn in self.group_path.rglob("*.partial"):
            torn.unlink(missing_ok=True)
        group = zarr.open_group(self.group_path, mode="r+")
        # The comparison with the fill value costs more than the write, and a chunk of zeros
        # must exist on disk like any other.
        self.arrays = {n: group[n].with_config({"write_empty_chunks": True}) for n in variables}
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
                attributes=v.attrs,
            )

    def _begin_attempt(self, job: str) -> None:
        self._attempts = self.partial / "attempts.json"
        before = json.loads(self._attempts.read_text()) if self._attempts.exists() else []
        done = self.images - sum(b - a for a, b in self.missing())
        attempt = {"job": job, "host": platform.node(), "started": time.time(), "from_image": done}
        write_text(self._attempts, json.dumps([*before, attempt]))

    def end_attempt(self, how: str) -> list[dict]:
        """Note how this attempt ended; one without an end was killed. Returns all attempts."""
        self._check_owner()
        attempts = json.loads(self._attempts.read_text())
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
        given = {name: np.ascontiguousarray(values[name]) for name in self.arrays}
        with ThreadPoolExecutor(1) as beside:  # checksums are taken while the system copies
            # Tells contents apart at the speed of memory; nobody forges a store against us.
            digests = beside.map(xxhash.xxh3_128_hexdigest, given.values())
            for name, data in given.items():
                try:
                    self.arrays[name][start : start + len(data)] = data
                except OSError:  # the folder was taken away at this moment
                    self._check_owner()
                    raise
        self._check_owner()
        notes = dict(zip(given, digests, strict=True))
        write_text(self._note(start), json.dumps(notes))

    def _check_owner(self) -> None:
        lock.check(self.partial, self.final)

    def publish(self, coords: dict[str, tuple[tuple[str, ...], np.ndarray]], attrs: dict) -> dict:
        """Add coordinates and attributes, then move the store to its place.

        Returns:
            shape, dtype and checksum (XXH3 over the checksums of the chunks) by array.

        Raises:
            StudyError: a chunk is missing, in the journal or on disk.
            Superseded: another job has taken this store over.
        """
        try:
            contents = self._contents()
            write_coords(self.group_path, coords, attrs)
            self._close()
        except (OSError, StudyError):
            self._check_owner()
            raise
        self._move()
        return contents

    def _contents(self) -> dict:
        self._check_owner()
        if unfinished := self.missing():
            raise StudyError(f"{self.final}: {len(unfinished)} chunks were never written")
        notes = [json.loads(self._note(start).read_text()) for start, _ in self.ranges()]
        contents = {}
        for name, array in self.arrays.items():
            on_disk = sum(f.is_file() for f in (self.group_path / name / "c").rglob("*"))
            if on_disk != len(notes):
                raise StudyError(
                    f"{self.final}: array '{name}' has {on_disk} chunks on disk, not {len(notes)}; "
                    f"delete {self.partial} and run again"
                )
            digest = xxhash.xxh3_128_hexdigest("".join(note[name] for note in notes).encode())
            contents[name] = {
                "shape": list(array.shape), "dtype": str(array.dtype), "xxh3_128": digest,
            }  # fmt: skip
        return contents

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


def _fill(dtype: str):
    return float("nan") if np.dtype(dtype).kind == "f" else 0


def write_coords(path: Path, coords: dict, attrs: dict) -> None:
    """Add coordinate variables ``{name: (dims, values)}`` and attributes to a group."""
    dataset = xr.Dataset(coords={name: (dims, values) for name, (dims, values) in coords.items()})
    dataset.to_zarr(path, mode="a", consolidated=False)
    group = zarr.open_group(path, mode="r+")
    group.attrs.update(attrs)


def write_group(path: Path) -> None:
    """Make a folder of groups a group itself."""
    write_text(path / "zarr.json", json.dumps({"zarr_format": 3, "node_type": "group"}))


def open_store(path: str | Path) -> xr.Dataset:
    """One group as a lazy xarray data set (no dask needed)."""
    return xr.open_zarr(path, chunks=None, consolidated=False)


def read_shards(paths: list[str], names: list[str]) -> xr.Dataset:
    """The named arrays of all shards of a backbone, in memory, joined along ``image``."""
    parts = []
    for path in paths:
        with open_store(path) as dataset:
            parts.append(dataset[names].load())
    return parts[0] if len(parts) == 1 else xr.concat(parts, dim="image", combine_attrs="override")


def consolidated(root: Path, groups: list[Path]) -> dict:
    """Metadata of a hierarchy whose groups are known, for one ``zarr.json`` at its root.

    Built from the list of groups, so that neither unfinished work nor strangers enter it.
    """
    metadata: dict[str, dict] = {}
    for group in groups:
        place = group.relative_to(root)
        for parent in [*place.parents][-2::-1]:
            empty = {"zarr_format": 3, "node_type": "group", "attributes": {}}
            metadata.setdefault(parent.as_posix(), empty)
        for file in sorted(group.rglob("zarr.json")):
            name = file.parent.relative_to(root).as_posix()
            metadata[name] = json.loads(file.read_text())
    return {
        "zarr_format": 3,
        "node_type": "group",
        "attributes": {"protocol": PROTOCOL},
        "consolidated_metadata": {
            "kind": "inline", "must_understand": False, "metadata": dict(sorted(metadata.items())),
        },
    }  # fmt: skip
