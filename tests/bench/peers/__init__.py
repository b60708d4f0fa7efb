"""Whole programs that take tokens from a backbone: ours, and what people write today.

Each is a small program of its own (a file here) with the same images, weights and machine, started
afresh in every round. Times leave out imports, opening the model and one warm-up batch. Memory is
what a program's resident set grows by while it works, per image.
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np

from bench.harness import scratch
from bench.shapes import pixels, shapes

# Images per program, (CPU, GPU at 224, GPU at 518): the loop keeps up to a gigabyte of each.
IMAGES = {
    "bare": (32, 2048, 512),
    "ours": (32, 2048, 512),
    "hidden_states": (32, 1024, 128),
    "loop": (32, 128, 24),
}
SPEED = {"cpu": ">= 1.2", "cuda": ">= 5"}


def main(report, device):
    for name, (_, _, size, _) in shapes(device).items():
        if device == "cpu" and size != 224 or name[7:9] in ("-L", "-G"):
            continue
        place = 0 if device == "cpu" else 1 + (size == 518)
        facts_of = {program: [] for program in IMAGES}
        with scratch() as folder:
            np.save(
                Path(folder, "images.npy"), pixels(max(c[place] for c in IMAGES.values()), size)
            )
            for round_ in range(report.rounds):
                for program in list(IMAGES)[:: -1 if round_ % 2 else 1]:
                    facts_of[program].append(run(program, name, folder, IMAGES[program][place]))
        speeds = {
            program: [f["images_per_second"] for f in all_] for program, all_ in facts_of.items()
        }
        report.add(name, "images/s", speeds, "loop", {"ours": SPEED[device]})
        memory = {program: [f["mb_per_image"] for f in all_] for program, all_ in facts_of.items()}
        del memory["bare"]
        report.add(name, "MB per image", memory, "loop", {"ours": "<= 0.1"})


def run(program: str, shape: str, folder: str, images: int) -> dict:
    """What one program says of itself."""
    command = [sys.executable, "-m", f"bench.peers.{program}", shape, folder, str(images)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
