"""What the instrument says of a phantom, against what is known of it, item by item."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from tokenscope.errors import StudyError
from tokenscope.phantoms.answers import ANSWERS, CONTENT, POSITION, TIED

MISSED = 0.01  # share of the planted tokens that may be missed or made up
ROUNDED = 1e-4  # percent, by which tables round


@dataclass(frozen=True)
class Said:
    """What the instrument says of a backbone.

    ``artifacts`` and ``last_block`` are yes, no or cannot tell; ``about`` is content, position or
    cannot tell. ``cutoff`` and ``ratio`` are in medians of the image, ``share`` (value, low, high)
    in percent; ``block``, the one judged, and ``onset`` count from 1. What is not said is NaN.
    """

    artifacts: str
    last_block: str
    about: str
    cutoff: float
    ratio: float
    share: tuple[float, float, float]
    block: float
    onset: float

    @classmethod
    def of(cls, norms: pd.DataFrame, diagnosis: pd.DataFrame) -> "Said":
        """From the tidy rows of claim 1 (group ``artifacts``) and of the diagnosis.

        Raises:
            StudyError: a row is missing or there twice.
        """

        def row(table: pd.DataFrame, group: str, metric: str) -> pd.Series:
            found = table[(table["group"] == group) & (table["metric"] == metric)]
            if len(found) != 1:
                raise StudyError(
                    f"{len(found)} rows of {group}: {metric} in a phantom's measures instead of "
                    "one; make them again (delete the CSV below measures/)"
                )
            return found.iloc[0]

        def number(metric: str, group: str = "artifacts") -> float:
            return float(row(norms, group, metric)["value"])

        share = row(norms, "artifacts", "share")
        about = {1.0: POSITION, 0.0: CONTENT}
        follows = float(row(diagnosis, "verdict", "follows_position")["value"])
        return cls(
            artifacts=_answer(number("has_artifacts")),
            last_block=_answer(number("has_artifacts", "artifacts-last_block")),
            about=about.get(follows, TIED), cutoff=number("cutoff"), ratio=number("ratio"),
            share=(float(share["value"]), float(share["low"]), float(share["high"])),
            block=number("block"), onset=number("onset_block"),
        )  # fmt: skip


def _answer(value: float) -> str:
    return {1.0: "yes", 0.0: "no"}.get(value, "cannot tell")


def compare(
    name: str, planted: dict, said: Said, truth: np.ndarray, measured: np.ndarray
) -> dict[str, bool | None]:
    """What is right in what was said of a phantom, item by item; None where it cannot tell.

    Not to decide, from few images say, is no error; it is nothing to be trusted for either.

    Args:
        planted: of its card. truth, measured: (image, patch), planted tokens and those that the
            instrument finds in the block it judges.

    Returns:
        ``artifacts``, ``last_block``; and for those with high norms that are found ``tokens`` (not
        more than :data:`MISSED` of the planted ones differ), ``share`` (in the interval said),
        ``block`` (one in which high norms stand), ``onset_block`` (the planted one) and ``about``.
    """
    answer = ANSWERS[name]
    if answer.high and not truth.any():  # nobody is to find in these images what is not in them
        return {"artifacts": None}
    right: dict[str, bool | None] = {
        "artifacts": _right(said.artifacts, answer.artifacts),
        "last_block": _right(said.last_block, answer.last_block),
    }
    if answer.high and right["artifacts"]:
        different, share = int((truth != measured).sum()), 100 * float(truth.mean())
        right |= {
            "tokens": different <= MISSED * int(truth.sum()),
            "share": said.share[1] - ROUNDED <= share <= said.share[2] + ROUNDED,
            "block": planted["first"] <= said.block <= planted["last"],
            "onset_block": said.onset == planted["first"],
            "about": _right(said.about, (answer.about,)),
        }
    return right


def passed(right: dict[str, bool | None]) -> bool | None:
    """Whether all is right; None where nothing is wrong and something cannot be told."""
    if False in right.values():
        return False
    return None if None in right.values() else True


def _right(said: str, answers: tuple[str, ...]) -> bool | None:
    if said in answers:
        return True
    return None if said == "cannot tell" else False
