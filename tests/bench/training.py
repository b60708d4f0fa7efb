"""Training: ours beside timm's own train script.

Same images (JPEG files made here), same augmentation, optimiser, loss, precision, batch and
workers. timm's script is no part of its package: TIMM_TRAIN names it in a checkout; without it only
ours is timed.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import timm

from bench.decode import photographs
from bench.harness import scratch
from tokenscope.forward.device import pick_device
from tokenscope.images.geometry import Geometry
from tokenscope.images.location import ImageLocation
from tokenscope.study.recipes import training
from tokenscope.training.batches import Files
from tokenscope.training.distributed import World
from tokenscope.training.trainer import Callbacks, Trainer

CLASSES, EPOCHS = 10, 3
# model, images, batch
SIZES = {"cpu": ("vit_tiny_patch16_224", 64, 8), "cuda": ("deit3_small_patch16_224", 8192, 256)}


def main(report, device):
    model, images, batch = SIZES[device]
    workers = os.cpu_count()
    with scratch() as folder:
        photographs(Path(folder, "train"), images, CLASSES)
        Path(folder, "val").symlink_to(Path(folder, "train"))
        speeds = {"ours": [], "timm's train.py": []}
        script = os.environ.get("TIMM_TRAIN")
        for _ in range(2):
            if script:
                speeds["timm's train.py"].append(timms(script, folder, model, batch, workers))
            speeds["ours"].append(ours(Path(folder), model, batch, workers))
    speeds = {name: values for name, values in speeds.items() if values}
    report.add(model, "images/s", speeds, "timm's train.py" if script else "")


def ours(folder, model, batch, workers):
    recipe = training("throughput", {
        "epochs": EPOCHS, "batch_size": batch, "lr": 4.0e-3, "optimizer": "lamb",
        "weight_decay": 0.05, "loss": "binary", "ema": 0.99996, "repeats": 3, "clip": 1.0,
        "augment": {"auto_augment": "3a", "color_jitter": 0.3, "interpolation": "bicubic"},
        "mixup": {"mixup_alpha": 0.8, "cutmix_alpha": 1.0},
    })  # fmt: skip
    paths = sorted((folder / "train").rglob("*.jpg"))
    labels = np.array([int(path.parent.name[5:]) for path in paths])
    places = [ImageLocation(str(path)) for path in paths]
    source = Files(places, labels, Geometry.evaluation(224, 1.0, "bicubic"), workers)
    model = timm.create_model(model, num_classes=CLASSES, drop_path_rate=0.05)
    world = World(pick_device("auto"))
    speeds = []
    trainer = Trainer(model, source, recipe, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), world)
    trainer.run(Callbacks(report=lambda _row, speed: speeds.append(speed)))
    return speeds[-1]  # the first epoch also starts the workers


def timms(script, folder, model, batch, workers):
    command = [
        sys.executable, script, str(folder), "--model", model, "--num-classes", CLASSES,
        "--batch-size", batch, "--epochs", EPOCHS, "--workers", workers, "--opt", "lamb", "--lr",
        "4e-3", "--weight-decay", "0.05", "--clip-grad", "1.0", "--aa", "3a", "--color-jitter",
        "0.3", "--train-interpolation", "bicubic", "--mixup", "0.8", "--cutmix", "1.0",
        "--smoothing", "0", "--bce-loss", "--bce-target-thresh", "0", "--drop-path", "0.05",
        "--aug-repeats", "3", "--model-ema", "--model-ema-decay", "0.99996", "--amp",
        "--amp-dtype", "bfloat16", "--reprob", "0", "--log-interval", "5", "--output",
        str(Path(folder, "timm")),
    ]  # fmt: skip
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    rates = re.findall(r"\(\s*([\d.]+)/s\)", done.stdout + done.stderr)
    if done.returncode or not rates:
        sys.exit(f"timm's script failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return float(rates[-1])
