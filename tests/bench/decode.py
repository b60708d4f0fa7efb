"""Decoding photographs: once for all backbones, against the usual loader, against appetite.

JPEG files of 500 x 375 pixels made here. The rule decode writes a store that every backbone of that
geometry reads; a loader in each backbone's job decodes again and again. Then how many decoding
processes one device needs to stay busy. `draft` decodes JPEG at a fraction of its size, which we do
not do: it changes pixels.
"""

import statistics
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torchvision import transforms
from torchvision.datasets import ImageFolder

from bench.harness import interleave, scratch
from bench.shapes import normal, open_random, pixels
from tokenscope.datasets.manifest import index
from tokenscope.forward.precision import autocast
from tokenscope.images.geometry import Geometry
from tokenscope.images.preprocess import shape
from tokenscope.images.readers import DecodedImages, StreamedImages
from tokenscope.stores.zarr_store import StoreWriter, Variable

IMAGES, BACKBONES = 64, 8
SIZES = (224, 518)
SMALL = "vit_small_patch14_reg4_dinov2"


def main(report, device):
    with scratch() as folder:
        photographs(Path(folder, "train"), IMAGES)
        for size in SIZES:
            one_size(report, device, Path(folder), size)


def one_size(report, device, folder, size):
    geometry = Geometry.evaluation(size, 0.875, "bicubic")
    table = index({"type": "imagefolder", "path": str(folder / "train"), "labels": "none"})
    ours = StreamedImages(str(folder / "train"), table, geometry, workers=1)
    usual = transforms.Compose([
        transforms.Resize(geometry.resize, transforms.InterpolationMode.BICUBIC),
        transforms.CenterCrop(size),
        transforms.ToTensor(),
        transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    ])  # fmt: skip
    theirs = ImageFolder(str(folder / "train"), usual)
    files = sorted((folder / "train").rglob("*.jpg"))
    torch.set_num_threads(1)
    works = {
        "torchvision's ImageFolder": lambda: [theirs[i][0] for i in range(IMAGES)],
        "ours": lambda: [ours.read(i, i + 1) for i in range(IMAGES)],
        "ours with draft": lambda: [drafted(file, geometry) for file in files],
    }
    times = interleave(works, report.rounds)
    setting = f"one core, {size}"
    report.rates(setting, "images/s", IMAGES, times, "torchvision's ImageFolder")
    differ = np.mean([
        np.mean(drafted(file, geometry) != shape(Image.open(file).convert("RGB"), geometry))
        for file in files[:10]
    ])  # fmt: skip
    report.note(setting, "of pixel values", "changed by draft", float(differ))
    core = statistics.median(times["ours"].rates(IMAGES))

    def once():
        arrays = {"pixels": Variable(("row", "column", "channel"), (size, size, 3), "uint8")}
        place = folder / "once"
        writer = StoreWriter(place / "store", place / "partial", arrays, IMAGES, 16, "x")
        for start, stop in writer.ranges():
            writer.write(start, {"pixels": ours.read(start, stop)})
        writer.publish({}, {})
        for _ in range(BACKBONES):
            read_all(DecodedImages(place / "store"))

    def each():
        for _ in range(BACKBONES):
            read_all(ours)

    times = interleave({"a decode each": each, "decoded once": once}, max(2, report.rounds // 2))
    report.rates(
        f"{BACKBONES} backbones, {size}", "images/s", BACKBONES * IMAGES, times, "a decode each"
    )
    torch.set_num_threads(torch.get_num_interop_threads())
    batch = 8 if device == "cpu" else 64
    model = open_random(SMALL, {}, size, device)
    x = normal(pixels(batch, size), device)

    def forward():
        with torch.inference_mode(), autocast(device):
            model.forward_features(x)

    appetite = interleave({"forward": forward}, report.rounds, device)["forward"]
    rate = statistics.median(appetite.rates(batch))
    report.note(f"appetite, {size}", "images/s", f"DINOv2-S on {device}", rate)
    report.note(f"appetite, {size}", "cores", "decoding to feed it", rate / core)


def read_all(source) -> None:
    for start in range(0, IMAGES, 16):
        source.read(start, start + 16)


def drafted(path, geometry):
    """The same square from a JPEG decoded at the smallest fraction that still covers it."""
    with Image.open(path) as image:
        image.draft("RGB", (geometry.resize, geometry.resize))
        return shape(image.convert("RGB"), geometry)


def photographs(folder: Path, images: int, classes: int = 10) -> None:
    """JPEG files of the usual size with detail at every scale, so that they cost what they cost."""
    rng = np.random.default_rng(0)
    for i in range(images):
        small = rng.integers(0, 256, (24, 32, 3), dtype=np.uint8)
        picture = np.asarray(Image.fromarray(small).resize((500, 375), Image.Resampling.BICUBIC))
        noisy = np.clip(picture + rng.normal(0, 12, picture.shape), 0, 255).astype(np.uint8)
        file = folder / f"class{i % classes}" / f"{i:06d}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noisy).save(file, quality=92)
