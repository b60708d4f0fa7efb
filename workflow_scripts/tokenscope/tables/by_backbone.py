"""Whose rows are they: tables by backbone, for figures."""

from collections.abc import Iterator

import pandas as pd

WHO = ["family", "size", "registers", "kind"]


def by_backbone(table: pd.DataFrame) -> Iterator[tuple[dict, pd.DataFrame]]:
    """Each backbone of a table with its rows, in the table's order."""
    for key, rows in table.groupby(WHO, sort=False):
        yield dict(zip(WHO, key, strict=True)), rows


def rows_of(table: pd.DataFrame, **where) -> pd.DataFrame:
    """The rows whose columns have these values: ``rows_of(table, **who, group="outlier")``."""
    mask = pd.Series(True, index=table.index)
    for column, value in where.items():
        mask &= table[column] == value
    return table[mask]
