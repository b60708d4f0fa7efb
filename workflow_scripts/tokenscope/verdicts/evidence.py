"""The numbers behind a criterion: rows of the tables, means over seeds and over data sets.

An interval contains what a statement is about. Rows bring images (and heads' seeds) along; of
backbones trained here the spread between trainings that differ in their seed alone is added
(:mod:`tokenscope.stats.seeds`).
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import NamedTuple

import numpy as np
import pandas as pd

from tokenscope.stats.seeds import half_width, noise_of_ends, normal_quantile
from tokenscope.tables import tidy
from tokenscope.verdicts.answers import NAN

BOUNDED = ("points", "percent")  # of each image: at most 100, whatever it is the mean of


class Number(NamedTuple):
    """A number with its interval; ``why`` says why it decides nothing, where that is so.

    Over seeds, ``error`` is the standard error that they bring, with ``df`` degrees of freedom, and
    ``images`` the one that images bring; of others all is in the interval.
    """

    value: float
    low: float
    high: float
    unit: str = ""
    why: str = ""
    error: float = 0.0
    df: int = 0
    images: float = 0.0


@dataclass(frozen=True)
class Cell:
    """One number of one backbone on one data set; ``who`` names a training without its seed."""

    who: str
    dataset: str
    group: str
    number: Number


class Evidence:
    """Rows of tidy tables, looked up by what they are about.

    Args:
        tables: tidy rows by name of table, as dictionaries.
        confidence: of the intervals, e.g. 0.95.
        resamples: of the bootstrap behind them.
    """

    def __init__(
        self, tables: dict[str, list[dict]], confidence: float = 0.95, resamples: int = 1000
    ):
        self.confidence, self.noise_of_ends = confidence, noise_of_ends(confidence, resamples)
        self._rows: dict[str, dict[tuple[str, str], dict[tuple[str, str], dict]]] = {}
        for name, rows in tables.items():
            by_subject: dict = defaultdict(dict)
            for row in rows:
                who = f"{row['family']}/{row['size']}/{row['registers']}"
                by_subject[row["dataset"], who].setdefault((row["group"], row["metric"]), row)
            self._rows[name] = dict(by_subject)

    @classmethod
    def of_tables(cls, tables: dict[str, pd.DataFrame], statistics: dict) -> "Evidence":
        """The evidence that tables of tidy rows hold; ``statistics`` is that section of a study."""
        rows = {name: table.to_dict("records") for name, table in tables.items()}
        return cls(rows, statistics["confidence"], statistics["resamples"])

    def of(self, table: str, dataset: str, who: str) -> dict[tuple[str, str], dict]:
        """All rows of one backbone on one data set by group and metric; none where not measured."""
        return self._rows.get(table, {}).get((dataset, who), {})

    def data_sets(self, table: str, who: str) -> list[str]:
        """The data sets on which a table measures a backbone."""
        return [dataset for dataset, name in self._rows.get(table, {}) if name == who]

    def number(self, row: dict, exact: bool = False) -> Number:
        """The number of a row; one that decides nothing says why."""
        value, low, high, unit = (row[k] for k in ("value", "low", "high", "unit"))
        if tidy.is_refused(unit):
            return Number(value, low, high, unit, unit)
        if value != value and unit != "verdict":
            return Number(value, low, high, unit, "not defined: there is nothing of the kind")
        if unit == "verdict" or (exact and not low < high):
            return Number(value, value, value, unit)
        if low != low:
            return Number(value, low, high, unit, "no interval, so nothing is decided")
        if low == high:
            return self._without_width(row)
        return Number(value, low, high, unit)

    def _without_width(self, row: dict) -> Number:
        """What never happened in n images may happen in others: the exact bound over images."""
        value, unit, images = row["value"], row["unit"], row["n"]
        if value == 0 and unit in BOUNDED and images == images and images > 0:
            tail = (1 - self.confidence) / 2
            bound = 100 * (1 - tail ** (1 / images))  # Clopper and Pearson, for none of n
            return Number(0.0, -bound, bound, unit)
        why = "its interval has no width: resampling equal values tells nothing of others"
        return Number(value, row["low"], row["high"], unit, why)

    def over_seeds(self, numbers: Sequence[Number]) -> Number:
        """Mean over trainings that differ in their seed alone, images and seeds in its interval."""
        if any(n.why for n in numbers):
            return next(n for n in numbers if n.why)
        values = np.array([n.value for n in numbers])
        if numbers[0].unit == "verdict":  # an answer of all of them, or none
            return numbers[0] if len(set(values)) == 1 else undefined("its seeds disagree")
        if len(numbers) < 2:
            return numbers[0]
        error = float(values.std(ddof=1) / sqrt(len(values)))
        # The images are the same for all seeds, so that averaging does not lessen their part.
        halves = [(n.high - n.low) / 2 for n in numbers]
        images = sqrt(float(np.mean(np.square(halves)))) / normal_quantile(self.confidence)
        mean, df = float(values.mean()), len(values) - 1
        if error == images == 0:
            why = "all seeds and images give the same number"
            return numbers[0]._replace(value=mean, low=mean, high=mean, why=why)
        half = half_width(error, df, images, self.confidence)
        return Number(mean, mean - half, mean + half, numbers[0].unit, "", error, df, images)

    def combined(self, cells: Sequence[Cell]) -> Number:
        """Mean over the data sets of a backbone, whose images are others, and within over groups.

        Groups of one data set share its images: the mean of their intervals is taken, which is
        wider than that of their mean.
        """
        by_dataset: dict[str, list[Number]] = defaultdict(list)
        for cell in cells:
            by_dataset[cell.dataset].append(cell.number)
        means = [_mean(numbers, sum) for numbers in by_dataset.values()]
        return _mean(means, lambda halves: sqrt(sum(h**2 for h in halves)))


def _mean(numbers: Sequence[Number], together: Callable[[list[float]], float]) -> Number:
    """Mean of numbers whose errors add up as ``together`` has it; seeds' errors are shared."""
    if len(numbers) == 1:
        return numbers[0]
    k = len(numbers)
    value = sum(n.value for n in numbers) / k
    below = together([n.value - n.low for n in numbers]) / k
    above = together([n.high - n.value for n in numbers]) / k
    error, df = sum(n.error for n in numbers) / k, min(n.df for n in numbers)
    images = together([n.images for n in numbers]) / k
    return Number(value, value - below, value + above, numbers[0].unit, "", error, df, images)


def difference(number: Number, other: Number) -> Number:
    """One number less another of the same images; its interval holds the extremes of both."""
    if number.why or other.why:
        return number._replace(why=number.why or other.why)
    return number._replace(
        value=number.value - other.value, low=number.low - other.high,
        high=number.high - other.low,
    )  # fmt: skip


def divided(number: Number, by: float, unit: str) -> Number:
    """A number over a count."""
    value, low, high = (x / by for x in number[:3])
    return number._replace(value=value, low=low, high=high, unit=unit)


def undefined(why: str, unit: str = "") -> Number:
    """No number, and why there is none."""
    return Number(NAN, NAN, NAN, unit, why)
