"""Tidy rows: the one form in which every measured quantity leaves this workflow."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from tokenscope.errors import StudyError

BACKBONE_COLUMNS = ["family", "size", "registers"]  # what names a backbone
KIND_COLUMNS = [*BACKBONE_COLUMNS, "kind"]  # with where its registers come from
KEY_COLUMNS = [*KIND_COLUMNS, "dataset", "group", "metric"]  # what tells the rows of a table apart
COLUMNS = [
    *KIND_COLUMNS, "dataset", "claim", "group", "metric", "value", "low", "high", "n", "seed",
    "unit",
]  # fmt: skip
NOT_MEASURED = "not measured"


def refusal(why: str) -> str:
    """What stands in the column ``unit`` of a number that cannot be measured."""
    return f"{NOT_MEASURED}: {why}"


def is_refused(unit: str) -> bool:
    """Whether a number could not be measured, by its unit."""
    return unit.startswith(NOT_MEASURED)


def why_not_measured(unit: str) -> str:
    """Why a number could not be measured, by its unit; empty where it could."""
    return unit.partition(": ")[2] if is_refused(unit) else ""


class TidyRows:
    """Collects rows of one backbone on one data set.

    Args:
        who: ``family``, ``size``, ``registers``, ``kind``, ``dataset``.
        n: images behind each number. ``seed`` is that of the resampling; empty
            where nothing was resampled.
    """

    def __init__(self, who: dict, n: int, seed: int | str):
        self.who, self.n, self.seed = who, n, seed
        self.rows: list[dict] = []

    def add(self, claim, group, metric, value, low=None, high=None, unit="", n=None) -> None:
        """One number with its interval; an undefined value stays empty, never invented."""
        value, low, high = (float("nan") if x is None else float(x) for x in (value, low, high))
        self.rows.append({
            **self.who, "claim": claim, "group": group, "metric": metric, "value": value,
            "low": low, "high": high, "n": self.n if n is None else n, "seed": self.seed,
            "unit": unit,
        })  # fmt: skip

    def refuse(self, claim, group, metric, why, count) -> None:
        """A number that cannot be measured: the table says why, and how many tokens there were."""
        self.add(claim, group, metric, None, unit=refusal(why), n=count)

    def frame(self) -> pd.DataFrame:
        return pd.DataFrame(self.rows, columns=COLUMNS)


def read_table(path: str | Path) -> pd.DataFrame:
    """A table of ours whose names are text, whatever they look like: a data set called 2012 or NA.

    Raises:
        StudyError: no such table, or a damaged one.
    """
    names = dict.fromkeys((*COLUMNS[:8], "unit", "image_id", "timm_id", "setting", "head"), str)
    for column in ("value", "low", "high"):
        names.pop(column, None)
    try:
        return pd.read_csv(path, keep_default_na=False, na_values=[""], dtype=names)
    except FileNotFoundError:
        raise StudyError(f"the table {path} does not exist") from None
    except (OSError, ValueError) as error:  # pandas' own errors are ValueErrors
        raise StudyError(f"{path}: is no table ({error}); delete it and run again") from None


def read(path: str | Path) -> pd.DataFrame:
    """A table of tidy rows. Raises StudyError when a column is missing."""
    table = read_table(path)
    if missing := set(COLUMNS) - set(table.columns):
        raise StudyError(f"{path}: the columns {sorted(missing)} are missing")
    for column in (*KIND_COLUMNS, "dataset", "claim", "group", "unit"):
        table[column] = table[column].fillna("")
    return table


def write(table: pd.DataFrame, path: str | Path) -> None:
    """Write a table with numbers at seven digits: enough for any of them, and stable in a diff."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(path, index=False, float_format="%.7g")


def none() -> pd.DataFrame:
    """A table without rows."""
    return pd.DataFrame(columns=COLUMNS, dtype=object)


def backbone_names(table: pd.DataFrame) -> pd.Series:
    """``family/size/registers`` of each row."""
    return table["family"] + "/" + table["size"] + "/" + table["registers"]


def columns_of(backbone: str) -> dict[str, str]:
    """The columns :data:`BACKBONE_COLUMNS` of a backbone by its name, ``family/size/registers``."""
    return dict(zip(BACKBONE_COLUMNS, backbone.split("/"), strict=True))


def by_backbone(table: pd.DataFrame) -> Iterator[tuple[dict, pd.DataFrame]]:
    """Each backbone of a table with its rows, in the table's order."""
    for key, rows in table.groupby(KIND_COLUMNS, sort=False):
        yield dict(zip(KIND_COLUMNS, key, strict=True)), rows


def rows_of(table: pd.DataFrame, **where) -> pd.DataFrame:
    """The rows whose columns have these values: ``rows_of(table, **who, group="outlier")``."""
    mask = pd.Series(True, index=table.index)
    for column, value in where.items():
        mask &= table[column] == value
    return table[mask]
