"""Numbers and names as a reader wants them, by ``config/labels.csv``."""

import csv
import re
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cache

from tokenscope.paths import of_project
from tokenscope.tables import tidy

# What joins the parts of a composed name (tokenscope.tables.names), and how it is read.
_COMPOSED = {
    "_minus_": " minus ", "_gain_over_": " gained over ", ", ": ", ", ": ": ": ", "@": " at ",
    "+": " + ", "/": " over ", "-": " minus ",
}  # fmt: skip
_IN_BLOCK = re.compile(r"[-/]block_?(?=\d)")  # of a kind of artifact, of a training's update
BLOCK = "block, from 1"  # the unit of a block's number
OTHER = ", other: "  # before the name of the backbone that a group compares with
_SINGULAR = {"points": "point", "patches": "patch"}
_BETTER = {"": 0, "up": 1, "down": -1}
ARROWS = {0: "", 1: "\u2191", -1: "\u2193"}


@dataclass(frozen=True)
class Label:
    """A row of ``config/labels.csv``: of a metric or group, or of a unit of the tables.

    Attributes:
        words: of a metric or group.
        unit: how a unit is shown; empty where a number needs none.
        decimals: that numbers of a unit have; None for four digits.
        better: where more of a metric is better (1), or less (-1).
    """

    words: str = ""
    unit: str = ""
    decimals: int | None = None
    better: int = 0


def as_text(value: float, unit: str) -> str:
    """A number as a reader wants it: verdicts in words, percent as a sign."""
    if unit == "verdict":
        return {0.0: "no", 1.0: "yes"}.get(value, "cannot tell")
    if tidy.is_refused(unit):
        return unit
    if value != value:
        return "undefined"
    if unit == BLOCK:
        return f"block {number_text(value)}"
    return number_text(value, unit) + _unit_text(unit)


def without_unit(value: float, unit: str) -> str:
    """The same where the unit stands elsewhere (:func:`unit_text`), as in the head of a row."""
    if unit == "verdict" or tidy.is_refused(unit) or value != value:
        return as_text(value, unit)
    return number_text(value, unit)


def number_text(value: float, unit: str = "") -> str:
    """A number alone, with the same digits wherever it is printed: page, Markdown and LaTeX.

    Scores have the two decimals of the papers' tables, and below 0.1 two digits that are not zero.
    Everything else has four digits, below 0.1 three. Thousands are marked by a comma, and only
    what is below a millionth is a power of ten.
    """
    decimals, size = _unit(unit).decimals, abs(value)
    if value != 0 and size < 0.1:
        digits = f"{value:.{3 if decimals is None else 2}g}"
        return digits if size < 1e-6 else f"{Decimal(digits):f}"
    if decimals is not None:
        return f"{value:,.{decimals}f}"
    return f"{value:,.0f}" if size >= 1000 else f"{value:.4g}"


def count_text(text: str) -> str:
    """A count that a table has as text, with its thousands marked; any other text as it is."""
    return f"{int(text):,}" if text.isdecimal() else text


def signed_text(value: float, unit: str = "") -> str:
    """A difference: the same, with its sign."""
    return "+" * (value > 0) + number_text(value, unit)


def interval_text(low: float, high: float, unit: str = "") -> str:
    """An interval in brackets; empty where there is none, and where nothing varied."""
    return f"[{number_text(low, unit)}, {number_text(high, unit)}]" if low < high else ""


def measured_text(row) -> str:
    """Value, unit and, where they differ, the ends in brackets of a row of a measured cost."""
    if row["value"] != row["value"]:
        return "not measured"
    ends = interval_text(row["low"], row["high"], row["unit"])
    return f"{as_text(row['value'], row['unit'])} {ends}".strip()


def words(name: str) -> str:
    """A metric or group as a reader wants it, by ``config/labels.csv``; composed ones by part.

    A number in a name stands for ``{n}`` in the file. What is not there keeps its own words. A
    hyphen is read as minus: a name in which it is none has a line of its own.
    """
    if label := _label(name):
        return label
    name = _IN_BLOCK.sub(", block", name)
    for mark, between in _COMPOSED.items():
        if mark in name:
            head, _, rest = name.partition(mark)
            return f"{words(head)}{between}{words(rest)}"
    return name.replace("_", " ").strip()


def has_words(name: str) -> bool:
    """Whether :func:`words` knows all of a name, so that none of it is made up."""
    if _label(name):
        return True
    name = _IN_BLOCK.sub(", block", name)
    parts = (name.partition(mark) for mark in _COMPOSED if mark in name)
    return "_" not in name or any(has_words(head) and has_words(rest) for head, _, rest in parts)


def group_words(name: str) -> str:
    """A group in words: that of judged tokens, which is a question elsewhere, and pairs.

    The other backbone of a pair keeps its name, whose slashes divide nothing.
    """
    own, other, who = name.partition(OTHER)
    said = "by each one's own decision" if own == "judged" else words(own)
    return f"{said}{other}{who}"


def heading(name: str) -> str:
    """The head of a column: a name of ours in words; one that is a text already stays as it is."""
    return _label(name) or (words(name) if name.isidentifier() else name)


def in_words(text: str) -> str:
    """A text with names of metrics and groups in it, as tables beside it show them."""
    said = re.sub(r"[a-z0-9]+(?:_[a-z0-9]+)+", lambda name: words(name[0]), text)
    return said.replace("_", " ")


def better(metric: str) -> int:
    """Where more of a metric is better (1), or less (-1), also of a difference; else 0."""
    return _row(metric.partition("_minus_")[0]).better


def arrow(metric: str) -> str:
    """The same as an arrow; empty where neither is."""
    return ARROWS[better(metric)]


def _label(name: str) -> str:
    return _row(name).words


def _row(name: str) -> Label:
    exact, patterns = _labels()
    if name in exact:
        return exact[name]
    for pattern, label in patterns:
        if match := pattern.fullmatch(name):
            number = re.sub(r"^0+(?=[0-9])", "", match[1].replace("*", "n"))
            return replace(label, words=label.words.replace("{n}", number))
    return Label()


def _unit(unit: str) -> Label:
    """A unit as shown; one that has no line is shown as it is."""
    return _labels()[0].get(f"unit: {unit}", Label(unit=unit))


@cache
def _labels() -> tuple[dict[str, Label], list[tuple[re.Pattern, Label]]]:
    """Rows of ``config/labels.csv`` by name, and by pattern where a number is left open."""
    with open(of_project("config/labels.csv"), newline="") as handle:
        rows = [(row["name"], _read(row)) for row in csv.DictReader(handle)]
    number = r"(\d+(?:\.\d+)?|\*)"  # or any, in a pattern of names
    patterns = [
        (re.compile(re.escape(name).replace(r"\{n\}", number)), label)
        for name, label in rows
        if "{n}" in name
    ]
    return dict(row for row in rows if "{n}" not in row[0]), patterns


def _read(row: dict[str, str]) -> Label:
    decimals = int(row["decimals"]) if row["decimals"] else None
    return Label(row["words"], row["unit"], decimals, _BETTER[row["better"]])


def unit_text(unit: str) -> str:
    """A unit as it stands behind numbers; empty where a number needs none."""
    return _unit(unit).unit


def amount(size: float, unit: str) -> str:
    """A size that somebody chose, with its unit; one of it in the singular."""
    return f"{size:g} {_SINGULAR.get(unit, unit) if size == 1 else unit_text(unit)}".strip()


def _unit_text(unit: str) -> str:
    return f" {unit_text(unit)}".rstrip()
