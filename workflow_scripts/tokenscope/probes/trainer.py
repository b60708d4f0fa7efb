"""Linear probes, many trained as one: the trainer behind Tables 1 to 3 of the main paper.

Main paper: "On the Reproducibility of Vision Transformers Need Registers".

Every group of tokens, seed and learning rate has a probe of its own; all are rows of one stack of
weights and take each step together: the tokens are read once, one batched matrix product serves
all, and one fused optimiser moves all. A seed has its own split into training and validation
images and its own order; the test images are the same for all. Groups share a seed's
images and order, so that their difference is not one of luck.

Each probe stops by itself (patience on its validation score) and keeps its best weights.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from tokenscope.errors import StudyError
from tokenscope.stores.checkpoint import Checkpoint
from tokenscope.stores.receipts import fingerprint

SLICE = 2048  # rows scored at once


@dataclass(frozen=True)
class Window:
    """Some of the rows, on the device, from row number ``start`` on.

    ``tokens`` (group, row, D) float32, the last feature is 1 (the bias); ``target`` (group, row,
    ...) as the task wants it.
    """

    tokens: Tensor
    target: Tensor
    start: int

    @property
    def rows(self) -> slice:
        return slice(self.start, self.start + self.tokens.shape[1])


class Data(Protocol):
    """Rows of tokens, one token of each group in a row, all of one image.

    ``train`` and ``validation`` are (seed, row) bool, ``test`` (row,) bool, all on the host;
    ``spans`` are the rows of each window.
    """

    groups: list[str]
    features: int  # with the bias
    train: Tensor
    validation: Tensor
    test: Tensor
    device: str
    spans: list[slice]
    digest: str  # of all rows and their split; asked for where work is to be resumed

    def windows(self) -> Iterator[Window]: ...


@dataclass(frozen=True)
class Recipe:
    """How probes are trained: Adam, a cosine over all epochs, patience in epochs."""

    learning_rates: tuple[float, ...]
    epochs: int = 30
    patience: int = 3
    batch: int = 1024
    seed: int = 0


@dataclass(frozen=True)
class Fit:
    """Trained probes: ``weights`` (group, seed, rate, D, C), ``validation`` and ``epoch`` of the
    best weights (group, seed, rate); ``best`` (group,) is the rate with the best mean validation.
    """

    weights: Tensor
    validation: Tensor
    epoch: Tensor
    best: Tensor

    @property
    def chosen(self) -> Tensor:
        """Weights of each group's best rate, (group, seed, D, C)."""
        return torch.stack([w[:, b] for w, b in zip(self.weights, self.best, strict=True)])


