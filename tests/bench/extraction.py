"""Everything that claims need, stored on disk, against bare forward passes.

Each shape: ``model.forward_features`` on prepared batches, the same with all hooks on (nothing
leaves the device), and the whole pipeline from a store of decoded images to a store of tokens. The
share of time inside the model's own forward pass tells how long the device waited for anything
else; matrix products of this machine, or the chip's peak, are the physical limit.
"""

import itertools
import statistics
import time
from pathlib import Path

import torch

from bench.harness import interleave, scratch, sync
from bench.shapes import flops, normal, open_random, peak_flops, pixels, shapes
from tokenscope.extraction.loop import extract, variables
from tokenscope.forward.hooks import TokenHooks
from tokenscope.forward.precision import autocast
from tokenscope.images.readers import DecodedImages
from tokenscope.stores.zarr_store import StoreWriter, Variable

BATCHES = {"cpu": 4, "cuda": 24}
HALVES = (0.5, 0.5, 0.5)
TARGETS = {"cpu": ">= 0.90", "cuda": ">= 0.95"}


def main(report, device):
    limit, peak = peak_flops(device)
    report.note(limit, "TFLOP/s", "physical limit", peak / 1e12)
    for name, (timm_id, arguments, size, batch) in shapes(device).items():
        images = BATCHES[device] * batch
        model = open_random(timm_id, arguments, size, device)
        with scratch() as folder:
            store = decoded(Path(folder), images, size, batch)
            one_shape(report, device, name, model, store, batch, Path(folder))
        del model


def one_shape(report, device, name, model, store, batch, folder):
    images = len(store)
    x = normal(store.read(0, batch), device)
    busy, memory, written = Busy(model, device), {}, {}
    count = itertools.count()

    def bare():
        for _ in range(images // batch):
            with torch.inference_mode(), autocast(device):
                model.forward_features(x)

    def hooks():
        with TokenHooks(model) as observe:
            for _ in range(images // batch):
                with torch.inference_mode(), autocast(device):
                    observe(x)

    def pipeline():
        arrays = variables(model, model.patch_embed.grid_size, {"tokens": True})
        place = folder / str(next(count))
        writer = StoreWriter(place / "store", place / "partial", arrays, images, 2 * batch, "x")
        with busy:
            extract(model, store.read, writer, HALVES, HALVES, batch, device)
        receipt_arrays = writer.publish({}, {})
        written["bytes"] = sum(_bytes(facts) for facts in receipt_arrays.values())

    def watched(work, key):
        def run():
            if device == "cuda":
                torch.cuda.reset_peak_memory_stats()
            work()
            if device == "cuda":
                memory.setdefault(key, []).append(torch.cuda.max_memory_allocated() / 1e6)

        return run

    works = {"bare forward": bare, "hooks": hooks, "everything on": pipeline}
    works = {key: watched(work, key) for key, work in works.items()}
    times = interleave(works, report.rounds, device)
    report.rates(
        name, "images/s", images, times, "bare forward", {"everything on": TARGETS[device]}
    )
    bare_rate = statistics.median(times["bare forward"].rates(images))
    tera = flops(model, x.shape[-1]) * bare_rate / 1e12
    report.note(name, "TFLOP/s", "bare forward", tera)
    seconds = statistics.median(times["everything on"].wall)
    report.note(name, "MB/s", "everything on: written", written["bytes"] / seconds / 1e6)
    share = statistics.median(busy.shares[1:])
    report.note(name, "of the time", "everything on: inside the model", share)
    if memory:
        report.add(
            name, "MB on device", {k: v[1:] for k, v in memory.items()}, "bare forward",
            {"everything on": "<= 1.2"},
        )  # fmt: skip


class Busy:
    """Share of the time of a block that the model's forward pass was under way on the device."""

    def __init__(self, model, device):
        self.forward, self.device, self.shares = model.forward_features, device, []
        self.marks: list[tuple] = []
        model.forward_features = self._watched

    def _watched(self, x):
        before = self._mark()
        out = self.forward(x)
        self.marks.append((before, self._mark()))
        return out

    def _mark(self):
        if self.device == "cpu":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def __enter__(self):
        self.marks.clear()
        self.start = time.perf_counter()
        return self

    def __exit__(self, *_):
        sync(self.device)
        whole = time.perf_counter() - self.start
        cuda = self.device == "cuda"
        inside = (a.elapsed_time(b) / 1e3 if cuda else b - a for a, b in self.marks)
        self.shares.append(sum(inside) / whole)


def decoded(folder: Path, images: int, size: int, batch: int) -> DecodedImages:
    """A store of random pixels as the rule decode writes it."""
    arrays = {"pixels": Variable(("row", "column", "channel"), (size, size, 3), "uint8")}
    writer = StoreWriter(folder / "images", folder / "partial", arrays, images, batch, "pixels")
    values = pixels(images, size)
    for start, stop in writer.ranges():
        writer.write(start, {"pixels": values[start:stop]})
    writer.publish({}, {})
    return DecodedImages(folder / "images")


def _bytes(facts: dict) -> int:
    size = torch.empty(0, dtype=getattr(torch, facts["dtype"])).element_size()
    for n in facts["shape"]:
        size *= n
    return size
