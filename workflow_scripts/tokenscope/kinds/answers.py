"""What is said of each kind of artifact: one answer with its size and interval, beside its numbers.

An answer is ``yes``, ``no``, ``cannot tell`` or ``does not apply``. It is ``yes`` where a quantity
is surely at its bound or above, ``no`` where it is surely below: with the whole interval, over
images. The bounds stand in the module of each kind, with their reasons.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from tokenscope.norms.artifacts import Judgement
from tokenscope.stats.bootstrap import Bootstrap
from tokenscope.stats.proportion import clustered_interval
from tokenscope.tables import tidy

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
CLAIM = "kinds"  # as tidy rows name it
# Columns beside those of every tidy table: the kind of artifact, the block (from 1; 0: of the whole
# backbone), the same where the kind is absent, and on the one row that an answer rests on, the
# answer and why.
BESIDE = ["artifact", "block", "null", "answer", "why"]
Estimate = tuple[float, float, float]  # a value with the ends of its interval over images
FEWEST = 20  # images with outliers: fewer say nothing of outliers
ONE_IN_TWENTY = 0.05  # of the images: rarer registers of high norm are no trait either
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

    @classmethod
    def of(
        cls, kind: str, quantity: str, estimate: Estimate, block: int = 0, null: float = math.nan,
        unit: str = "", answer: str = "", why: str = "",
    ) -> "Found":  # fmt: skip
        """From a value with the ends of its interval."""
        return cls(kind, quantity, *estimate, block, null, unit, answer, why)


def percent(share: Estimate) -> Estimate:
    """A share with its interval, in percent."""
    value, low, high = share
    return 100 * value, 100 * low, 100 * high


def decide(estimate: Estimate, bound: float) -> str:
    """Whether a quantity (value, low, high) is at ``bound`` or above."""
    _, low, high = estimate
    if not (math.isfinite(low) and math.isfinite(high)):
        return UNDECIDED
    if low >= bound:
        return YES
    return NO if high < bound else UNDECIDED


def does_not_apply(kind: str, quantity: str, why: str) -> Found:
    """The row of a kind that cannot be there."""
    return Found(kind, quantity, answer=NOT_ABOUT, why=why)


def enough(found: list[Found], images: int) -> list[Found]:
    """Rows that were asked of so many images with outliers: of too few, no answer is given."""
    if images >= FEWEST:
        return found
    few = f"; only {images} images hold outliers, {FEWEST} are needed"
    return [
        replace(one, answer=UNDECIDED, why=one.why + few) if one.answer in (YES, NO) else one
        for one in found
    ]


def mean(values: np.ndarray, bootstrap: Bootstrap) -> Estimate:
    """Mean over images (image,) with its interval."""
    return ratio(values, np.ones(len(values)), bootstrap)


def ratio(above: np.ndarray, below: np.ndarray, bootstrap: Bootstrap) -> Estimate:
    """``sum(above) / sum(below)`` over images, with its interval."""
    value, low, high, _ = bootstrap.ratio(above, below)
    return float(value), float(low), float(high)


def share_of_images(held: np.ndarray, confidence: float) -> Estimate:
    """Share of the images (image,) that are so, with an interval that knows of few images."""
    return clustered_interval(np.asarray(held, float), 1, confidence)


def answers(found: Iterable[Found]) -> dict[str, Found]:
    """The row that each kind's answer rests on, by kind, in the order of :data:`KINDS`."""
    said = {one.kind: one for one in found if one.answer}
    return {kind: said[kind] for kind in KINDS if kind in said}


def at_another_size(first: Judgement, other: Judgement, sizes: tuple[int, int]) -> list[Found]:
    """Rows of kind ``resolution``: is the answer about high norms another at another size?"""
    said = [first.verdict, other.verdict]
    answer = UNDECIDED if UNDECIDED in said else ("no" if said[0] == said[1] else "yes")
    why = "; ".join(
        f"{verdict} at {size} pixels" for verdict, size in zip(said, sizes, strict=True)
    )
    rows = [
        Found.of(
            "resolution", f"share_at_{size}", (j.share, *j.share_interval), j.block, unit="percent"
        )
        for j, size in ((first, sizes[0]), (other, sizes[1]))
    ]
    headline = Found.of(
        "resolution", "share_at_the_other_size", (other.share, *other.share_interval), other.block,
        first.share, "percent", answer, why,
    )  # fmt: skip
    return [headline, *rows]


def tidy_rows(found: list[Found], who: dict, images: int, seed: int) -> pd.DataFrame:
    """Rows of one backbone; the group names the kind, and the block where it is of one."""
    rows, more = tidy.TidyRows(who, images, seed), []
    for one in found:
        group = f"{one.kind}-block_{one.block:02d}" if one.block and not one.answer else one.kind
        rows.add(CLAIM, group, one.quantity, one.value, one.low, one.high, one.unit)
        more.append((one.kind, one.block, one.null, one.answer, one.why))
    return pd.concat([rows.frame(), pd.DataFrame(more, columns=BESIDE)], axis=1)


def said(table: pd.DataFrame) -> pd.DataFrame:
    """The rows that answers rest on, in the order of the kinds."""
    rows = table[table["answer"].fillna("") != ""].copy()
    rows["order"] = rows["artifact"].map(list(KINDS).index)
    return rows.sort_values("order", kind="stable").drop(columns="order")
