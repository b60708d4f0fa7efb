"""What is said of each kind of artifact: one answer with its size and interval, beside its numbers.

An answer is ``yes``, ``no``, ``cannot tell`` or ``does not apply``. It is ``yes`` where a quantity
is surely at its bound or above, ``no`` where it is surely below: with the whole interval, over
images. The bounds stand in the module of each kind, with their reasons.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from tokenscope.stats.bootstrap import Bootstrap
from tokenscope.stats.proportion import clustered_interval

YES, NO, UNDECIDED, NOT_ABOUT = "yes", "no", "cannot tell", "does not apply"
# Each kind with what "yes" says of a backbone, in the order of the matrix.
KINDS = {
    "high-norm": "patches of a norm of their own",
    "sink": "heads of which nearly all queries look at one token",
    "attention-received": "outliers receive many times their share of attention",
    "fixed-pattern": "tokens that depend on their place, whatever the image",
    "shift": "outliers stay at their places when the image moves",
    "channel": "a single channel that drowns the others",
    "locality": "patches that speak of the image rather than of their place in it",
    "universality": "outliers of different images resemble each other",
    "outlier-use": "outliers hold what the output depends on",
    "register-norm": "registers of high norm",
    "register-use": "registers hold what the output depends on",
    "rank": "patches that span few directions",
    "point-in-box": "the patch most like CLS is beside the objects",
    "qkv": "outliers have low queries or values",
    "resolution": "another answer about high norms at another size",
}
ONE_IN_TEN = 0.1  # of the images: what is rarer is no trait of a backbone


@dataclass(frozen=True)
class Found:
    """One number of one kind.

    Attributes:
        kind: one of :data:`KINDS`. quantity: what was measured.
        value, low, high: with the ends of its interval over images.
        block: after (or in) which, from 1; 0 where it is of the whole backbone.
        null: the same where the kind is absent.
        answer: of the kind, on the one row that it rests on; else empty.
        why: the answer in words.
    """

    kind: str
    quantity: str
    value: float = math.nan
    low: float = math.nan
    high: float = math.nan
    block: int = 0
    null: float = math.nan
    unit: str = ""
    answer: str = ""
    why: str = ""


def decide(low: float, high: float, bound: float) -> str:
    """Whether a quantity with this interval is at ``bound`` or above."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return UNDECIDED
    if low >= bound:
        return YES
    return NO if high < bound else UNDECIDED


def does_not_apply(kind: str, quantity: str, why: str) -> Found:
    """The row of a kind that cannot be there."""
    return Found(kind, quantity, answer=NOT_ABOUT, why=why)


def mean(values: np.ndarray, bootstrap: Bootstrap) -> tuple[float, float, float]:
    """Mean over images (image,) with its interval."""
    return ratio(values, np.ones(len(values)), bootstrap)


def ratio(above: np.ndarray, below: np.ndarray, bootstrap: Bootstrap) -> tuple[float, float, float]:
    """``sum(above) / sum(below)`` over images, with its interval."""
    value, low, high, _ = bootstrap.ratio(above, below)
    return float(value), float(low), float(high)


def share_of_images(held: np.ndarray, confidence: float) -> tuple[float, float, float]:
    """Share of the images (image,) that are so, with an interval that knows of few images."""
    return clustered_interval(np.asarray(held, float), 1, confidence)


def answers(found: Iterable[Found]) -> dict[str, Found]:
    """The row that each kind's answer rests on, by kind, in the order of :data:`KINDS`."""
    said = {one.kind: one for one in found if one.answer}
    return {kind: said[kind] for kind in KINDS if kind in said}
