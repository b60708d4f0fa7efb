"""Linear classifiers (heads) on features that a backbone has left behind (main paper, Table 5).

Feature sets, seeds and learning rates have a head each, and all are trained together: rows are
read once per step, one batched matrix product serves all seeds and rates of a set. Plain SGD with
momentum over a cosine, as DINOv2 evaluates (https://arxiv.org/abs/2304.07193,
dinov2/eval/linear.py) and the main paper retrains (Table 5 of "On the Reproducibility of Vision
Transformers Need Registers"), on features of unaugmented images.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from tokenscope.classification.features import SLICE, Features
from tokenscope.errors import StudyError
from tokenscope.probes.tasks import Classes
from tokenscope.stores.checkpoint import Checkpoint
from tokenscope.stores.receipts import fingerprint


@dataclass(frozen=True)
class Recipe:
    """How heads are trained. Rates are for batches of 256 and scale with the batch (DINOv2)."""

    features: tuple[str, ...]
    learning_rates: tuple[float, ...]
    epochs: int = 20
    batch: int = 1024
    momentum: float = 0.9
    validation: float = 0.02
    seeds: int = 3
    seed: int = 0


@dataclass(frozen=True)
class Trained:
    """Heads of one feature set: ``weights`` (seed, D + 1, class) of the chosen rate.

    ``validation`` (seed, rate) is top-1 in percent on training images that were held out, which
    alone chose ``rate`` (an index); ``rates`` are the configured ones.
    """

    weights: Tensor
    validation: Tensor
    rates: tuple[float, ...]

    @property
    def rate(self) -> int:
        return int(self.validation.mean(0).argmax())

    @property
    def at_edge(self) -> bool:
        """Whether the best rate is the first or last of the sweep: a better one may lie outside."""
        return len(self.rates) > 1 and self.rate in (0, len(self.rates) - 1)


def train(
    features: Features,
    classes: int,
    recipe: Recipe,
    device: str = "cpu",
    partial: str | None = None,
    stop: Callable[[], str] = lambda: "",
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Trained]:
    """Train a head for every feature set, seed and learning rate in one pass over the features.

    A seed is the order of the images and the first weights; the images held out for the choice of
    the rate are the same for all. ``partial`` is a file that an interrupted job resumes from.

    Raises:
        StudyError: fewer images than a batch, or heads that diverge at every rate.
    """
    training = _Training(features, classes, recipe, device)
    name = fingerprint(
        recipe=recipe, classes=classes, images=features.ids.tolist(), device=device,
        sets=training.sets,
    )  # fmt: skip
    saved = Checkpoint(partial, name)
    saved.train(training, recipe.epochs, stop, progress)
    heads = {name: training.result(name) for name in training.sets}
    saved.remove()
    return heads


class _Training:
    """Weights (seed, D + 1, rate * class) of every feature set, and their momenta."""

    def __init__(self, features: Features, classes: int, recipe: Recipe, device: str):
        self.features, self.recipe, self.device = features, recipe, device
        self.task, self.rates = Classes(classes), len(recipe.learning_rates)
        self.sets = features.sets(recipe.features)
        order = torch.randperm(len(features), generator=_generator(recipe.seed))
        held = max(1, round(recipe.validation * len(features)))
        self.held_out, self.trained_on = order[:held], order[held:]
        self.batch = min(recipe.batch, len(self.trained_on))
        self.steps = len(self.trained_on) // max(1, self.batch)
        if self.steps < 1:
            raise StudyError(f"{len(features)} training images are too few to train a head")
        scale = self.batch / 256
        rates = torch.tensor(recipe.learning_rates, device=device) * scale
        self.scaled_rates = rates.repeat_interleave(classes)
        self.targets = features.labels.to(device)
        self.weights = {name: self._begin(name) for name in self.sets}
        self.momenta = {name: torch.zeros_like(w) for name, w in self.weights.items()}
        self.epoch = 0

    def _begin(self, name: str) -> Tensor:
        """Small normal weights and no bias (dinov2/eval/linear.py), alike for all rates."""
        width = self.features.rows(name, slice(0, 1), "cpu").shape[-1]
        drawn = []
        for seed in range(self.recipe.seeds):
            generator = _generator(self.recipe.seed, 1 + seed)
            drawn.append(0.01 * torch.randn(width, self.task.outputs, generator=generator))
        weights = torch.stack(drawn)
        weights[:, -1] = 0
        return weights.repeat(1, 1, self.rates).to(self.device)

    @torch.no_grad()
    def one_epoch(self) -> None:
        rows = torch.stack([self.order(seed, self.epoch) for seed in range(self.recipe.seeds)])
        for step in range(self.steps):
            done = (self.epoch * self.steps + step) / (self.recipe.epochs * self.steps)
            batch = rows[:, step * self.batch : (step + 1) * self.batch]
            self._step(batch, 0.5 * (1 + math.cos(math.pi * done)))
        self.epoch += 1

    def order(self, seed: int, epoch: int) -> Tensor:
        """The rows a seed sees in an epoch, in its order."""
        generator = _generator(self.recipe.seed, 1 + seed, 1 + epoch)
        return self.trained_on[torch.randperm(len(self.trained_on), generator=generator)]

    def _step(self, batch: Tensor, factor: float) -> None:
        stored_on = next(iter(self.features.parts.values())).device
        index, target = batch.to(stored_on), self.targets[batch.to(self.device)]
        for name, weights in self.weights.items():
            x = self.features.rows(name, index, self.device)
            momentum, kept = self.momenta[name], self.recipe.momentum
            self.task.gradient(x, weights, target, self.rates, momentum, kept)
            weights.addcmul_(momentum, self.scaled_rates, value=-factor)

    def result(self, name: str) -> Trained:
        shape = (self.recipe.seeds, -1, self.rates, self.task.outputs)
        weights = self.weights[name].view(shape).transpose(1, 2)
        by_rate = ranks(self.features, name, weights.flatten(0, 1), self.device, self.held_out)
        hit = (by_rate == 1).float().mean(1).view(self.recipe.seeds, self.rates)
        if not torch.isfinite(weights).flatten(2).all(2).any():
            raise StudyError(f"heads on {name} diverge at every learning rate: set smaller ones")
        best = Trained(weights, 100 * hit, self.recipe.learning_rates)
        return Trained(weights[:, best.rate].clone(), best.validation, best.rates)

    @property
    def done(self) -> bool:
        return self.epoch >= self.recipe.epochs

    @property
    def state(self) -> dict:
        return {"weights": self.weights, "momenta": self.momenta, "epoch": self.epoch}

    def load(self, state: dict) -> None:
        self.epoch = state["epoch"]
        for own, saved in ((self.weights, state["weights"]), (self.momenta, state["momenta"])):
            for name, value in saved.items():
                own[name].copy_(value)


def _generator(*numbers: int) -> torch.Generator:
    return torch.Generator().manual_seed(int(fingerprint(heads=numbers)[:15], 16))


@torch.no_grad()
def ranks(
    features: Features, name: str, weights: Tensor, device: str, index: Tensor | None = None
) -> Tensor:
    """Rank of the right class (head, image), from 1; ties count against the head.

    Args:
        weights: (head, D + 1, class).
        index: which images; all by default.
    """
    index = torch.arange(len(features)) if index is None else index
    stored_on, ranked = next(iter(features.parts.values())).device, []
    for part in index.split(SLICE):
        x = features.rows(name, part.to(stored_on), device)
        z = x @ weights.to(device)
        ranked.append(rank_of(z, features.labels[part].to(device)).cpu())
    return torch.cat(ranked, 1)


def rank_of(scores: Tensor, labels: Tensor) -> Tensor:
    """Rank of the right class by (..., image, class) scores; last where they are no numbers."""
    right = labels.expand(scores.shape[:-1])[..., None]
    rank = (scores >= scores.gather(-1, right)).sum(-1)
    return torch.where(torch.isfinite(scores).all(-1), rank, scores.shape[-1])
