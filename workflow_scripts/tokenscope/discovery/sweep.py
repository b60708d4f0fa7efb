"""LOST over a data set in one pass: every setting of it, features never stored.

Images keep their own size (padded to whole patches) and are batched by it. The Gram matrix of a
block and facet is made once on the device and serves all biases, normalised and not; only the masks
leave it, and a thread turns them into boxes while the device works on the next batch.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from itertools import groupby
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from tokenscope.backbones.position_embedding import AnySize
from tokenscope.discovery.lost import components, expand, orders, to_pixels
from tokenscope.discovery.settings import Setting, as_published
from tokenscope.forward.inputs import batch, padded
from tokenscope.forward.out_of_memory import halving_batches
from tokenscope.forward.precision import autocast
from tokenscope.forward.qkv_hooks import QkvHooks
from tokenscope.images.location import ImageLocation
from tokenscope.images.preprocess import BadImage, open_rgb
from tokenscope.images.readers import prefetch
from tokenscope.jobs.job import Interrupted
from tokenscope.stores.zarr_store import StoreWriter, Variable

TIE_ORDERS = 10  # drawn at random, the same for all images of one size
GRAM_ENTRIES = 2**26  # of all images of a batch: 256 MB in float32, four such are alive at once


def variables(settings: list[Setting]) -> dict[str, Variable]:
    """The arrays of a discovery store, for one image each under some settings."""
    count, published = len(settings), len(as_published(settings))
    drawn = {
        "box_random_ties": Variable(
            ("published", "order", "corner"), (published, TIE_ORDERS, 4), "float32",
            {"units": "pixel", "long_name": "object found with ties of the degree at random"},
        ),
    } if published else {}  # fmt: skip
    return drawn | {
        "box": Variable(
            ("setting", "corner"), (count, 4), "float32",
            {"units": "pixel", "long_name": "left, top, right, bottom of the object found"},
        ),
        "seed": Variable(("setting",), (count,), "int32", {"long_name": "patch, row by row"}),
        "degree": Variable(
            ("setting",), (count,), "int32",
            {"long_name": "patches that are positively similar to the seed"},
        ),
        "area": Variable(
            ("setting",), (count,), "int32", {"long_name": "patches of the object", "units": "1"}
        ),
        "tied": Variable(
            ("setting",), (count,), "int32", {"long_name": "patches that share the lowest degree"}
        ),
    }  # fmt: skip


def coordinates(images: pd.DataFrame, settings: list[Setting]) -> dict[str, tuple]:
    """Coordinate variables: which image, which setting."""
    block, facet, normalised, bias = zip(*settings, strict=True)
    return {
        "image_id": (("image",), images["image_id"].to_numpy(str)),
        "width": (("image",), images["width"].to_numpy(np.int32)),
        "height": (("image",), images["height"].to_numpy(np.int32)),
        "block": (("setting",), np.array(block, np.int16)),
        "facet": (("setting",), np.array(facet)),
        "normalised": (("setting",), np.array(normalised)),
        "bias": (("setting",), np.array(bias, np.float64)),
        "published_facet": (("published",), np.array([s.facet for s in as_published(settings)])),
        "corner": (("corner",), np.array(["left", "top", "right", "bottom"])),
    }


def by_size(images: pd.DataFrame, patch: int) -> pd.DataFrame:
    """Images sorted by padded size, so that the batches of one size are long."""
    sizes = [padded(h, w, patch) for h, w in zip(images["height"], images["width"], strict=True)]
    order = sorted(range(len(images)), key=lambda i: (*sizes[i], images["image_id"].iloc[i]))
    return images.iloc[order].reset_index(drop=True)


class Reader:
    """Decodes images at their own size, several at once; checks each against its size."""

    def __init__(self, root: str, images: pd.DataFrame, threads: int):
        self.root, self.images = Path(root), images
        self.pool = ThreadPoolExecutor(threads)

    def __call__(self, start: int, stop: int) -> list[np.ndarray]:
        return list(self.pool.map(self._one, range(start, stop)))

    def _one(self, i: int) -> np.ndarray:
        row = self.images.iloc[i]
        place = ImageLocation(str(self.root / row["path"]), sha256=row.get("sha256", ""))
        pixels = np.asarray(open_rgb(place))
        if pixels.shape[:2] != (row["height"], row["width"]):
            raise BadImage(
                f"{row['path']}: has {pixels.shape[1]} x {pixels.shape[0]} pixels now, was listed "
                f"with {row['width']} x {row['height']}"
            )
        return pixels

    def close(self) -> None:
        """End the threads; images that wait are not read."""
        self.pool.shutdown(cancel_futures=True)


@lru_cache(4)
def _ties(count: int, device: str) -> Tensor:
    """The orders of ties of all images of so many patches: images come sorted by size."""
    with torch.inference_mode(False):
        return orders(count, TIE_ORDERS).to(device)


class Discoverer:
    """LOST under all settings on batches of images of one padded size.

    Args:
        model: as open_backbone gives it. mean, std: of its data config.
        settings: of :func:`tokenscope.discovery.settings.every_setting`.
        batch: most images at once; fewer where their Gram matrices would not fit.
    """

    def __init__(self, model: nn.Module, mean, std, settings, candidates, batch: int, device: str):
        self.sized, self.model = AnySize(model), model
        self.patch = model.patch_embed.patch_size[0]
        self.mean, self.std = (torch.tensor(v, device=device) for v in (mean, std))
        self.settings, self.candidates = settings, candidates
        self.batch, self.device, self.entries = batch, device, GRAM_ENTRIES
        self.cuda = device.startswith("cuda")
        self.published = as_published(settings)
        blocks = len({s.block for s in settings})
        self.facets = QkvHooks(model, blocks)
        self.groups = [
            (key, [(s.normalised, s.bias) for s in group])
            for key, group in groupby(settings, key=lambda s: (s.block, s.facet))
        ]

    def pieces(self, images: pd.DataFrame) -> Iterator[tuple[tuple[int, int], list[int]]]:
        """Padded size and positions of the batches of a chunk."""
        sizes = [
            padded(h, w, self.patch) for h, w in zip(images["height"], images["width"], strict=True)
        ]
        order = sorted(range(len(images)), key=sizes.__getitem__)
        for size, members in groupby(order, key=sizes.__getitem__):
            members = list(members)
            while members:
                n = size[0] * size[1] // self.patch**2
                count = min(self.batch, max(1, self.entries // n**2))
                yield size, members[:count]
                members = members[count:]

    @torch.inference_mode()
    def masks(self, images: list[np.ndarray], size: tuple[int, int]) -> list[Tensor]:
        """Masks (B, setting, patch), seeds, their degrees and how many patches share them (B,
        setting), with the settings as published under other orders of ties behind the others: on
        the host, under way.
        """
        self.sized.set(*size)
        x = batch(images, size, self.mean, self.std)
        with autocast(self.device):
            facets = self.facets(x)
        ties = _ties(size[0] * size[1] // self.patch**2, self.device)
        published, parts, redrawn = {(s.block, s.facet) for s in self.published}, [], []
        for key, ways in self.groups:  # one Gram matrix serves the orders of ties as well
            ranks, drawn = None, 0
            if key in published:
                ways, drawn = [*ways, *[(False, 0.0)] * TIE_ORDERS], TIE_ORDERS
                first = torch.arange(ties.shape[1], device=ties.device)
                ranks = torch.cat([first.expand(len(ways) - drawn, -1), ties])
            out = expand(facets[key], ways, self.candidates, ranks)
            lowest = out.degree.gather(2, out.seed[:, :, None])
            tied = (out.degree == lowest).sum(2)
            values = (out.mask, out.seed, lowest[:, :, 0], tied)
            parts.append([v[:, : len(ways) - drawn] for v in values])
            redrawn.append([v[:, len(ways) - drawn :] for v in values])
        return [self._to_host(torch.cat(v, 1)) for v in zip(*parts, *redrawn, strict=True)]

    def _to_host(self, value: Tensor) -> Tensor:
        if not self.cuda:
            return value
        host = torch.empty(value.shape, dtype=value.dtype, pin_memory=True)
        return host.copy_(value, non_blocking=True)

    def boxes(self, values: list[Tensor], copied, size, native: np.ndarray) -> dict:
        """What a store keeps of a batch; ``native`` (B, 2) is width and height of its images."""
        if copied is not None:
            copied.synchronize()
        mask, seed, degree, tied = (value.numpy() for value in values)
        count, ways = seed.shape
        settings = len(self.settings)
        grid = (size[0] // self.patch, size[1] // self.patch)
        component, box = components(mask.reshape(-1, *grid), seed.ravel())
        pixels = to_pixels(box, self.patch, native.repeat(ways, 0)).reshape(count, ways, 4)
        area = component.sum((1, 2)).reshape(count, ways)
        whole = {"seed": seed, "degree": degree, "area": area, "tied": tied}
        found = {name: values[:, :settings].astype(np.int32) for name, values in whole.items()}
        found["box"] = pixels[:, :settings].astype(np.float32)
        if self.published:
            shape = (count, len(self.published), TIE_ORDERS, 4)
            found["box_random_ties"] = pixels[:, settings:].reshape(shape).astype(np.float32)
        return found

    def submit(self, pool, images: list[np.ndarray], size: tuple[int, int]) -> Future:
        """Run one batch on the device and leave its boxes to ``pool``."""
        values = self.masks(images, size)
        copied = None
        if self.cuda:
            copied = torch.cuda.Event(blocking=True)  # a thread that waits must not take a core
            copied.record()
        native = np.array([image.shape[1::-1] for image in images])
        return pool.submit(self.boxes, values, copied, size, native)


def discover(
    finder: Discoverer,
    images: pd.DataFrame,
    reader: Reader,
    writer: StoreWriter,
    stop: Callable[[], str] = lambda: "",
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict:
    """Fill every missing chunk of ``writer``; returns what the receipt says of the run.

    Raises:
        StudyError: an image cannot be read, or not even one fits into the device's memory.
        Interrupted: told to stop; the next attempt goes on after the last whole chunk.
    """
    ranges = writer.missing()
    done = resumed = len(images) - sum(b - a for a, b in ranges)
    progress(done, len(images))
    with ThreadPoolExecutor(2) as pool, finder.facets:
        for first, last, pixels in prefetch(reader, ranges, ahead=1):
            if reason := stop():
                writer.end_attempt(reason)
                raise Interrupted(f"{reason}: ended after {done:,} of {len(images):,} images")
            chunk = images.iloc[first:last]
            parts = halving_batches(finder, lambda c=chunk, p=pixels: _chunk(finder, pool, c, p))
            values = {
                name: np.empty((last - first, *v.shape), v.dtype)
                for name, v in writer.variables.items()
            }
            for members, future in parts:
                for name, value in future.result().items():
                    values[name][members] = value
            writer.write(first, values)
            done += last - first
            progress(done, len(images))
    return {
        "images": len(images), "resumed_images": resumed,
        "attempts": writer.end_attempt("finished"),
    }  # fmt: skip


def _chunk(finder, pool, chunk, pixels) -> list[tuple[list[int], Future]]:
    return [
        (members, finder.submit(pool, [pixels[i] for i in members], size))
        for size, members in finder.pieces(chunk)
    ]
