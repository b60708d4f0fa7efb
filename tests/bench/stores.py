"""Writing and reading tokens: our store, raw files, numpy's memory map, safetensors.

The same bytes (float16 tokens, in pieces of one chunk), each into new files on the same disk and
under a clock that stops when the last byte was given to the system: a GB of them, a fifth of a
shard of ViT-S, taken away again before the next. Reads come from the page cache: they show what
formats cost, not what the disk does; beside them stands what the disk gives to `dd` without the
cache (direct I/O). Our store is opened anew in every round, so that each of its whole reads
compares all checksums; `checked before` is the same array read again. `random tokens` are taken
from the files; `held` are those that probes keep in memory (tokenscope.probes.token_rows).
"""

import itertools
import random
import re
import shutil
import subprocess
import time
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.numpy import save_file

from bench.harness import interleave, scratch
from tokenscope.probes.trainer import Window
from tokenscope.stores.zarr_store import StoreWriter, Variable, open_array, open_store

CHUNK_BYTES = 64e6
WRITTEN_BYTES, READ_BYTES = 1e9, 2.5e8
SHAPES = {"ViT-S/14, 224": (261, 384), "DINOv2-G, 518": (1374, 1536), "bank, D 1536": (37, 1536)}
BATCH = 1024


def main(report, device):
    with scratch() as folder:
        disk(report, Path(folder, "dd"))
    for name, (tokens, width) in SHAPES.items():
        rng = np.random.default_rng(0)
        chunk = max(1, int(CHUNK_BYTES / (2 * tokens * width)))
        piece = rng.standard_normal((chunk, tokens, width), np.float32).astype(np.float16)
        written, read_ = (chunk * max(2, int(b / CHUNK_BYTES)) for b in (WRITTEN_BYTES, READ_BYTES))
        with scratch() as folder:
            write(report, name, Path(folder), piece, written)
            read(report, name, Path(folder), piece, read_, rng)


def disk(report, file):
    """What the disk itself writes and reads, past the cache; nothing where it cannot."""
    count = f"count={int(READ_BYTES) >> 24}"
    for what, given in {
        "write": ["if=/dev/zero", f"of={file}", "oflag=direct", "conv=fsync"],
        "read": [f"if={file}", "of=/dev/null", "iflag=direct"],
    }.items():
        done = subprocess.run(
            ["dd", "bs=16M", count, *given], capture_output=True, text=True, env={"LC_ALL": "C"}
        )
        if found := re.search(r"(\d+) bytes.* copied, ([\d.e-]+) s", done.stderr):
            report.note(
                f"disk, {what}", "GB/s", "dd, direct", 1e-9 * int(found[1]) / float(found[2])
            )
        else:
            print(f"  disk, {what}: no direct I/O here ({done.stderr.strip().splitlines()[-1:]})")


def write(report, name, folder, piece, images):
    chunk, count = len(piece), itertools.count()
    starts = range(0, images, chunk)

    def fresh() -> Path:
        """A new folder for every time, so that no program overwrites a file."""
        place = folder / str(next(count))
        place.mkdir()
        return place

    def raw():
        place = fresh()
        for start in starts:
            with open(place / f"{start}.bin", "wb", buffering=0) as handle:
                handle.write(piece.data)

    def one_raw():
        with open(fresh() / "all.bin", "wb", buffering=0) as handle:
            for _ in starts:
                handle.write(piece.data)

    def memmap():
        out = np.lib.format.open_memmap(fresh() / "a.npy", "w+", "f2", (images, *piece.shape[1:]))
        for start in starts:
            out[start : start + chunk] = piece

    def safetensors():
        place = fresh()
        for start in starts:
            save_file({"tokens": piece}, place / f"{start}.safetensors")

    def ours():
        place = fresh()
        writer = StoreWriter(place / "store", place / "partial", arrays(piece), images, chunk, "x")
        for start in starts:
            writer.write(start, {"tokens": piece})
        writer.publish({}, {})

    def clear():
        for old in folder.iterdir():
            shutil.rmtree(old)

    def warm():
        """The host of a virtual machine takes back memory that was free, every two seconds, and
        whoever gets it next waits: as much as is written was used just before, and no work keeps
        step with the host."""
        clear()
        time.sleep(random.uniform(0, 2))
        raw()
        clear()

    works = {
        "raw file per chunk": raw, "one raw file": one_raw, "memory map": memmap,
        "safetensors": safetensors, "our store": ours,
    }  # fmt: skip
    times = interleave(works, report.rounds, before=warm)
    clear()
    report.rates(
        f"write, {name}", "GB/s", images // chunk * piece.nbytes / 1e9, times,
        "raw file per chunk", {"our store": ">= 0.8"},
    )  # fmt: skip


