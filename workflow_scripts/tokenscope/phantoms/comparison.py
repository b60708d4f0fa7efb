"""What the instrument says of a phantom, against what is known of it, item by item."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from tokenscope.errors import StudyError
from tokenscope.kinds.answers import KINDS, NO, NOT_ABOUT, UNDECIDED, YES
from tokenscope.kinds.answers import said as answered
from tokenscope.phantoms.answers import ANSWERS, CONTENT, POSITION, TIED
from tokenscope.tables import tidy

MISSED = 0.01  # share of the planted tokens that may be missed or made up
KIND_HEADER = ["phantom", "dataset", "kind", "known", "said", "right"]
ABSENT = (NO, NOT_ABOUT)  # what may be said of a kind that is not there
NOT_ASKED = ("resolution", NOT_ABOUT)  # a study without kinds: second_size
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


def of_kinds(
    name: str, truth: np.ndarray, kinds: pd.DataFrame
) -> dict[str, tuple[str, str, bool | None]]:
    """What is known of each kind of artifact in a phantom, what is said, and whether it is right.

    Args:
        truth: (image, patch), planted tokens.
        kinds: tidy rows of it (:func:`tokenscope.kinds.answers.tidy_rows`).

    Returns:
        by kind, known ``yes``, ``no`` or ``not yes``; the answer; None where it cannot tell. Kinds
        of which nothing is known are left out, and another size where none was asked for; all are
        where these images show nothing planted.

    Raises:
        StudyError: a kind has no answer.
    """
    if ANSWERS[name].high and not truth.any():
        return {}
    answers = dict(answered(kinds)[["artifact", "answer"]].itertuples(index=False))
    if lacking := [kind for kind in KINDS if kind not in answers]:
        raise StudyError(
            f"{name}: nothing is said of the kind {lacking[0]} in a phantom's measures; make them "
            "again (delete the CSV below measures/kinds)"
        )
    allowed = {YES: (YES,), NO: ABSENT, "not yes": (*ABSENT, UNDECIDED)}
    return {
        kind: (known, answer, _right(answer, allowed[known]))
        for kind, answer in answers.items()
        if (known := ANSWERS[name].of_kind(kind)) and (kind, answer) != NOT_ASKED
    }


def kind_lines(table: pd.DataFrame) -> list[list[str]]:
    """Cells of :data:`KIND_HEADER`, a line for each phantom and kind of a table of controls."""
    lines, columns, words = [], ["dataset", *tidy.BACKBONE_COLUMNS], {1.0: "yes", 0.0: "no"}
    for (dataset, *who), rows in table.groupby(columns, sort=False):
        value = rows.set_index(["group", "metric"])["value"]
        for kind in (k for k in KINDS if ("kinds-right", k) in value.index):
            right, spoken = value["kinds-right", kind], value["kinds-said", kind]
            # Both are without a number; where nothing is to be told, that it does not apply is.
            silent = UNDECIDED if right != right else NOT_ABOUT
            lines.append([
                "/".join(who), dataset, kind,
                words.get(value["kinds-known", kind], "not yes"),
                words.get(spoken, silent),
                words.get(right, "undecided"),
            ])  # fmt: skip
    return lines


def passed(right: dict[str, bool | None]) -> bool | None:
    """Whether all is right; None where nothing is wrong and something cannot be told."""
    if False in right.values():
        return False
    return None if None in right.values() else True


def _right(said: str, answers: tuple[str, ...]) -> bool | None:
    if said in answers:
        return True
    return None if said == "cannot tell" else False
