"""Tables as far as they are there: the file, or else the measurements it will be made of."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from tokenscope.report.contents import PlannedTable
from tokenscope.tables import tidy
from tokenscope.tables.names import claim_of


@dataclass(frozen=True)
class Read:
    """Rows of a table as far as they are there; ``missing`` of the ``planned`` are not."""

    rows: pd.DataFrame
    planned: list[tuple[str, str]]
    missing: list[tuple[str, str]]
    complete: bool


def read(name: str, file: str, planned: PlannedTable) -> Read:
    """A table, or what there is of it.

    The file counts where it exists; before it does, the measurements it will be made of.
    """
    if complete := Path(file).exists():
        rows = tidy.read(file)
    else:
        parts = [tidy.read(part) for part in planned.parts if Path(part).exists()]
        rows = pd.concat(parts) if parts else pd.DataFrame(columns=tidy.COLUMNS, dtype=object)
        rows = rows[rows["claim"] == claim_of(name)]
    rows = rows.drop_duplicates(tidy.KEY_COLUMNS).reset_index(drop=True)
    keys = tidy.backbone_names(rows)
    measured = set(zip(rows["dataset"], keys, strict=True))
    missing = [pair for pair in planned.who if pair not in measured]
    return Read(rows, planned.who, missing, complete)
