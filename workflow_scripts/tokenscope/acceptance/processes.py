"""Two devices that train together against one that does it all: the same loss."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import timm
import torch
from torch import nn

from tokenscope.acceptance.outcome import Said
from tokenscope.errors import StudyError
from tokenscope.paths import SCRIPTS
from tokenscope.stores.receipts import write_text
from tokenscope.training.distributed import World, torchrun

STEPS, IMAGES, CLASSES = 5, 16, 4
APART = 1e-2


def together(device: str) -> Said:
    """A few steps of training by two processes (NCCL on GPUs, gloo on a CPU) and by one."""
    losses = [_losses(device, count) for count in (1, 2)]
    apart = float(np.max(np.abs(np.divide(losses[1], losses[0]) - 1)))
    fell = losses[0][-1] < losses[0][0]
    text = f"losses within {100 * apart:.3f} %, from {losses[0][0]:.3f} to {losses[0][-1]:.3f}"
    return Said(apart < APART and fell, text)


def _losses(device: str, count: int) -> list[float]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "losses.json")
        module = ["-m", "tokenscope.acceptance.processes", device, str(file)]
        command = [sys.executable, *module] if count == 1 else [*torchrun(count, 1, count), *module]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, cwd=SCRIPTS, env=environment, capture_output=True, text=True)
        if done.returncode:
            raise StudyError(f"{count} processes: {done.stderr.strip().splitlines()[-1][:200]}")
        return json.loads(file.read_text())


def main(device: str, file: str) -> None:
    """One of the processes: its part of each batch, gradients averaged over all."""
    world = World.join(device)
    torch.manual_seed(0)
    model = timm.create_model(
        "vit_tiny_patch16_224", img_size=32, patch_size=8, embed_dim=48, depth=2, num_heads=2,
        num_classes=CLASSES,
    ).to(world.device)  # fmt: skip
    learner = world.wrap(model)
    optimizer = torch.optim.SGD(learner.parameters(), lr=0.1)
    images = torch.randn(IMAGES, 3, 32, 32).to(world.device)
    labels = torch.arange(IMAGES).to(world.device) % CLASSES
    mine, losses = slice(world.rank, None, world.size), []
    for _ in range(STEPS):
        loss = nn.functional.cross_entropy(learner(images[mine]), labels[mine])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append((world.sum(loss.detach().clone()) / world.size).item())
    if world.main:
        write_text(file, json.dumps(losses))
    world.leave()


if __name__ == "__main__":
    main(*sys.argv[1:])
