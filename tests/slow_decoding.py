"""Decoding against torchvision's ImageFolder with the usual transform, same files, one core.

    PYTHONPATH=workflow_scripts python tests/slow_decoding.py FOLDER [SIZE] [ROUNDS]

FOLDER holds photographs at any depth. Prints milliseconds of processor time per image and the ratio
of the two throughputs; above 1 this project is faster. Also how many pixels would differ, and what
would be gained, if JPEG files were decoded at a fraction of their size (``Image.draft``), which is
why they are not.
"""

import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torchvision import transforms
from torchvision.datasets import ImageFolder

from tokenscope.geometry import Geometry
from tokenscope.images import StreamedImages
from tokenscope.layouts import EXTENSIONS
from tokenscope.manifest import index
from tokenscope.pixels import shape


def main(folder, size=224, rounds=5):
    torch.set_num_threads(1)
    geometry = Geometry.evaluation(size, 0.875, "bicubic")
    table = index({"type": "imagefolder", "path": folder, "labels": "none"})
    ours = StreamedImages(folder, table, geometry, workers=1)
    with tempfile.TemporaryDirectory() as tree:
        os.symlink(Path(folder).resolve(), Path(tree, "class"))
        theirs = ImageFolder(
            tree,
            transforms.Compose([
                transforms.Resize(geometry.resize, transforms.InterpolationMode.BICUBIC),
                transforms.CenterCrop(size),
                transforms.ToTensor(),
                transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
            ]),
        )  # fmt: skip
        assert len(theirs) == len(table)
        jpegs = [p for p in Path(folder).rglob("*") if p.suffix.lower() in EXTENSIONS]
        times = {"ImageFolder": [], "this project": [], "with draft": []}
        for _ in range(rounds):
            for name, work in (
                ("ImageFolder", lambda: [theirs[i][0] for i in range(len(theirs))]),
                ("this project", lambda: [ours.read(i, i + 1) for i in range(len(table))]),
                ("with draft", lambda: [drafted(p, geometry) for p in jpegs]),
            ):
                start = time.process_time()
                work()
                times[name].append((time.process_time() - start) / len(table))
    best = {name: 1e3 * min(seconds) for name, seconds in times.items()}
    for name, ms in best.items():
        print(f"{name:14} {ms:7.2f} ms of one core per image")
    print(
        f"throughput, this project / ImageFolder: {best['ImageFolder'] / best['this project']:.2f}"
    )
    sample = [Path(folder, path) for path in table["path"][:50]]
    changed = [
        np.mean(drafted(p, geometry) != shape(Image.open(p).convert("RGB"), geometry))
        for p in sample
    ]
    print(f"pixel values that draft would change: {100 * np.mean(changed):.1f} %")


def drafted(path, geometry):
    """The same square from a JPEG decoded at the smallest fraction that still covers it."""
    with Image.open(path) as image:
        image.draft("RGB", (geometry.resize, geometry.resize))
        return shape(image.convert("RGB"), geometry)


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
