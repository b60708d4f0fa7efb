"""What all programs share: the same model and images, a clock, and their memory."""

import json
import shutil
import sys
import time
from pathlib import Path

import numpy as np

from bench.harness import pick, sync
from bench.shapes import open_random, shapes


def program(work) -> None:
    """Run ``work(model, images, batch, device, folder)`` and print its speed and memory as JSON.

    ``images`` is a memory map (image, row, column, channel) uint8, ``folder`` takes results.
    """
    name, place, count = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    device = pick()
    timm_id, arguments, size, batch = shapes(device)[name]
    model = open_random(timm_id, arguments, size, device)
    images = np.load(place / "images.npy", mmap_mode="c")[:count]
    work(model, images[:batch], batch, device, place / "warm")
    sync(device)
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before, start = _resident("VmRSS"), time.perf_counter()
    work(model, images, batch, device, place / "work")
    sync(device)
    seconds = time.perf_counter() - start
    grown = max(0.0, _resident("VmHWM") - before)
    for folder in ("warm", "work"):
        shutil.rmtree(place / folder, ignore_errors=True)
    print(json.dumps({"images_per_second": count / seconds, "mb_per_image": grown / count}))


def _resident(key: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(key)).split()[1]) * 1024 / 1e6
