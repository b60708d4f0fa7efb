"""The probes of claim 4: trained together, one after the other, and as anyone would write it.

Random tokens, 24 probes (2 groups x 3 seeds x 4 rates) per task. `plain` is a DataLoader and a
linear layer, probe after probe; `in turn` is our training, probe after probe; `one alone` is one
probe of the 24. `all three` are the times of the tasks summed up.
"""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from bench.harness import Timing, interleave
from tokenscope.probes.tasks import Classes, Pixels, Position
from tokenscope.probes.trainer import Recipe, Window, fit

RATES = (3e-4, 1e-3, 3e-3, 1e-2)
GROUPS, SEEDS, EPOCHS = 2, 3, 3
PROBES = GROUPS * SEEDS * len(RATES)
# features, side of the grid, patch, classes, rows, batch
SIZES = {
    "cpu": {"demo": (96, 10, 8, 8, 2000, 256)},
    "cuda": {"DINOv2-S": (384, 37, 14, 1000, 100_000, 1024),
             "DINOv2-G": (1536, 37, 14, 1000, 100_000, 1024)},
}  # fmt: skip


class Random:
    """Random rows on the device, split by seed."""

    def __init__(self, tokens, target, train, validation):
        self.groups = [str(i) for i in range(len(tokens))]
        self.features, self.device = tokens.shape[2], str(tokens.device)
        self.spans = [slice(0, tokens.shape[1])]
        self.window = Window(tokens, target, 0)
        self.train, self.validation = train, validation

    def windows(self):
        yield self.window

    def one(self, group, seed):
        """The part that one probe needs."""
        w = self.window
        return Random(
            w.tokens[group : group + 1], w.target[group : group + 1], self.train[seed : seed + 1],
            self.validation[seed : seed + 1],
        )  # fmt: skip


def plain(data, task, recipe, rate):
    """One probe as in a tutorial."""
    w, device = data.window, data.window.tokens.device
    loaders = [
        DataLoader(
            TensorDataset(w.tokens[0, mask[0]], w.target[0, mask[0]]), recipe.batch, shuffle=first,
            drop_last=first,
        )
        for mask, first in ((data.train, True), (data.validation, False))
    ]  # fmt: skip
    layer = nn.Linear(data.features, task.outputs, bias=False).to(device)
    adam = torch.optim.AdamW(layer.parameters(), lr=rate, weight_decay=task.decay)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(adam, recipe.epochs * len(loaders[0]))
    for _ in range(recipe.epochs):
        for x, y in loaders[0]:
            adam.zero_grad()
            loss(layer(x), y, task).backward()
            adam.step()
            cosine.step()
        with torch.no_grad():
            for x, y in loaders[1]:
                task.scores(layer(x)[None, :, None], y[None])


def loss(z, target, task):
    if isinstance(task, Pixels):
        return F.mse_loss(z, task.scaled(target))
    value = F.cross_entropy(z, target)
    if isinstance(task, Position):
        value = value + 0.5 * F.mse_loss(z.softmax(-1) @ task.place, task.place[target])
    return value


def main(report, device):
    torch.set_float32_matmul_precision("high")
    for name, sizes in SIZES[device].items():
        one_size(report, device, name, *sizes)


def one_size(report, device, name, width, grid, patch, classes, rows, batch):
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randn(GROUPS, rows, width + 1, generator=generator).to(device)
    held = torch.rand(SEEDS, rows, generator=generator) < 0.1
    pixels = 3 * patch**2
    questions = {
        "position": (Position((grid, grid), device), grid**2, ()),
        "pixels": (Pixels(pixels, device), 256, (pixels,)),
        "class": (Classes(classes), classes, ()),
    }
    recipe = Recipe(RATES, epochs=EPOCHS, patience=EPOCHS, batch=batch)
    timings = []
    for question, (task, values, shape) in questions.items():
        target = torch.randint(values, (GROUPS, rows, *shape), generator=generator)
        target = target.to(torch.uint8 if shape else torch.int64).to(device)
        data = Random(tokens, target, ~held, held)
        parts = [(data.one(g, s), r) for g in range(GROUPS) for s in range(SEEDS) for r in RATES]

        def in_turn(some, task=task):
            for part, rate in some:
                fit(part, task, Recipe((rate,), EPOCHS, EPOCHS, batch))

        def plainly(some, task=task):
            for part, rate in some:
                plain(part, task, recipe, rate)

        works = {
            "plain": lambda f=plainly, p=parts: f(p),
            "in turn": lambda f=in_turn, p=parts: f(p),
            "together": lambda d=data, t=task: fit(d, t, recipe),
        }
        times = interleave(works, max(2, report.rounds // 2), device)
        setting = f"{question}, {name}"
        report.rates(setting, "probes/s", PROBES, times, "plain")
        timings.append(times)
        alone = interleave({"one alone": lambda f=in_turn, p=parts: f(p[:1])}, 3, device)
        alone["together"] = times["together"]
        seconds = {k: t.wall[:2] for k, t in alone.items()}
        limit = {"together": "<= 2"} if device == "cuda" else None
        report.add(setting, "seconds", seconds, "one alone", limit)
    works = {name: summed([times[name] for times in timings]) for name in timings[0]}
    setting, amount = f"all three, {name}", PROBES * len(timings)
    report.rates(setting, "probes/s", amount, works, "plain", {"together": ">= 10"})
    del works["plain"]
    report.rates(setting, "probes/s", amount, works, "in turn", {"together": ">= 3"})


def summed(timings: list[Timing]) -> Timing:
    """Round by round."""
    wall = [sum(part) for part in zip(*(t.wall for t in timings), strict=True)]
    return Timing(wall, [sum(part) for part in zip(*(t.cpu for t in timings), strict=True)])
