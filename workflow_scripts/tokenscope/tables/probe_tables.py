"""Tables 1 to 3 of the main paper, from the tidy rows of claim 4: a line per backbone and measure.

Main paper: "On the Reproducibility of Vision Transformers Need Registers". Table 1 is the position
probe, Table 2 the pixel probe, Table 3 the class probe (tokenscope.probes.questions).
"""

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from tokenscope.tables import names, tidy
from tokenscope.tables.formatting import arrow, better, interval_text, number_text, words


@dataclass(frozen=True)
class Measure:
    """A line of a table: ``guess`` is what the simplest guess gives.

    ``question`` is one of :data:`tokenscope.probes.questions.TASKS`.
    """

    question: str
    metric: str
    heading: str
    guess: str


TABLES = {
    "Table 1: position": (
        Measure("position", "position_top1", "top-1 (%)", "commonest place"),
        Measure("position", "position_distance", "distance (patches)", "best one place"),
    ),
    "Table 2: pixels": (
        Measure("pixels", "pixel_l2_squared", "squared L2 error", "mean patch"),
        Measure("pixels", "pixel_explained", "explained (%)", ""),
    ),
    "Table 3: class": (Measure("class", "class_top1", "top-1 (%)", "commonest class"),),
}
HEADER = ("backbone", "measure", "normal", "outlier", "outlier minus normal", "CLS, registers",
          "guessing", "tokens per group", "published: normal / outlier / CLS",
          "what outliers encode")  # fmt: skip
COUNTS = ("train", "validation", "test")


def tables(table: pd.DataFrame, cite: Callable[[tuple, str], str]) -> list[tuple[str, list[tuple]]]:
    """Title of each table and its lines, as cells under :data:`HEADER`; none where it is empty.

    Args:
        table: tidy rows of claim 4.
        cite: published values of (family, size, registers, group, metric) near a data set, as text.
    """
    titled = []
    for title, measures in TABLES.items():
        lines = [
            _line(key, rows.set_index(["group", "metric"]), measure, cite)
            for key, rows in table.groupby([*tidy.BACKBONE_COLUMNS, "dataset"], sort=False)
            for measure in measures
        ]
        titled.append((title, [line for line in lines if line]))
    return [(title, lines) for title, lines in titled if lines]


def _line(key, rows, measure: Measure, cite) -> tuple[str, ...]:
    metric, question, guess = measure.metric, measure.question, measure.guess

    def row(group, metric=metric):
        return rows.loc[(group, metric)] if (group, metric) in rows.index else None

    if row("normal") is None:
        return ()
    whole = [g for g, m in rows.index if m == metric and names.is_prefix_token(g)]
    guesses = {g: row(names.guess_name(g, guess)) for g in ("normal", "outlier")}
    guesses[""] = row(guess)
    guesses = [
        f"{words(g)} {number_text(r.value, r.unit)}".strip()
        for g, r in guesses.items()
        if r is not None
    ]
    counts = {part: row("each group", f"{question}_tokens_{part}") for part in COUNTS}
    theirs = [cite((*key[:3], g, metric), key[3]) for g in ("normal", "outlier", "cls")]
    name = "/".join(key[:3])
    saw = row("backbone", "saw_labels")
    if question == "class" and saw is not None and saw.value == 1:
        name += " (trained with these labels)"
    return (
        name, f"{measure.heading} {arrow(metric)}",
        *(_number(row(g)) for g in ("normal", "outlier")),
        _number(row("outlier-normal")), ", ".join(f"{words(g)} {_number(row(g))}" for g in whole),
        f"{guess}: {', '.join(guesses)}" if guesses else "",
        ", ".join(f"{r.value:,.0f} {part}" for part, r in counts.items() if r is not None),
        " / ".join(filter(None, theirs)),
        _verdict(rows, row("outlier-normal"), better(metric), question == "position"),
    )  # fmt: skip


def _verdict(rows, gap, sign, place) -> str:
    """What the difference says; positions that can be guessed without looking say nothing."""
    if gap is None or gap.value != gap.value:
        return tidy.NOT_MEASURED
    for group in ("normal", "outlier") if place else ():
        if (group, "position_confounded") in rows.index:
            value = rows.loc[(group, "position_confounded")].value
            if value != 0:
                certainty = "confounded" if value == 1 else "perhaps confounded"
                return f"{certainty}: {group} tokens crowd in few places"
    if gap.low > 0 or gap.high < 0:
        return "more" if gap.value * sign > 0 else "less"
    return "cannot tell"


def _number(row) -> str:
    if row is None:
        return ""
    if tidy.is_refused(row.unit):
        return f"{row.unit} ({row.n})"
    number = number_text(row.value, row.unit)
    return f"{number} {interval_text(row.low, row.high, row.unit)}".strip()
