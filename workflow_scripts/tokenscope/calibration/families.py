"""Norms with a known answer, drawn at random: tails without a second mode, and planted modes.

A family draws log-norms (image, patch). The *nulls* have no mode of their own above the bulk, so
that "yes" is wrong; in *modes* some tokens stand out, so that "no" is wrong. Families marked as
held out were not looked at while the decision was built: they were drawn for the first time when it
was counted how often it errs. (Of tokens of mixed spread one constant was set anew after that first
count: what a shoulder must hold to forbid a "no".)
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Draw = Callable[[np.random.Generator, tuple[int, int], float], np.ndarray]


@dataclass(frozen=True)
class Family:
    """``draw(rng, (images, patches), spread)``: log-norms of about that standard deviation."""

    name: str
    draw: Draw
    held_out: bool = False


def normal(rng, shape, spread):
    """Log-norms of a log-normal: (image, patch) of that standard deviation."""
    return spread * rng.standard_normal(shape, dtype=np.float32)


def _two_bulks(upper: float) -> Draw:
    """Flat and textured patches, 1.4 x apart; ``upper``: the share of the higher."""
    return lambda rng, shape, s: normal(rng, shape, s) + np.log(1.4) * (rng.random(shape) < upper)


def _image_scales(rng, shape, spread):
    return normal(rng, shape, spread) + 0.5 * rng.standard_normal((shape[0], 1))


def _few_scaled(rng, shape, spread):
    logs = normal(rng, shape, spread)
    logs[: max(1, shape[0] // 100)] += np.log(3.6)
    return logs


def _gradient(rng, shape, spread):
    side = round(shape[1] ** 0.5)
    rows = np.repeat(np.linspace(-0.4, 0.4, side), side)
    return normal(rng, shape, spread) + rows


def _low_mode(rng, shape, spread):
    """5 % of tokens at a fifth of the median, beside a bulk skewed to the right."""
    logs = np.exp(0.5 * normal(rng, shape, 1)) * 1.5 * spread
    low = rng.random(shape) < 0.05
    logs[low] = np.median(logs) + np.log(0.2) + 0.1 * rng.standard_normal(low.sum())
    return logs


def _radial(rng, shape, spread):
    side = round(shape[1] ** 0.5)
    row, column = np.indices((side, side)).reshape(2, -1) / (side - 1) * 2 - 1
    return normal(rng, shape, spread) + 0.5 * np.exp(-2 * (row**2 + column**2))


def _smooth_field(rng, shape, spread):
    """Half of the variance lies in patches of 4 x 4 or so, as content does."""
    side = round(shape[1] ** 0.5)
    cells = -(-side // 4)
    field = rng.standard_normal((shape[0], cells, cells)).repeat(4, 1).repeat(4, 2)
    field = field[:, :side, :side].reshape(shape)
    return (normal(rng, shape, spread) + spread * field) / np.sqrt(2)


def _mixed_tokens(rng, shape, spread):
    """One token in ten has 2.5 times the spread: a heavy tail, no mode."""
    return normal(rng, shape, spread) * np.where(rng.random(shape) < 0.1, 2.5, 1)


NULLS = [
    Family("log-normal", normal),
    Family("gamma", lambda rng, shape, s: np.log(rng.gamma(1 / s**2, 1, shape))),
    Family("Weibull", lambda rng, shape, s: np.log(rng.weibull(1.2825 / s, shape))),
    Family("Laplace", lambda rng, shape, s: rng.laplace(0, s / np.sqrt(2), shape)),
    Family("Student t (3)", lambda rng, shape, s: rng.standard_t(3, shape) * s / np.sqrt(3)),
    Family("two bulks, 30 % above", _two_bulks(0.3)),
    Family("two bulks, 70 % above", _two_bulks(0.7)),
    Family("image scales", _image_scales),
    Family("one image in 100 scaled", _few_scaled),
    Family("gradient over places", _gradient),
    Family("low minor mode", _low_mode),
    Family("logistic", lambda rng, shape, s: rng.logistic(0, s * 0.5513, shape), True),
    Family("Gumbel", lambda rng, shape, s: rng.gumbel(0, s * 0.7797, shape), True),
    Family("inverse gamma", lambda rng, shape, s: -np.log(rng.gamma(1 / s**2, 1, shape)), True),
    Family("chi", lambda rng, shape, s: 0.5 * np.log(rng.chisquare(0.5 / s**2, shape)), True),
    Family("radial gradient", _radial, True),
    Family("smooth field", _smooth_field, True),
    Family("tokens of mixed spread", _mixed_tokens, True),
]


@dataclass(frozen=True)
class ModeFamily:
    """Bulk and shape of a planted mode.

    Attributes:
        bulk: draws log-norms of the bulk.
        shape: ``(rng, number, spread)`` -> log of norms relative to the mode's place.
    """

    name: str
    bulk: Draw
    shape: Callable[[np.random.Generator, int, float], np.ndarray]
    held_out: bool = False


MODES = [
    ModeFamily("narrow", normal, lambda rng, n, s: 0.05 * rng.standard_normal(n)),
    ModeFamily("half as wide", normal, lambda rng, n, s: 0.5 * s * rng.standard_normal(n)),
    ModeFamily(
        "skewed, gamma bulk", NULLS[1].draw, lambda rng, n, s: 0.1 * (1 - rng.exponential(1, n)),
        held_out=True,
    ),
]  # fmt: skip


def plant(
    rng: np.random.Generator, bulk: np.ndarray, family: ModeFamily, ratio: float, share: float,
    spread: float, every: int,
) -> tuple[np.ndarray, float]:  # fmt: skip
    """Norms with a mode, and the share of tokens expected in it (from 0 to 1).

    Args:
        bulk: (image, patch) norms; a copy is changed.
        ratio: of the mode to the median of the bulk.
        share: of all tokens, if every image can hold so many: at most 60 % of one image.
        every: one image in so many holds them, at random.
    """
    own = min(share * every, 0.6)
    holders = np.flatnonzero(rng.random(len(bulk)) < 1 / every)
    mask = rng.random((len(holders), bulk.shape[1]), dtype=np.float32) < own
    image, patch = np.nonzero(mask)
    changed = bulk.copy()
    place = np.median(bulk[:64]) * ratio  # all images of a draw have one bulk
    changed[holders[image], patch] = place * np.exp(family.shape(rng, len(image), spread))
    return changed, own / every
