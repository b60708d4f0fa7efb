"""Does adding registers help? Differences of accuracies on the same images, with intervals.

Two questions (claim 5): is a backbone released with registers better than the one without, under
the same head (Table 4); and do the register tokens help a head that has CLS and patches (Table 5)?
"""

import pandas as pd

from tokenscope.stats.top_k import TOP, Ranks, compare, sign_of_interval
from tokenscope.study import register_names
from tokenscope.tables import tidy

BASE = "cls+patch_mean"  # what the other feature sets of a backbone are compared with
WITH_REGISTERS = "cls+patch_mean+registers"
PARTS = {"cls", "patch_mean", "registers"}
OFFICIAL, TWIN = "@resize256-official", "@resize256"


def gains(found: dict[tuple, Ranks], dataset: str, statistics: dict) -> pd.DataFrame:
    """Tidy rows: ``top1_gain_over_r0`` and ``top1_gain_over_cls+patch_mean``, and the verdicts.

    Args:
        found: by family, size, registers: all groups of a backbone, of all views.

    A verdict ``registers_help`` is yes or no where the interval of the top-1 difference lies on one
    side of zero, and "cannot tell" where it does not.
    """
    tables = []
    for (family, size, registers), ranks in found.items():
        who = {"family": family, "size": size, "registers": registers, "dataset": dataset}
        who["kind"] = register_names.kind(registers)
        rows = tidy.TidyRows(who, len(ranks.ids), statistics["seed"])
        for base, mine, other in _pairs(registers, found, (family, size)):
            _compared(rows, mine, base, ranks, other, statistics, "r0")
        for group in ranks.groups:
            head, _, view = group.partition("@")
            base = f"{BASE}@{view}" if view else BASE
            if set(head.split("+")) <= PARTS and base in ranks.groups and group != base:
                _compared(rows, group, base, ranks, ranks, statistics, BASE)
        tables.append(rows.frame())
    return pd.concat(tables) if tables else pd.DataFrame(columns=tidy.COLUMNS)


def _count(registers: str) -> int:
    return int(register_names.REGISTERS.fullmatch(registers)["count"])


def _pairs(registers: str, found: dict, size: tuple):
    """``(base group, group, base ranks)`` of the same head in the same size without registers."""
    base = found.get((*size, register_names.base(registers)))
    if not _count(registers) or base is None:
        return
    mine = found[(*size, registers)]
    for group in base.groups:
        # With registers both ways of resampling the position embedding are the same.
        twin = group.replace(OFFICIAL, TWIN)
        if twin in mine.groups:
            yield group, twin, base


def _compared(rows, group, base, mine, other, statistics, name) -> None:
    label = base if base.endswith(OFFICIAL) else group
    for metric, top in TOP.items():
        value, low, high = compare(other, mine, base, group, top, statistics)
        rows.add("claim5", label, f"{metric}_gain_over_{name}", value, low, high, "points")
        head = group.partition("@")[0]
        if metric == "top1" and (name == "r0" or head == WITH_REGISTERS):
            rows.add("claim5", label, "registers_help", sign_of_interval(low, high), unit="verdict")


def as_ours(published: pd.DataFrame) -> pd.DataFrame:
    """Published rows under our names.

    DINOv2's README reports on 224-pixel crops, with the position embedding resampled by its own
    code, which for backbones with registers is what timm does as well.
    """
    names = {"linear": "published_head", "knn": "knn_cls"}
    theirs = (published["source"] == "dinov2-readme") & published["group"].isin(names)
    view = published["registers"].map(lambda r: OFFICIAL if r == "r0" else TWIN)
    group = published["group"].replace(names) + view
    return published.assign(group=published["group"].mask(theirs, group))


def published_gains(published: pd.DataFrame) -> pd.DataFrame:
    """The same differences of published accuracies, which come without intervals.

    The note of a row says between which accuracies the difference is.
    """
    top = as_ours(published[published["metric"] == "top1"]).fillna({"group": "", "note": ""})
    found = []
    keys = ["source", "item", "family", "size", "dataset"]
    for _, rows in top.groupby(keys, sort=False, dropna=False):
        by_group = {
            (r["registers"], r["group"].replace(OFFICIAL, TWIN)): r for r in rows.to_dict("records")
        }
        for (registers, group), row in by_group.items():
            for base, metric in (
                (("r0", group), "top1_gain_over_r0"),
                ((registers, BASE), f"top1_gain_over_{BASE}"),
            ):
                other = by_group.get(base)
                sets = metric.endswith("r0") or set(group.split("+")) - {group}
                if other is not None and other is not row and sets:
                    label = other["group"] if other["group"].endswith(OFFICIAL) else group
                    gain = round(row["value"] - other["value"], 4)
                    between = f"{other['value']:g} to {row['value']:g}"
                    note = f"{between}; {row['note']}" if row["note"] else between
                    found.append({
                        **row, "group": label, "metric": metric, "value": gain, "unit": "points",
                        "note": note,
                    })  # fmt: skip
    return pd.DataFrame(found, columns=published.columns)
