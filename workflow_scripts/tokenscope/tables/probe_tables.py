"""Tables 1-3 of the main paper from the tidy rows of claim 4: a line per backbone and measure."""

from collections.abc import Callable

import pandas as pd

from tokenscope.tables import tidy

# Title, and by metric: a heading, the sign that more knowledge gives it, the simplest guess.
TABLES = (
    ("Table 1: position", {"position_top1": ("top-1 / %", 1, "commonest place"),
                           "position_distance": ("distance / patches", -1, "best one place")}),
    ("Table 2: pixels", {"pixel_l2_squared": ("squared L2", -1, "mean patch"),
                         "pixel_explained": ("explained / %", 1, "")}),
    ("Table 3: class", {"class_top1": ("top-1 / %", 1, "commonest class")}),
)  # fmt: skip
KEY = ["family", "size", "registers", "dataset"]
HEADER = ("backbone", "measure", "normal", "outlier", "outlier - normal", "CLS, registers",
          "guessing", "tokens a group", "published: normal / outlier / CLS",
          "outliers know")  # fmt: skip
COUNTS = ("train", "validation", "test")


def tables(table: pd.DataFrame, cite: Callable[[tuple, str], str]) -> list[tuple[str, list[tuple]]]:
    """Title of each table and its lines, as cells under :data:`HEADER`; none where it is empty.

    Args:
        table: tidy rows of claim 4.
        cite: published values of (family, size, registers, group, metric) near a data set, as text.
    """
    found = []
    for title, metrics in TABLES:
        lines = [
            _line(key, rows.set_index(["group", "metric"]), metric, said, cite)
            for key, rows in table.groupby(KEY, sort=False)
            for metric, said in metrics.items()
        ]
        found.append((title, [line for line in lines if line]))
    return [(title, lines) for title, lines in found if lines]


def _line(key, rows, metric, said, cite) -> tuple[str, ...]:
    heading, sign, guess = said

    def row(group, metric=metric):
        return rows.loc[(group, metric)] if (group, metric) in rows.index else None

    if row("normal") is None:
        return ()
    whole = [g for g, m in rows.index if m == metric and (g == "cls" or g.startswith("reg"))]
    guesses = {g: row(f"{g}: {guess}") for g in ("normal", "outlier")} | {"": row(guess)}
    guesses = [f"{g} {r.value:.4g}".strip() for g, r in guesses.items() if r is not None]
    question = {"pixel": "pixels"}.get(metric.split("_")[0], metric.split("_")[0])
    counts = {part: row("each group", f"{question}_tokens_{part}") for part in COUNTS}
    theirs = [cite((*key[:3], g, metric), key[3]) for g in ("normal", "outlier", "cls")]
    return (
        "/".join(key[:3]), heading, *(_number(row(g)) for g in ("normal", "outlier")),
        _number(row("outlier-normal")), ", ".join(f"{g} {_number(row(g))}" for g in whole),
        f"{guess}: {', '.join(guesses)}" if guesses else "",
        ", ".join(f"{r.value:.0f} {part}" for part, r in counts.items() if r is not None),
        " / ".join(filter(None, theirs)),
        _verdict(rows, row("outlier-normal"), sign, question == "position"),
    )  # fmt: skip


def _verdict(rows, gap, sign, place) -> str:
    """What the difference says; positions that can be guessed without looking say nothing."""
    if gap is None or gap.value != gap.value:
        return "not measured"
    for group in ("normal", "outlier") if place else ():
        if (group, "position_confounded") in rows.index:
            value = rows.loc[(group, "position_confounded")].value
            if value != 0:
                said = "confounded" if value == 1 else "perhaps confounded"
                return f"{said}: {group} tokens crowd in few places"
    if gap.low > 0 or gap.high < 0:
        return "more" if gap.value * sign > 0 else "less"
    return "cannot tell"


def _number(row) -> str:
    if row is None:
        return ""
    if row.unit.startswith(tidy.NOT_MEASURED):
        return f"{row.unit} ({row.n})"
    return f"{row.value:.4g} ({row.low:.4g} to {row.high:.4g})"
