"""How much faster probes are trained together: a program, run with `make bench-probes`.

Random tokens of the embedded study's backbones (or of the sizes given), 24 probes (2 groups x 3
seeds x 4 rates) per task, in one run and on one device: together; one after the other with the
same code; and as anyone would write it, a DataLoader and a linear layer, probe after probe.
"""

import argparse
import time

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from tokenscope.probes import Recipe, Window, fit
from tokenscope.tasks import Classes, Pixels, Position

RATES = (3e-4, 1e-3, 3e-3, 1e-2)
GROUPS, SEEDS = 2, 3


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


def seconds(work, device, clock):
    """Seconds of a call."""
    if device == "cuda":
        torch.cuda.synchronize()
    start = clock()
    work()
    if device == "cuda":
        torch.cuda.synchronize()
    return clock() - start


def main(width, grid, patch, classes, rows, batch, epochs, device, threads, cpu_time):
    """Print seconds and ratios by task and in all."""
    torch.set_num_threads(threads)
    clock = time.process_time if cpu_time else time.perf_counter
    torch.set_float32_matmul_precision("high")
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randn(GROUPS, rows, width + 1, generator=generator).to(device)
    held = torch.rand(SEEDS, rows, generator=generator) < 0.1
    pixels = 3 * patch**2
    questions = {
        "position": (Position((grid, grid), device), grid**2, ()),
        "pixels": (Pixels(pixels, device), 256, (pixels,)),
        "class": (Classes(classes), classes, ()),
    }
    recipe = Recipe(RATES, epochs=epochs, patience=epochs, batch=batch)
    print(
        f"{GROUPS * SEEDS * len(RATES)} probes, {rows} tokens of {width} features, batch {batch}, "
        f"{epochs} epochs, {device}, {threads} threads; "
        f"{'CPU ' if cpu_time else ''}seconds"
    )
    print(f"{'task':10}{'together':>10}{'one alone':>11}{'in turn':>10}{'plain':>10}", end="")
    print(f"{'in turn/together':>19}{'plain/together':>16}{'together/one':>14}")
    total = [0.0, 0.0, 0.0, 0.0]
    for name, (task, values, shape) in questions.items():
        target = torch.randint(values, (GROUPS, rows, *shape), generator=generator)
        target = target.to(torch.uint8 if shape else torch.int64).to(device)
        data = Random(tokens, target, ~held, held)
        parts = [(data.one(g, s), r) for g in range(GROUPS) for s in range(SEEDS) for r in RATES]

        def in_turn(some, task=task):
            for part, rate in some:
                fit(part, task, Recipe((rate,), epochs, epochs, batch))

        def plainly(some, task=task):
            for part, rate in some:
                plain(part, task, recipe, rate)

        fit(data, task, Recipe(RATES, 1, 1, batch))  # the first call of anything is slow
        in_turn(parts[:1])
        plainly(parts[:1])
        times = [
            min(seconds(lambda d=data, t=task: fit(d, t, recipe), device, clock) for _ in range(3)),
            min(seconds(lambda p=parts, f=in_turn: f(p[:1]), device, clock) for _ in range(3)),
            seconds(lambda p=parts, f=in_turn: f(p), device, clock),
            seconds(lambda p=parts, f=plainly: f(p), device, clock),
        ]
        line(name, times)
        total = [a + b for a, b in zip(total, times, strict=True)]
    line("all", total)


def line(name, times):
    together, one, turn, plain_ = times
    print(f"{name:10}{together:10.2f}{one:11.3f}{turn:10.2f}{plain_:10.2f}", end="")
    print(f"{turn / together:19.1f}{plain_ / together:16.1f}{together / one:14.1f}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    sizes = {"width": 96, "grid": 10, "patch": 8, "classes": 8, "rows": 4000, "batch": 256}
    for key, value in {**sizes, "epochs": 3, "threads": 2}.items():
        parser.add_argument(f"--{key}", type=int, default=value)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--cpu-time", action="store_true", help="for a machine that others use")
    main(**vars(parser.parse_args()))