def read(report, name, place, piece, images, rng):
    chunk = len(piece)
    starts, total = range(0, images, chunk), images // chunk * piece.nbytes
    mapped = np.lib.format.open_memmap(place / "a.npy", "w+", "f2", (images, *piece.shape[1:]))
    writer = StoreWriter(place / "store", place / "partial", arrays(piece), images, chunk, "x")
    for start in starts:
        mapped[start : start + chunk] = piece
        writer.write(start, {"tokens": piece})
        save_file({"tokens": piece}, place / f"{start}.safetensors")
    writer.publish({}, {})
    mapped = np.load(place / "a.npy", mmap_mode="r")
    before = open_array(place / "store", "tokens")
    files = {start: place / f"{start}.safetensors" for start in starts}

    def whole_tensors():
        for file in files.values():
            with safe_open(file, "np") as handle:
                handle.get_tensor("tokens")

    def whole_store():
        store = open_store(place / "store")["tokens"]
        for s in starts:
            store[s : s + chunk].load()

    works = {
        "memory map": lambda: [np.array(mapped[s : s + chunk]) for s in starts],
        "safetensors": whole_tensors,
        "our store": whole_store,
        "our store, checked before": lambda: [before.read(s, s + chunk) for s in starts],
    }
    times = interleave(works, report.rounds)
    report.rates(
        f"read whole, {name}", "GB/s", total / 1e9, times, "safetensors", {"our store": ">= 0.8"}
    )

    some = np.sort(rng.choice(images, min(32, images), replace=False))

    def image_tensors():
        for i in some:
            with safe_open(files[i // chunk * chunk], "np") as handle:
                handle.get_slice("tokens")[int(i % chunk) : int(i % chunk) + 1]

    works = {
        "memory map": lambda: mapped[some],
        "safetensors": image_tensors,
        "our store": lambda: before.points(some),
    }
    times = interleave(works, report.rounds)
    report.rates(f"random images, {name}", "images/s", len(some), times, "memory map")

    tokens = piece.shape[1]
    rows = np.stack([rng.integers(0, images, BATCH), rng.integers(0, tokens, BATCH)], 1)
    flat = torch.from_numpy(before.read(0, chunk).reshape(1, -1, piece.shape[2])).float()
    held = Window(flat, torch.zeros(1, flat.shape[1]), 0)
    index = torch.from_numpy(rng.integers(0, flat.shape[1], BATCH))
    works = {
        "memory map": lambda: mapped[rows[:, 0], rows[:, 1]],
        "our store": lambda: before.points(rows[:, 0], rows[:, 1]),
        "held": lambda: held.tokens[0, index],  # float32
    }
    times = interleave({k: lambda w=w: [w() for _ in range(20)] for k, w in works.items()},
                       report.rounds)  # fmt: skip
    report.rates(
        f"random tokens, {name}", "tokens/s", 20 * BATCH, times, "memory map",
        {"our store": ">= 0.5"},
    )  # fmt: skip


def arrays(piece) -> dict[str, Variable]:
    return {"tokens": Variable(("token", "feature"), piece.shape[1:], "float16")}
