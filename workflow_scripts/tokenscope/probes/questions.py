"""Claim 4: what tokens know of their place, their pixels and the class of their image.

The three questions are Table 1 (``position``), Table 2 (``pixels``) and Table 3 (``class``) of the
main paper, "On the Reproducibility of Vision Transformers Need Registers", and were first put by
Darcet et al. 2024, "Vision Transformers Need Registers" (https://arxiv.org/abs/2309.16588).

Each question is put to normal and to outlier tokens in equal numbers and from the same images, to
normal tokens of the places where outliers use to be, the third also to CLS and registers. What
cannot be answered is said in words, never as a number.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from tokenscope.jobs.job import log
from tokenscope.probes.tasks import Classes, Pixels, Position
from tokenscope.probes.token_rows import SAME_PLACES, Bank, Choice, Tokens, choose, split
from tokenscope.probes.trainer import Fit, Recipe, fit, held_out
from tokenscope.stats.bootstrap import Bootstrap
from tokenscope.stores.receipts import read_receipt
from tokenscope.stores.zarr_store import store_of

TASKS = ("position", "pixels", "class")  # Tables 1, 2 and 3
FEW, BROKEN = "too few tokens", "tokens are not finite"
ELSEWHERE = "no normal tokens at the places of outliers"
MOST = 0.9  # of the rows: normal tokens of the same places must leave so many, or they are left out


@dataclass
class Answer:
    """What one question gave.

    ``scores`` by name are (group, seed, row) on the test rows; ``rows`` counts the rows for
    training, validation and test. ``refused`` says why a group has no answer, with its tokens.
    """

    groups: list[str] = field(default_factory=list)
    refused: dict[str, tuple[str, int]] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)
    tokens: Tokens | None = None
    trained: Fit | None = None
    scores: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def test(self) -> np.ndarray:
        """Which rows are test rows."""
        return self.tokens.test.numpy()

    @property
    def image(self) -> np.ndarray:
        """Image of each test row, counted from 0 among the test images that have rows."""
        return np.unique(self.tokens.choice.image[self.test], return_inverse=True)[1]

    def of_tokens(self, values: np.ndarray, group: str) -> np.ndarray:
        """What the bank says (image, slot) of a group's drawn tokens, here by test row."""
        choice = self.tokens.choice
        return values[choice.image, choice.slots[group]][self.test]

    def per_image(self, name: str, group: str, where: np.ndarray | bool = True) -> np.ndarray:
        """Sum of a score over an image's test rows (image, seed), of the rows ``where`` only."""
        scores = self.scores[name][self.groups.index(group)] * where
        return np.stack([np.bincount(self.image, weights=s) for s in scores], axis=1)

    def count(self, where: np.ndarray | bool = True) -> np.ndarray:
        """Test rows of each image."""
        return np.bincount(self.image, weights=np.ones(len(self.image)) * where)

    def bootstrap(self, statistics: dict) -> Bootstrap:
        """Resamples of the test images that have rows."""
        s = statistics
        return Bootstrap.of(self.image.max() + 1, s)


def recipe_of(settings: dict) -> Recipe:
    """The recipe in the section ``probes`` of a config."""
    keys = ("epochs", "patience", "batch", "seed")
    return Recipe(tuple(settings["learning_rates"]), **{k: settings[k] for k in keys})


def open_bank(receipts: list[str], tested: Sequence[str] = (), splits: str | None = None) -> Bank:
    """The bank that receipts of feature passes name.

    Args:
        receipts: of its shards, in order. tested: those of the data set that tests the probes.
        splits: receipt of the check which images are in both.
    """
    stores = [[store_of(receipt) for receipt in part] for part in (receipts, tested)]
    return Bank(*stores, read_receipt(splits)["dropped"] if splits else [])


def masks_of(bank: Bank, settings: dict) -> tuple[np.ndarray, ...]:
    """The split of a bank's images, the same for all questions.

    Images that are in both data sets train nothing; where there are more images with an outlier
    than are wanted, the rest is left out.
    """
    usable, most = ~bank.dropped, settings.get("images_with_outlier")
    if most is None or bank.with_outlier.sum() <= most:
        most = None
    else:
        usable &= bank.with_outlier
    given = settings["split"], settings["seeds"], settings["seed"], bank.test_images
    return split(bank.images, *given, None if usable.all() else usable, most)


def groups_of(bank: Bank, task: str) -> list[str]:
    """Groups of tokens a question is put to; the whole image's tokens have no place or patch."""
    same = [SAME_PLACES] if SAME_PLACES in bank.slot_kind else []
    return ["normal", "outlier", *same, *(bank.prefix if task == "class" else [])]


def choose_rows(bank: Bank, task: str, settings: dict, **which) -> tuple[Choice, dict]:
    """Rows of a question, and the groups that have too few tokens for it.

    Without outliers to compare with, the other groups are probed on all images.
    """
    per_image = 1 if task == "class" else settings["tokens_per_image"]
    groups, refused = groups_of(bank, task), {}
    if which:  # another rule than the one that normal tokens of the same places were drawn by
        groups = [g for g in groups if g != SAME_PLACES]
    choice = choose(bank, groups, per_image, **which)
    if SAME_PLACES in groups:
        groups = [g for g in groups if g != SAME_PLACES]
        without = choose(bank, groups, per_image, **which)
        if len(choice.image) < max(settings["min_tokens"], MOST * len(without.image)):
            refused[SAME_PLACES] = ELSEWHERE, len(choice.image)
            choice = without
    if len(choice.image) < settings["min_tokens"]:
        refused.pop(SAME_PLACES, None)
        refused["outlier"] = FEW, len(choose(bank, ["outlier"], per_image, **which).image)
        groups = [g for g in groups if g not in ("outlier", SAME_PLACES)]
        choice = choose(bank, groups, per_image, **which)
    if len(choice.image) < settings["min_tokens"]:
        refused |= {g: (FEW, len(choice.image)) for g in groups}
        choice = choice.only([])
    return choice, refused


