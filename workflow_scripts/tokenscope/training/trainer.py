"""Train a Vision Transformer: timm's optimiser, schedule, losses and augmentation, one loop.

Recipes after DeiT III (Touvron et al., https://arxiv.org/abs/2204.07118) are in ``config/recipes``.
The loop knows neither files nor jobs: pixels come from a source of
:mod:`tokenscope.training.batches`, and the caller keeps checkpoints and snapshots.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from timm.data import Mixup
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from timm.utils import ModelEmaV3
from torch import Tensor, nn

from tokenscope.errors import StudyError
from tokenscope.forward.inputs import normalise
from tokenscope.forward.precision import autocast
from tokenscope.study.recipes import Training, penalty_weight
from tokenscope.training.batches import (
    FORWARD,
    Batch,
    Files,
    Memory,
    UpdatePlan,
    check_labels,
    seed_all,
    split,
)
from tokenscope.training.distributed import World
from tokenscope.training.losses import Learner

ASK_EVERY = 10  # updates between two votes of several processes whether to stop


def _nothing(*_args) -> None:
    pass


@dataclass
class Callbacks:
    """What the caller does meanwhile.

    Args:
        stop: asked after each update; a reason ends the training in order.
        keep: gets the whole state and that reason (empty while the training goes on).
        snapshot: gets the number of updates done and the weights.
        report: gets the row of each epoch and its images per second.
    """

    stop: Callable[[], str] = lambda: ""
    keep: Callable[[dict, str], None] = _nothing
    snapshot: Callable[[int, dict[str, Tensor]], None] = _nothing
    report: Callable[[dict, float], None] = _nothing


class Trainer:
    """One training of ``model``, in place; deterministic for the recipe's seed on one CPU.

    Args:
        source: images and labels.
        mean, std: of the pixels.
        world: the processes that share the work; the same updates come out for any number.
        state: of an earlier :meth:`state`, to go on from.

    Raises:
        StudyError: labels beyond the model's classes, too few images, or settings that timm
            refuses.
    """

    def __init__(
        self,
        model: nn.Module,
        source: Memory | Files,
        recipe: Training,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        world: World | None = None,
        state: dict | None = None,
    ):
        self.world = world or World()
        self.source, self.recipe, device = source, recipe, self.world.device
        labels = np.asarray(source.labels)
        check_labels(labels, model.num_classes)
        trained, self.held = split(len(labels), recipe)
        self.plan = UpdatePlan(recipe, trained, self.world.rank, self.world.size)
        if late := [s for s in recipe.snapshots if not 0 <= s <= self.plan.total]:
            raise StudyError(
                f"snapshots after {late} updates, the training has {self.plan.total} "
                f"({self.plan.steps} an epoch)"
            )
        self.classes = model.num_classes
        self.scale = [torch.tensor(v, device=device) for v in (mean, std)]
        segments = getattr(source, "segments", None)
        self.learner = Learner(model, recipe, 0 if segments is None else int(segments.max()) + 1)
        self.learner.to(device).train()
        self.optimizer, self.scheduler = _optimizer(self.learner, recipe, self.plan.steps)
        self.mixup = Mixup(
            **{"label_smoothing": recipe.label_smoothing, "num_classes": self.classes}
            | recipe.mixup
        ) if recipe.mixup else None  # fmt: skip
        self.ema = ModelEmaV3(model, decay=recipe.ema) if recipe.ema else None
        self.done, self.history = 0, []
        self.sums = torch.zeros(2, device=device)  # of this process and epoch: loss, patch norm
        if state:
            self._restore(state)
        self.wrapped = self.world.wrap(self.learner)

    def state(self) -> dict:
        """Everything that decides how the training goes on."""
        sums = self.world.sum(self.sums.clone()).cpu()
        return {
            "learner": self.learner.state_dict(), "optimizer": self.optimizer.state_dict(),
            "ema": self.ema.module.state_dict() if self.ema else None, "done": self.done,
            "sums": sums, "history": self.history,
        }  # fmt: skip

    def _restore(self, state: dict) -> None:
        self.learner.load_state_dict(state["learner"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.ema:
            self.ema.module.load_state_dict(state["ema"])
        self.done, self.history = state["done"], list(state["history"])
        if self.world.main:  # they are sums over all processes
            self.sums.copy_(state["sums"])

    def run(self, callbacks: Callbacks | None = None) -> list[dict]:
        """Train to the end.

        Returns:
            a row per epoch: epoch, step (updates done), lr, loss (of the class), patch_norm (mean
            norm of last-block patch tokens), penalty_weight, top1 and, with a moving average,
            top1_ema: percent of the images held out.

        Raises:
            StudyError: a loss that is no longer finite.
        """
        call, plan = callbacks or Callbacks(), self.plan
        if self.done == 0 and 0 in self.recipe.snapshots:
            call.snapshot(0, self.weights())
        stream = iter(self.source.training(plan, self.done))
        saved = begun = time.monotonic()
        first = self.done
        while self.done < plan.total:
            self._update(stream)
            if ends := self.done % plan.steps == 0:
                speed = (self.done - first) * self.recipe.batch_size / (time.monotonic() - begun)
                self.history.append(self._epoch_row())
                call.report(self.history[-1], speed)
                begun, first = time.monotonic(), self.done
            if self.done in self.recipe.snapshots:
                call.snapshot(self.done, self.weights())
            old = time.monotonic() - saved > 60 * self.recipe.checkpoint_minutes
            reason, old = self._vote(call.stop, old) if self.done < plan.total else ("", False)
            if ends or reason or old:
                call.keep(self._checked_state(), reason)
                saved = time.monotonic()
        self.learner.eval()
        return self.history

    def weights(self) -> dict[str, Tensor]:
        """The weights that the recipe publishes."""
        return (
            self.ema.module if self.recipe.publish == "ema" else self.learner.model
        ).state_dict()

    def _vote(self, stop: Callable[[], str], old: bool) -> tuple[str, bool]:
        """Why to stop, and whether to keep a checkpoint; all processes do either or none does."""
        if self.world.size == 1:
            return stop(), old
        if self.done % ASK_EVERY:
            return "", False
        reason = stop()
        if self.world.any(bool(reason)):
            return reason or "another process was told to stop", False
        return "", self.world.any(old)

    def _update(self, stream) -> None:
        r, world, slots = self.recipe, self.world, self.plan.slots()
        self.scheduler.step_update(self.done)
        penalty = penalty_weight(r, self.done // self.plan.steps)
        for slot in slots:
            batch: Batch = next(stream)
            seed_all(r.seed, FORWARD, self.done, slot)
            self.wrapped.require_backward_grad_sync = slot == slots[-1]  # of DDP; else unused
            with autocast(world.device):
                loss, facts = self.wrapped(*self._on_device(batch), penalty)
            # Gradients are averaged over processes, and shall be over all micro-batches.
            (loss * world.size / r.slots).backward()
            self.sums += facts / r.slots
        if r.clip:
            nn.utils.clip_grad_norm_(self.learner.model.parameters(), r.clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.done += 1
        if self.ema:
            self.ema.update(self.learner.model)

    def _on_device(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor | None]:
        device = self.world.device
        x = normalise(batch.pixels.to(device, non_blocking=True), *self.scale)
        target = batch.targets.to(device, non_blocking=True)
        if self.mixup:
            x, target = self.mixup(x.contiguous(), target)
        return x, target, None if batch.segments is None else batch.segments.to(device)

    def _epoch_row(self) -> dict:
        epoch = self.done // self.plan.steps
        loss, norm = (self.world.sum(self.sums.clone()) / self.plan.steps).tolist()
        self.sums.zero_()
        if not np.isfinite(loss):
            raise StudyError(f"the loss is {loss} in epoch {epoch}: lower the lr")
        row = {
            "epoch": epoch, "step": self.done, "lr": self.optimizer.param_groups[0]["lr"],
            "loss": loss, "patch_norm": norm,
            "penalty_weight": penalty_weight(self.recipe, epoch - 1),
            "top1": self.accuracy(self.learner.model),
        }  # fmt: skip
        if self.ema:
            row["top1_ema"] = self.accuracy(self.ema.module)
        return row

    def _checked_state(self) -> dict:
        state = self.state()
        if not torch.isfinite(state["sums"]).all():
            raise StudyError(
                f"the loss is no longer finite after {self.done} updates: lower the lr"
            )
        return state

    @torch.inference_mode()
    def accuracy(self, model: nn.Module) -> float:
        """Top-1 in percent on the images held out; NaN without any."""
        if not self.held:
            return float("nan")
        world, was = self.world, model.training
        model.eval()
        hits = torch.zeros((), device=world.device)
        own = self.held[world.rank :: world.size]
        for batch in self.source.held(own, 128):
            with autocast(world.device):
                logits = model(normalise(batch.pixels.to(world.device), *self.scale))
            hits += (logits.argmax(-1) == batch.targets.to(world.device)).sum()
        model.train(was)
        return 100 * world.sum(hits).item() / len(self.held)


def _optimizer(learner: nn.Module, recipe: Training, steps: int):
    """timm's optimiser and schedule; parameters that are frozen are not in it."""
    layered = {"layer_decay": recipe.layer_decay} if recipe.layer_decay != 1 else {}
    groups = learner.model if layered else learner
    try:
        optimizer = create_optimizer_v2(
            groups, opt=recipe.optimizer, lr=recipe.lr, weight_decay=recipe.weight_decay,
            momentum=recipe.momentum, **layered,
        )  # fmt: skip
    except (ValueError, AssertionError, TypeError) as error:
        raise StudyError(f"timm refuses the optimizer '{recipe.optimizer}': {error}") from None
    scheduler, _ = create_scheduler_v2(
        optimizer, "cosine", num_epochs=recipe.epochs * steps, min_lr=recipe.lr_min,
        warmup_lr=recipe.warmup_lr, warmup_epochs=int(recipe.warmup * recipe.epochs * steps),
        step_on_epochs=False, updates_per_epoch=1,
    )  # fmt: skip
    return optimizer, scheduler
