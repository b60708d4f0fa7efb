"""What a training changed: rows before and after, and their means over seeds."""

import re

import numpy as np
import pandas as pd
from scipy import stats

WHO = ["family", "size", "registers"]
SETTINGS = ["recipe", "base", "norm_penalty", "frozen_blocks", "epochs", "training_seed"]
LAST = ("norm_median", "norm_p98", "norm_max", "bimodality_separation", "share_norm_over_")


def chosen(measures: pd.DataFrame) -> pd.DataFrame:
    """The rows that tell before from after: top-1, last-block norms, norms of CLS and registers."""
    last = measures["group"].eq("last_block") & measures["metric"].str.startswith(LAST)
    prefix = measures["metric"].eq("norm_mean") & measures["group"].str.fullmatch(r"cls|reg\d+")
    head = measures["group"].eq("own_head") & measures["metric"].eq("top1")
    return measures[last | prefix | head]


def stem(family: str) -> str:
    """A family's name without its seed."""
    return re.sub(r"-s\d+(?=-|$)", "", family)


def over_seeds(table: pd.DataFrame, confidence: float) -> pd.DataFrame:
    """Means over trainings that differ in their seed only, with Student's interval.

    Args:
        table: tidy rows of trainings, with the columns :data:`SETTINGS`.

    Returns:
        rows of two seeds or more; ``n`` counts seeds, ``group`` ends in ``, over seeds``.
    """
    keys = [*WHO, "kind", "dataset", "claim", "group", "metric", "unit", *SETTINGS[:-1]]
    named = table.assign(family=table["family"].map(stem))
    rows = []
    for key, group in named.groupby(keys, sort=False, dropna=False):
        values = group["value"].dropna()
        if group["training_seed"].nunique() < 2 or len(values) < 2:
            continue
        mean = values.mean()
        half = stats.t.ppf((1 + confidence) / 2, len(values) - 1) * stats.sem(values)
        row = dict(zip(keys, key, strict=True))
        row |= {"value": mean, "low": mean - half, "high": mean + half, "n": len(values)}
        row |= {"group": f"{row['group']}, over seeds", "seed": "", "training_seed": ""}
        rows.append(row)
    return pd.DataFrame(rows, columns=table.columns)


def curve_rows(history: pd.DataFrame) -> dict[str, float]:
    """First and last of a learning curve; an undefined top-1 (nothing held out) stays so."""
    first, last = history.iloc[0], history.iloc[-1]
    found = {
        "loss_first_epoch": first["loss"], "loss_last_epoch": last["loss"],
        "patch_norm_first_epoch": first["patch_norm"], "patch_norm_last_epoch": last["patch_norm"],
        "top1_held_out": last["top1"],
    }  # fmt: skip
    return {name: float(np.float64(value)) for name, value in found.items()}
