"""The linear heads of claim 5: seeds, rates and feature sets together, against one at a time.

Random features of a backbone with registers. `plain` trains one head after the other with a
DataLoader, torch's SGD and cosine: the same products, shuffles and updates.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from bench.harness import interleave
from tokenscope.classification.features import Features
from tokenscope.classification.linear import Recipe, train

SETS = ("cls+patch_mean", "cls+patch_mean+registers", "patch_mean+registers")
RATES, SEEDS, EPOCHS = (1e-3, 1e-2, 1e-1), 2, 2
HEADS = len(SETS) * len(RATES) * SEEDS
# features, registers, classes, images, batch
SIZES = {
    "cpu": {"demo": (96, 4, 8, 4000, 256), "ViT-S": (384, 4, 1000, 2000, 256)},
    "cuda": {"DINOv2-L": (1024, 4, 1000, 50_000, 1024)},
}


def plain(features, name, classes, recipe, rate, device):
    """One head as in a tutorial."""
    x = features.rows(name, slice(None), device)[:, :-1]
    data = TensorDataset(x, features.labels.to(device))
    loader = DataLoader(data, recipe.batch, shuffle=True, drop_last=True)
    layer = nn.Linear(x.shape[1], classes).to(device)
    sgd = torch.optim.SGD(
        layer.parameters(), lr=rate * recipe.batch / 256, momentum=recipe.momentum
    )
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(sgd, recipe.epochs * len(loader))
    for _ in range(recipe.epochs):
        for rows, labels in loader:
            sgd.zero_grad()
            F.cross_entropy(layer(rows), labels).backward()
            sgd.step()
            cosine.step()


def main(report, device):
    torch.set_float32_matmul_precision("high")
    for name, (width, registers, classes, images, batch) in SIZES[device].items():
        generator = torch.Generator().manual_seed(0)
        parts = {
            part: torch.randn(images, n * width, generator=generator).to(device)
            for part, n in (("cls", 1), ("patch_mean", 1), ("registers", registers))
        }
        labels = torch.randint(classes, (images,), generator=generator)
        features = Features(parts, labels, np.arange(images).astype(str))
        recipe = Recipe(SETS, RATES, EPOCHS, batch, seeds=SEEDS)

        def plainly(features=features, classes=classes, recipe=recipe):
            for _ in range(SEEDS):
                for part in SETS:
                    for rate in RATES:
                        plain(features, part, classes, recipe, rate, device)

        works = {
            "plain": plainly,
            "together": lambda f=features, c=classes, r=recipe: train(f, c, r, device),
        }
        times = interleave(works, max(2, report.rounds // 2), device)
        report.rates(name, "heads/s", HEADS, times, "plain", {"together": ">= 1"})