def ask(
    bank: Bank,
    task: str,
    settings: dict,
    device: str,
    choice: Choice | None = None,
    masks: tuple[np.ndarray, ...] | None = None,
    trainer: Callable[..., Fit] = fit,
    partial: str | None = None,
    final_norm: bool = False,
    standardise: bool = True,
    **run,
) -> Answer:
    """Put one question to all groups of tokens.

    Args:
        task: of :data:`TASKS`.
        settings: the section ``probes`` of the config.
        choice, masks: other rows or another split than the study's.
        trainer: called as :func:`tokenscope.probes.trainer.fit`.
        partial: file for the state of an interrupted run.
        final_norm, standardise: see :class:`tokenscope.probes.token_rows.Tokens`.
        run: ``stop`` and ``progress`` of the trainer.
    """
    refused: dict[str, tuple[str, int]] = {}
    if choice is None:
        choice, refused = choose_rows(bank, task, settings)
    masks = masks or masks_of(bank, settings)
    answer = Answer(refused=refused)
    problem = _no_question(bank, task, choice, masks)
    if problem:
        answer.refused |= {g: (problem, len(choice.image)) for g in choice.slots}
        choice = choice.only([])
    if not choice.slots:
        return _log_refusals(answer, task)
    shown = {
        "target": task, "masks": masks, "device": device, "memory_gb": settings["memory_gb"],
        "final_norm": final_norm, "standardise": standardise,
    }  # fmt: skip
    tokens = Tokens(bank, choice, **shown)
    if tokens.broken:
        answer.refused |= {g: (BROKEN, len(choice.image)) for g in tokens.broken}
        choice = choice.only([g for g in choice.slots if g not in tokens.broken])
        if not choice.slots:
            return _log_refusals(answer, task)
        tokens = Tokens(bank, choice, **shown)
    question = {
        "position": lambda: Position(bank.grid, device),
        "pixels": lambda: Pixels(3 * bank.patch**2, device, mean_patch(tokens)),
        "class": lambda: Classes(len(tokens.classes)),
    }[task]()
    answer.groups, answer.tokens = tokens.groups, tokens
    answer.rows = {
        "train": int(tokens.train.sum(1).min()), "validation": int(tokens.validation.sum(1).min()),
        "test": int(tokens.test.sum()),
    }  # fmt: skip
    log.info("%s: %s", task, ", ".join(f"{n} {k} tokens a group" for k, n in answer.rows.items()))
    answer.trained = trainer(tokens, question, recipe_of(settings), partial=partial, **run)
    scores = held_out(tokens, question, answer.trained.chosen)
    answer.scores = {name: value.numpy() for name, value in scores.items()}
    return _log_refusals(answer, task)


def mean_patch(tokens: Tokens) -> torch.Tensor:
    """Mean scaled pixels of each group (group, 3 p^2) over all images but the test images."""
    scaled = Pixels(3 * tokens.bank.patch**2).scaled
    parts = [tokens.targets(span)[:, ~tokens.test[span]] for span in tokens.spans]
    count = sum(part.shape[1] for part in parts)
    return sum(scaled(part).sum(1) for part in parts) / count


def _no_question(bank: Bank, task: str, choice: Choice, masks) -> str:
    """Why a question cannot be put to these rows at all; empty if it can."""
    if not all(mask[..., choice.image].any(-1).all() for mask in masks):
        return FEW
    if task == "class":
        label = bank.label[choice.image]
        if (label < 0).any():
            return "images without labels"
        if (label == label[0]).all():
            return "only one class"
    return ""


def _log_refusals(answer: Answer, task: str) -> Answer:
    """The answer, once the log says which groups have none and why."""
    for group, (why, count) in answer.refused.items():
        log.info("%s probe of %s: %s (%d)", task, group, why, count)
    return answer


def confounding(
    place: np.ndarray, patches: int, image: np.ndarray, bootstrap: Bootstrap
) -> tuple[float, float, float]:
    """Entropy of where tokens sit, as a share of what as many uniform tokens reach on average.

    A few tokens cannot cover a large grid, so the plain maximum log(patches) is out of reach.

    Args:
        place: (token,) patch numbers; ``image`` the bootstrap's image of each.

    Returns:
        the share, and its interval over images.
    """
    rng = np.random.default_rng([bootstrap.seed, len(place)])
    uniform = rng.multinomial(len(place), np.full(patches, 1 / patches), size=200)
    reached = _entropy(uniform).mean()
    entropy = _entropy(np.bincount(place, minlength=patches))
    resampled = np.array([
        _entropy(np.bincount(place, weights=weights[image], minlength=patches))
        for weights in bootstrap.counts[:200]
    ])  # fmt: skip
    # A resample repeats tokens, which costs entropy: moved back onto the value of all tokens.
    low, high = bootstrap.interval(resampled - resampled.mean() + entropy)
    return float(entropy / reached), float(low / reached), float(high / reached)


def _entropy(counts: np.ndarray) -> np.ndarray:
    p = counts / counts.sum(-1, keepdims=True)
    return -(p * np.log(np.where(p > 0, p, 1))).sum(-1)


def set_precision() -> None:
    """Matrix products in TF32 on GPUs; nothing changes on a CPU."""
    torch.set_float32_matmul_precision("high")
