"""Benchmark: images/s of DeiT-III-S training, ours beside timm's own train script.

Same images (JPEG files made here), same augmentation, optimiser, loss, precision, batch and
workers. timm's script is no part of its package: give the path of a checkout.

    python tests/throughput.py --timm-train ../pytorch-image-models/train.py --workers 16

With ``--images 64 --batch 8 --model vit_tiny_patch16_224`` it also runs on a CPU.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import timm
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1] / "workflow_scripts"))
from tokenscope.backbones import pick_device
from tokenscope.batches import Files
from tokenscope.geometry import Geometry
from tokenscope.parallel import World
from tokenscope.places import Place
from tokenscope.recipes import training
from tokenscope.training import Callbacks, Trainer

CLASSES = 10


def photographs(folder, images):
    """JPEG files of the usual size with detail at every scale, so that they cost what they cost."""
    rng = np.random.default_rng(0)
    for i in range(images):
        small = rng.integers(0, 256, (24, 32, 3), dtype=np.uint8)
        picture = np.asarray(Image.fromarray(small).resize((500, 375), Image.Resampling.BICUBIC))
        noisy = np.clip(picture + rng.normal(0, 12, picture.shape), 0, 255).astype(np.uint8)
        file = folder / "train" / f"class{i % CLASSES}" / f"{i:06d}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noisy).save(file, quality=92)
    if not (folder / "val").exists():
        (folder / "val").symlink_to(folder / "train")


def ours(folder, options):
    recipe = training("throughput", {
        "epochs": options.epochs, "batch_size": options.batch, "lr": 4.0e-3, "optimizer": "lamb",
        "weight_decay": 0.05, "loss": "binary", "ema": 0.99996, "repeats": 3, "clip": 1.0,
        "augment": {"auto_augment": "3a", "color_jitter": 0.3, "interpolation": "bicubic"},
        "mixup": {"mixup_alpha": 0.8, "cutmix_alpha": 1.0},
    })  # fmt: skip
    paths = sorted((folder / "train").rglob("*.jpg"))
    labels = np.array([int(path.parent.name[5:]) for path in paths])
    places = [Place(str(path)) for path in paths]
    source = Files(places, labels, Geometry.evaluation(224, 1.0, "bicubic"), options.workers)
    model = timm.create_model(options.model, num_classes=CLASSES, drop_path_rate=0.05)
    world = World(pick_device("auto"))
    speeds = []
    trainer = Trainer(model, source, recipe, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), world)
    trainer.run(Callbacks(report=lambda _row, speed: speeds.append(speed)))
    return speeds[-1]  # the first epoch also starts the workers


def timms(folder, options):
    command = [
        sys.executable, options.timm_train, str(folder), "--model", options.model, "--num-classes",
        CLASSES, "--batch-size", options.batch, "--epochs", options.epochs, "--workers",
        options.workers, "--opt", "lamb", "--lr", "4e-3", "--weight-decay", "0.05", "--clip-grad",
        "1.0", "--aa", "3a", "--color-jitter", "0.3", "--train-interpolation", "bicubic", "--mixup",
        "0.8", "--cutmix", "1.0", "--smoothing", "0", "--bce-loss", "--bce-target-thresh", "0",
        "--drop-path", "0.05", "--aug-repeats", "3", "--model-ema", "--model-ema-decay", "0.99996",
        "--amp", "--amp-dtype", "bfloat16", "--reprob", "0", "--log-interval", "5", "--output",
        str(folder / "timm"),
    ]  # fmt: skip
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    rates = re.findall(r"\(\s*([\d.]+)/s\)", done.stdout + done.stderr)
    if done.returncode or not rates:
        sys.exit(f"timm's script failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return float(rates[-1])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--timm-train", help="path of train.py in a checkout of timm")
    parser.add_argument("--model", default="deit3_small_patch16_224")
    parser.add_argument("--images", type=int, default=8192)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--workers", type=int, default=16)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        photographs(Path(folder), options.images)
        print(f"ours   {ours(Path(folder), options):8.0f} images/s", flush=True)
        if options.timm_train:
            print(f"timm's {timms(Path(folder), options):8.0f} images/s")
