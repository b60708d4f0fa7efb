"""Tokens of different images compared: fixed patterns of places, and outliers that are all alike.

*Fixed pattern* (UniRefiner, CVPR 2026; PH-Reg): a token that resembles those at the same place of
other images, whatever they show. *Universality* (RegCache, https://arxiv.org/abs/2510.04547):
outliers of different images have nearly one direction.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from tokenscope.kinds.answers import (
    FEWEST,
    Estimate,
    Found,
    decide,
    does_not_apply,
    mean,
    percent,
)
from tokenscope.kinds.block_pass import BlockView
from tokenscope.stats.bootstrap import Bootstrap

COMPARED = 64  # images whose last tokens are compared with each other, and decomposed: both dear
OTHERS = 8  # images that each is compared with
NULL = 0.999  # quantile of the null that tau is
GAIN = (
    0.2  # of cosine, by its own place over a neighbouring one: what changes smoothly reaches less
)
OUTLIERS = 30  # fewer say nothing of universality
ALIKE = 0.2  # by which the cosine of outliers exceeds that of ordinary tokens at their places


class Across(NamedTuple):
    """A mean over pairs of different images, with its value in each resample of the images."""

    value: float
    resampled: np.ndarray


def between_images(
    first: np.ndarray, other: np.ndarray, bootstrap: Bootstrap,
    first_count: np.ndarray | None = None, other_count: np.ndarray | None = None,
) -> Across:  # fmt: skip
    """Mean inner product of tokens of different images.

    Args:
        first, other: (image, width), sums over each image's tokens; counts (image,): how many,
            one where not given.
    """
    images = len(first)
    ones = np.ones(images)
    n, m = (ones if c is None else c.astype(float) for c in (first_count, other_count))
    products, pairs = first.astype(float) @ other.astype(float).T, np.outer(n, m)
    for matrix in (products, pairs):
        np.fill_diagonal(matrix, 0)
    counts = bootstrap.counts.astype(float)
    with np.errstate(invalid="ignore", divide="ignore"):
        resampled = ((counts @ products) * counts).sum(1) / ((counts @ pairs) * counts).sum(1)
        return Across(float(products.sum() / pairs.sum()), resampled)


def within_images(own: np.ndarray, others: Across, bootstrap: Bootstrap) -> Estimate:
    """Mean over images (image,) minus what it is between images: value, low, high."""
    resampled = bootstrap.sums(own) / len(own) - others.resampled
    low, high = bootstrap.interval(resampled)
    return float(own.mean()) - others.value, float(low), float(high)


def look(view: BlockView, outlier: Tensor, expected: Tensor) -> dict[str, Tensor]:
    """Sums of unit vectors of outliers, of ordinary tokens at their places, and of all ordinary.

    Args:
        outlier: (image, patch) of this batch. expected: (patch,), how often a place holds an
            outlier, by which ordinary tokens are weighted.
    """
    units = normalize(view.patches, dim=-1)
    out, ordinary = outlier.float(), (~outlier).float()
    weights = {"outlier": out, "rest": ordinary * expected, "ordinary": ordinary}
    sums = {f"{n}_sum": torch.einsum("bp,bpd->bd", w, units) for n, w in weights.items()}
    return sums | {f"{name}_count": weight.sum(1) for name, weight in weights.items()}


def universality(seen: dict[str, np.ndarray], block: int, bootstrap: Bootstrap) -> list[Found]:
    """Rows of kind ``universality``, from what :func:`look` left of one block, (image, ...)."""
    kind, quantity = "universality", "cosine_of_outliers"
    if "outlier_count" not in seen or not seen["outlier_count"].any():
        return [does_not_apply(kind, quantity, "no patch is an outlier here")]
    held = seen["outlier_count"]
    if held.sum() < OUTLIERS or (held > 0).sum() < FEWEST:
        why = f"{held.sum():.0f} outliers in {(held > 0).sum()} images, {OUTLIERS} in {FEWEST} "
        return [Found(kind, quantity, block=block, answer="cannot tell", why=why + "are needed")]
    # Places that always hold an outlier have no ordinary token to compare with.
    name, where = ("rest", "at the same places") if seen["rest_count"].any() else ("ordinary", "")
    sums, counts = seen[f"{name}_sum"], seen[f"{name}_count"]
    rest = between_images(sums, sums, bootstrap, counts, counts)
    own = between_images(seen["outlier_sum"], seen["outlier_sum"], bootstrap, held, held)
    less, more = bootstrap.interval(own.resampled - rest.resampled)
    gap = (own.value - rest.value, float(less), float(more))
    low, high = bootstrap.interval(own.resampled)
    why = f"cosine {own.value:.2f} between outliers of different images, {rest.value:.2f} between "
    return [
        Found.of(kind, quantity, (own.value, float(low), float(high)), block, rest.value, "",
              decide(gap, ALIKE), why + f"ordinary tokens {where}".strip()),
        Found.of(kind, "minus_ordinary_tokens", gap, block, 0.0),
    ]  # fmt: skip


def fixed_pattern(
    tokens: Tensor, grid: tuple[int, int], bootstrap: Bootstrap, seed: int = 0
) -> list[Found]:
    """Rows of kind ``fixed-pattern``.

    The largest cosine of each token to those at its own place in :data:`OTHERS` other images, less
    its largest to a neighbouring place in the same images, which is like it in content (sky meets
    sky) but not in place. Places where that gain is :data:`GAIN` on average hold a fixed pattern;
    the null is the gain of one neighbour over another.

    Beside it the published comparison, with places shuffled over the whole image, which the answer
    names but does not rest on: where sky is always above, tokens of sky resemble those at their own
    place more than those at shuffled ones, and pass its threshold without any fixed pattern.
    ``tokens_above_tau``: share of tokens whose largest cosine at the same place exceeds what the
    largest at a shuffled one reaches once in a thousand; ``auc_same_place``: how often a token's
    cosine at the same place is the larger.

    Args:
        tokens: (image, patch, width), after the final norm.
    """
    same, other, *around = compared(
        tokens, shuffled(tokens.shape[1], seed), neighbours(grid, 0), neighbours(grid, 3)
    )
    near, beside = (cosines.amax(-1) for cosines in around)
    gain, null_gain = (same.amax(-1) - near).numpy(), (beside - near).numpy()
    kind, depth = "fixed-pattern", 0

    def at_fixed_places(gains: np.ndarray) -> Estimate:
        low, high = bootstrap.interval((bootstrap.sums(gains) / len(gains) >= GAIN).mean(1))
        return percent((float((gains.mean(0) >= GAIN).mean()), float(low), float(high)))

    share, null = at_fixed_places(gain), at_fixed_places(null_gain)
    places = np.flatnonzero(gain.mean(0) >= GAIN)
    best = int(gain.mean(0).argmax())
    largest = mean(gain[:, best].astype(np.float64), bootstrap)
    best_same, best_other = same.amax(-1), other.amax(-1)
    tau = float(np.quantile(best_other.numpy(), NULL))
    above = mean(100.0 * (best_same > tau).float().mean(1).numpy(), bootstrap)
    # Each of a token's values against each of its null's; ties count half.
    pairs = same[..., :, None] - other[..., None, :]
    wins = ((pairs > 0).float() + 0.5 * (pairs == 0).float()).mean((1, 2, 3))
    auc = mean(wins.numpy(), bootstrap)
    answer = "yes" if share[1] > null[2] else ("no" if share[2] <= 0 else "cannot tell")
    rows = ", ".join(f"({p // grid[1] + 1}, {p % grid[1] + 1})" for p in places[:4])
    at = f"{share[0]:.3g} % of the places (row, column: {rows}{', ...' * (len(places) > 4)}) hold"
    why = at if len(places) else "no place holds"
    why += f" tokens alike in all images; the gain at ({best // grid[1] + 1}, "
    why += f"{best % grid[1] + 1}) is {largest[0]:.2f}; "
    why += f"against shuffled places {above[0]:.3g} % of tokens pass (AUC {auc[0]:.2f})"
    return [
        Found.of(kind, "tokens_at_fixed_places", share, depth, null[0], "percent", answer, why),
        Found.of(kind, "largest_gain_of_a_place", largest, depth, float(null_gain.mean(0).max())),
        Found.of(kind, "tokens_above_tau", above, depth, 100 * (1 - NULL), "percent"),
        Found.of(kind, "auc_same_place", auc, depth, 0.5),
        Found(kind, "tau", tau, unit="cosine"),
    ]  # fmt: skip


def shuffled(patches: int, seed: int) -> list[np.ndarray]:
    """Another place for each (patch,), for each of the other images."""
    rng, out = np.random.default_rng(seed), []
    for _ in range(OTHERS):
        order, elsewhere = rng.permutation(patches), np.empty(patches, int)
        # In a ring of all places each takes the next one: none its own.
        elsewhere[order] = np.roll(order, 1)
        out.append(elsewhere)
    return out


def neighbours(grid: tuple[int, int], turn: int) -> list[np.ndarray]:
    """A neighbouring place for each (patch,), one of eight for each of the other images.

    At the borders it is the one on the other side. ``turn``: with which of the eight to begin.
    """
    around = [(-1, 0), (1, 0), (0, -1), (0, 1), (-1, -1), (1, 1), (-1, 1), (1, -1)]
    place, out = np.indices(grid), []
    for image in range(OTHERS):
        step = np.array(around[(image + turn) % len(around)])[:, None, None]
        size = np.array(grid)[:, None, None]
        off = (place + step < 0) | (place + step >= size)
        row, column = np.clip(np.where(off, place - step, place + step), 0, size - 1)
        out.append((row * grid[1] + column).ravel())
    return out


def compared(tokens: Tensor, *elsewhere: list[np.ndarray]) -> list[Tensor]:
    """Cosines with other images: at the same place, and for each of ``elsewhere`` (places, for each
    of the other images) there: each (image, patch, other)."""
    units = normalize(tokens.float(), dim=-1)
    found: list[list[Tensor]] = [[] for _ in range(1 + len(elsewhere))]
    for step, places in enumerate(list(zip(*elsewhere, strict=True))[: len(units) - 1], 1):
        beside = units.roll(-step, 0)
        found[0].append((units * beside).sum(-1))
        for cosines, where in zip(found[1:], places, strict=True):
            cosines.append((units * beside[:, torch.from_numpy(where)]).sum(-1))
    return [torch.stack(cosines, -1) for cosines in found]
