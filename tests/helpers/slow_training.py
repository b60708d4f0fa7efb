"""Run as a program by tests: a small training with everything on, slowly if asked to.

Arguments: a folder, seconds to wait after each update, and where the weights go. Under torchrun
its processes share the work.
"""

import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import timm
import torch

from tokenscope.backbones.registers import add_registers
from tokenscope.stores.checkpoint import TrainingCheckpoint, save_weights
from tokenscope.study.recipes import training
from tokenscope.training.batches import Memory
from tokenscope.training.distributed import World
from tokenscope.training.trainer import Callbacks, Trainer

RECIPE = training("slow", {
    "epochs": 3, "batch_size": 16, "micro_batch": 4, "lr": 1.0e-3, "warmup": 0.1, "ema": 0.9,
    "loss": "binary", "mixup": {"mixup_alpha": 0.8, "cutmix_alpha": 1.0}, "repeats": 2,
    "norm_penalty": 0.01, "validation": 0.2, "snapshots": [0, 7, 18], "optimizer": "lamb",
    "publish": "ema", "checkpoint_minutes": 1.0e-4,
})  # fmt: skip


def main(folder, delay):
    torch.set_num_threads(1)
    world = World.join("cpu")
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 120)
    pixels = rng.integers(0, 80, (120, 16, 16, 3)) + 40 * labels[:, None, None, None]
    torch.manual_seed(0)
    model = timm.create_model(
        "vit_tiny_patch16_224", img_size=16, patch_size=8, embed_dim=24, depth=2, num_heads=2,
        num_classes=4, drop_path_rate=0.2, drop_rate=0.1,
    )  # fmt: skip
    add_registers(model, 2)
    checkpoint = (
        TrainingCheckpoint(folder / "partial" / "run", "fixed", "slow") if world.main else None
    )
    trainer = Trainer(
        model, Memory(pixels.astype(np.uint8), labels), RECIPE, (0.5,) * 3, (0.5,) * 3, world,
        checkpoint.load() if world.main and world.size == 1 else None,
    )  # fmt: skip

    def keep(state, reason):
        if world.main:
            checkpoint.save(state)
            with open(folder / "steps", "a") as handle:
                handle.write(f"{state['done']}\n")
        time.sleep(delay)

    def snapshot(step, weights):
        if world.main:
            checkpoint.snapshot(step, weights)

    history = trainer.run(Callbacks(keep=keep, snapshot=snapshot))
    if world.main:
        checkpoint.publish_snapshots(folder / "snapshots")
        save_weights(trainer.weights(), folder / "weights.safetensors")
        pd.DataFrame(history).to_csv(folder / "history.csv", index=False)
        checkpoint.remove()
    world.leave()


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]))