def fit(
    data: Data,
    task,
    recipe: Recipe,
    partial: str | Path | None = None,
    stop: Callable[[], str] = lambda: "",
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Fit:
    """Train all probes of one task.

    Args:
        task: of tokenscope.probes.tasks.
        partial: file that keeps the state of an interrupted run; the next goes on from it to the
            same numbers.
        stop: asked after each epoch; with a reason the state is saved and the job ends.

    Raises:
        StudyError: the weights of every rate grew beyond all bounds.
    """
    training = _Training(data, task, recipe)
    name = partial and fingerprint(
        recipe=recipe, task=type(task).__name__, outputs=task.outputs, groups=data.groups,
        rows=data.digest, spans=data.spans, device=data.device,
    )  # fmt: skip
    saved = Checkpoint(partial, name)
    saved.train(training, recipe.epochs, stop, progress)
    saved.remove()
    return training.result()


class _Training:
    """The stack of probes in training; K = groups x seeds, L rates, C outputs."""

    def __init__(self, data: Data, task, recipe: Recipe):
        self.data, self.task, self.recipe = data, task, recipe
        self.groups, self.seeds = len(data.groups), len(data.train)
        self.rates = len(recipe.learning_rates)
        shape = (self.groups * self.seeds, data.features, self.rates * task.outputs)
        rates = torch.tensor(recipe.learning_rates, device=data.device)
        # Adam's step has the length of its rate whatever the gradient: with weights kept in units
        # of their rate, one optimiser of rate 1 serves all rates.
        self.unit = rates.repeat_interleave(task.outputs)
        self.weights = self._begin(shape)
        self.scaled = torch.nn.Parameter(self.weights / self.unit)
        self.scaled.grad = torch.zeros_like(self.scaled)
        self.optimizer = torch.optim.Adam([self.scaled], lr=1.0, fused=True)
        self.best_weights = self.weights.clone()
        probes = (self.groups, self.seeds, self.rates)
        self.best = torch.full(probes, -math.inf)
        self.best_epoch = torch.zeros(probes, dtype=torch.long)
        self.active = torch.ones(probes, dtype=torch.bool)
        self.epoch = 0
        counts = [data.train[:, span].sum(1).min().item() for span in data.spans]
        self.plan = [(min(recipe.batch, n), n // max(1, min(recipe.batch, n))) for n in counts]
        self.steps = sum(steps for _, steps in self.plan)

    def _begin(self, shape: tuple[int, ...]) -> Tensor:
        """Zeros, which convex problems may begin with, and the bias that the task begins with."""
        w = torch.zeros(shape, device=self.data.device)
        if self.task.bias is not None:
            w[:, -1] = self.task.bias.repeat_interleave(self.seeds, 0).repeat(1, self.rates)
        return w

    @torch.no_grad()
    def one_epoch(self) -> None:
        done = self.epoch * self.steps
        for number, window in enumerate(self.data.windows()):
            batch, steps = self.plan[number]
            rows = self._order(window, number, batch * steps).to(self.data.device)
            for step in range(steps):
                self._step(window, rows[:, step * batch : (step + 1) * batch], done)
                done += 1
        self.epoch += 1
        self._judge()

    def _order(self, window: Window, number: int, count: int) -> Tensor:
        """Each seed's training rows of a window in its own order (seed, row)."""
        rows = []
        for seed, mask in enumerate(self.data.train[:, window.rows]):
            key = _mix(self.recipe.seed, seed, self.epoch, number)
            generator = torch.Generator().manual_seed(key)
            own = mask.nonzero().flatten()
            rows.append(own[torch.randperm(len(own), generator=generator)[:count]])
        return torch.stack(rows)

    def _step(self, window: Window, rows: Tensor, done: int) -> None:
        x, target = (value.flatten(0, 1) for value in _take(window, rows))
        factor = 0.5 * (1 + math.cos(math.pi * done / (self.steps * self.recipe.epochs)))
        together = len(x) if x.is_cuda else 1  # a CPU has to stay in its cache
        for k in range(0, len(x), together):
            part = slice(k, k + together)
            self.task.gradient(
                x[part], self.weights[part], target[part], self.rates, self.scaled.grad[part]
            )
        self.optimizer.param_groups[0]["lr"] = factor
        if self.task.decay:  # decoupled, as AdamW does it
            self.scaled.mul_(1 - self.task.decay * factor * self.unit)
        self.optimizer.step()
        torch.mul(self.scaled, self.unit, out=self.weights)

    def _judge(self) -> None:
        """Validation after an epoch: who has improved, who has waited too long."""
        sums = torch.zeros(self.groups, self.seeds, self.rates, device=self.data.device)
        shape = (self.groups, self.seeds, -1, self.rates, self.task.outputs)
        weights = self.weights.view(shape)
        for window in self.data.windows():  # each is read once
            for seed, masks in enumerate(self.data.validation):
                for part in evaluate(window, masks, weights[:, seed], self.task):
                    sums[:, seed] += part[self.task.criterion].sum(1)
        count = self.data.validation.sum(1)[None, :, None]
        score = self.task.sign * sums.cpu() / count
        better = self.active & (score > self.best)
        self.best = torch.where(better, score, self.best)
        self.best_epoch = torch.where(better, self.epoch, self.best_epoch)
        pick = better.to(self.data.device)[:, :, None, :, None]
        best = self.best_weights.view(shape)
        torch.where(pick, weights, best, out=best)
        self.active &= self.epoch - self.best_epoch < self.recipe.patience

    @property
    def done(self) -> bool:
        return self.epoch >= self.recipe.epochs or not self.active.any()

    @property
    def state(self) -> dict:
        names = ("best_weights", "best", "best_epoch", "active", "epoch")
        return {
            "scaled": self.scaled.detach(), "optimizer": self.optimizer.state_dict(),
            **{name: getattr(self, name) for name in names},
        }  # fmt: skip

    @torch.no_grad()
    def load(self, state: dict) -> None:
        self.scaled.copy_(state.pop("scaled"))
        self.optimizer.load_state_dict(state.pop("optimizer"))
        torch.mul(self.scaled, self.unit, out=self.weights)
        for name, value in state.items():
            on_device = isinstance(value, Tensor) and name == "best_weights"
            setattr(self, name, value.to(self.data.device) if on_device else value)

    def result(self) -> Fit:
        if not torch.isfinite(self.best).any(2).all():
            raise StudyError("the probes diverged at every learning rate; set smaller ones")
        weights = self.best_weights.view(self.groups, self.seeds, -1, self.rates, self.task.outputs)
        best = self.best.mean(1).argmax(1)
        validation = self.task.sign * self.best
        return Fit(weights.transpose(2, 3), validation, self.best_epoch, best)


def _take(window: Window, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Tokens (group, *rows, D) and targets (group, *rows, ...) of some rows of a window."""
    flat = rows.flatten()
    return tuple(
        torch.stack([value.index_select(0, flat) for value in values]).unflatten(1, rows.shape)
        for values in (window.tokens, window.target)
    )


@torch.no_grad()
def evaluate(window: Window, mask: Tensor, weights: Tensor, task) -> Iterator[dict[str, Tensor]]:
    """Scores of the masked rows of a window, in slices.

    Args:
        mask: (row,) bool over all rows of the data.
        weights: (group, D, rate, C).

    Yields:
        per token scores (group, row, rate), rows in order.
    """
    rows = mask[window.rows].nonzero().flatten()
    flat = weights.flatten(2)
    for part in rows.split(SLICE):
        x, target = _take(window, part.to(window.tokens.device))
        z = torch.bmm(x, flat).unflatten(2, weights.shape[2:])
        yield task.scores(z, target)


def held_out(data: Data, task, weights: Tensor) -> dict[str, Tensor]:
    """Scores (group, seed, row) of the test rows for chosen weights (group, seed, D, C)."""
    stacked = weights.transpose(1, 2)
    scores: dict[str, list[Tensor]] = {}
    for window in data.windows():
        for part in evaluate(window, data.test, stacked, task):
            for name, value in part.items():
                scores.setdefault(name, []).append(value.transpose(1, 2).cpu())
    return {name: torch.cat(values, 2) for name, values in scores.items()}


def _mix(*numbers: int) -> int:
    return int(fingerprint(numbers=numbers)[:15], 16)
