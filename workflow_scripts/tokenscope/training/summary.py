"""What a training changed: rows before and after, registers against none, means over seeds.

What registers do is told by two trainings of one recipe, settings and seed, with and without them:
before and after differ by the training itself as well.
"""

import numpy as np
import pandas as pd
from scipy import stats

from tokenscope.norms.outlier_rule import SHARE_OVER
from tokenscope.stats.measurement import of_difference
from tokenscope.study import register_names
from tokenscope.study.recipes import stem
from tokenscope.tables import names, tidy
from tokenscope.tables.tidy import KIND_COLUMNS

SETTINGS = ["recipe", "base", "norm_penalty", "frozen_blocks", "epochs", "training_seed"]
LAST = ("norm_median", "norm_p98", "norm_max", "bimodality_separation", SHARE_OVER)


def training_table(
    trainings: list[dict], measures: dict[str, pd.DataFrame], confidence: float
) -> pd.DataFrame:
    """Tidy rows of every training, before and after, with its settings; means over seeds last.

    Args:
        trainings: for each ``key``, ``kind``, ``base`` (key of the backbone it was fine-tuned
            from, or empty), :data:`SETTINGS`, ``card`` (its content), ``history`` (its learning
            curve) and, where snapshots were kept, ``outliers_from`` by data set.
        measures: tidy rows of rule norms on every data set, by backbone, trained or base.
        confidence: of Student's interval over seeds, e.g. 0.95.
    """
    rows = [training_rows(training, measures) for training in trainings]
    empty = pd.DataFrame(columns=[*tidy.COLUMNS, *SETTINGS])
    table = pd.concat(rows, ignore_index=True) if rows else empty
    table = pd.concat([table, against_none(table)], ignore_index=True)
    return pd.concat([table, over_seeds(table, confidence)], ignore_index=True)


def training_rows(training: dict, measures: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Tidy rows of one training: ``after: ...``, ``before: ...``, its curve and its size.

    See :func:`training_table` for the arguments.
    """
    who = tidy.columns_of(training["key"]) | {"kind": training["kind"]}
    after = chosen(measures[training["key"]])
    parts = [_renamed(after, names.AFTER)]
    if training["base"]:
        before = chosen(measures[training["base"]])
        parts.append(_renamed(before, names.BEFORE).assign(**who))
    card = training["card"]
    dataset = card["recipe"].get("dataset", "")
    rows = tidy.TidyRows({**who, "dataset": dataset}, card["images"], "")
    for metric, value in curve_rows(training["history"]).items():
        rows.add("training", "curve", metric, value, unit="percent" if "top1" in metric else "")
    rows.add("training", "size", "parameters_trained", card["trained_parameters"])
    rows.add("training", "size", "updates", card["updates"])
    parts.append(rows.frame())
    for dataset, measurement in training.get("outliers_from", {}).items():
        own = tidy.TidyRows({**who, "dataset": dataset}, card["images"], "")
        own.add("training", *measurement)
        parts.append(own.frame())
    settings = {name: training[name] for name in SETTINGS}
    return pd.concat(parts).assign(claim="training", **settings)


def against_none(table: pd.DataFrame) -> pd.DataFrame:
    """``<metric>_minus_r0`` of each training with registers that has a twin without.

    A twin has the same family, which names recipe, settings and seed, and no registers. One pair
    has no interval: what another seed would give is told by :func:`over_seeds`.

    Args:
        table: tidy rows of trainings, with the columns :data:`SETTINGS`.
    """
    after = table[table["group"].str.startswith(names.of_training(names.AFTER))]
    after = after[after["unit"] != "verdict"]
    bases = after["registers"].map(register_names.base)
    own, twins = after[after["registers"] != bases], after[after["registers"] == bases]
    keys = ["family", "size", "dataset", "group", "metric"]
    pairs = own.assign(base=bases).merge(
        twins[[*keys, "registers", "value"]], left_on=[*keys, "base"],
        right_on=[*keys, "registers"], suffixes=("", "_of_twin"),
    )  # fmt: skip
    pairs["value"] -= pairs["value_of_twin"]
    pairs["metric"] = pairs["metric"].map(names.minus_r0)
    pairs["unit"] = pairs["unit"].map(of_difference)
    return pairs.assign(low=np.nan, high=np.nan, seed="")[table.columns]


def _renamed(rows: pd.DataFrame, when: str) -> pd.DataFrame:
    """The rows with groups that say whether they are from before or after the training."""
    return rows.assign(group=names.of_training(when) + rows["group"])


def chosen(measures: pd.DataFrame) -> pd.DataFrame:
    """The rows that tell before from after: top-1, last-block norms, norms of CLS and registers,
    outliers by the backbone's own decision.
    """
    last = measures["group"].eq("last_block") & measures["metric"].str.startswith(LAST)
    prefix = measures["metric"].eq("norm_mean") & measures["group"].str.fullmatch(
        r"cls|dist|reg\d+"
    )
    head = measures["group"].eq("own_head") & measures["metric"].eq("top1")
    decided = measures["metric"].isin(("has_artifacts", "share"))
    decided &= measures["group"].eq("artifacts")
    return measures[last | prefix | head | decided]


def over_seeds(table: pd.DataFrame, confidence: float) -> pd.DataFrame:
    """Means over trainings that differ in their seed only, with Student's interval.

    Args:
        table: tidy rows of trainings, with the columns :data:`SETTINGS`.

    Returns:
        rows of two seeds or more; ``n`` counts seeds, ``group`` ends in ``, over seeds``.
    """
    keys = [*KIND_COLUMNS, "dataset", "claim", "group", "metric", "unit", *SETTINGS[:-1]]
    named = table.assign(family=table["family"].map(stem))
    rows = []
    for key, group in named.groupby(keys, sort=False, dropna=False):
        values = group["value"].dropna()
        if group["training_seed"].nunique() < 2 or len(values) < 2:
            continue
        mean = values.mean()
        half = stats.t.ppf((1 + confidence) / 2, len(values) - 1) * stats.sem(values)
        row = dict(zip(keys, key, strict=True))
        low, high = mean - half, mean + half
        if row["unit"] == "percent":  # of a share or an accuracy; differences are in points
            low, high = max(low, 0.0), min(high, 100.0)
        row |= {"value": mean, "low": low, "high": high, "n": len(values)}
        row |= {"group": names.over_seeds(row["group"]), "seed": "", "training_seed": ""}
        rows.append(row)
    return pd.DataFrame(rows, columns=table.columns)


def curve_rows(history: pd.DataFrame) -> dict[str, float]:
    """First and last of a learning curve; an undefined top-1 (nothing held out) stays so."""
    first, last = history.iloc[0], history.iloc[-1]
    ends = {
        "loss_first_epoch": first["loss"], "loss_last_epoch": last["loss"],
        "patch_norm_first_epoch": first["patch_norm"], "patch_norm_last_epoch": last["patch_norm"],
        "top1_held_out": last["top1"],
    }  # fmt: skip
    return {name: float(np.float64(value)) for name, value in ends.items()}
