"""Table 4 and Table 5 of the main paper: what registers gain in accuracy, with intervals.

Main paper: "On the Reproducibility of Vision Transformers Need Registers".

Two questions (claim 5), each on the same images: is a backbone released with registers better than
the one without, under the same head (Table 4); and do the register tokens help a head that has CLS
and patches (Table 5)?
"""

import pandas as pd

from tokenscope.stats.top_k import TOP, Ranks, compare, sign_of_interval
from tokenscope.study import register_names
from tokenscope.tables import names, tidy

README_HEADS = {"linear": "published_head", "knn": "knn_cls"}  # DINOv2's README: our heads
BASE = "cls+patch_mean"  # what the other feature sets of a backbone are compared with
RELEASED = "published_head"  # on the same features as BASE: trained by others
WITH_REGISTERS = "cls+patch_mean+registers"
PARTS = {"cls", "patch_mean", "registers"}
RESIZED, OFFICIAL = "resize256", "resize256-official"  # views of tokenscope.study.heads


def gains(by_backbone: dict[tuple, Ranks], dataset: str, statistics: dict) -> pd.DataFrame:
    """Tidy rows: ``top1_gain_over_r0``, ``..._over_cls+patch_mean``, of the retrained head
    ``..._over_published_head``, and the verdicts.

    Args:
        by_backbone: by family, size, registers: all groups of a backbone, of all views.

    A verdict ``registers_help`` is yes or no where the interval of the top-1 difference lies on one
    side of zero, and "cannot tell" where it does not.
    """
    tables = []
    for (family, size, registers), ranks in by_backbone.items():
        who = {"family": family, "size": size, "registers": registers, "dataset": dataset}
        who["kind"] = register_names.kind(registers)
        rows = tidy.TidyRows(who, len(ranks.ids), statistics["seed"])
        for base, own, other in _pairs(registers, by_backbone, (family, size)):
            _compared(rows, own, base, ranks, other, statistics, "r0")
        for group in ranks.groups:
            head, view = names.head_and_view(group)
            base = names.group_name(BASE, view)
            if set(names.parts_of(head)) <= PARTS and base in ranks.groups and group != base:
                _compared(rows, group, base, ranks, ranks, statistics, BASE)
            released = names.group_name(RELEASED, view)
            if head == BASE and released in ranks.groups:
                _compared(rows, group, released, ranks, ranks, statistics, RELEASED)
        tables.append(rows.frame())
    return pd.concat(tables) if tables else pd.DataFrame(columns=tidy.COLUMNS)


def _count(registers: str) -> int:
    return int(register_names.REGISTERS.fullmatch(registers)["count"])


def _pairs(registers: str, by_backbone: dict, size: tuple):
    """``(base group, group, base ranks)`` of the same head in the same size without registers."""
    base = by_backbone.get((*size, register_names.base(registers)))
    if not _count(registers) or base is None:
        return
    own = by_backbone[(*size, registers)]
    for group in base.groups:
        same_head = _twin(group)
        if same_head in own.groups:
            yield group, same_head, base


def _twin(group: str) -> str:
    """The group to compare with: registers make both ways of resampling positions the same."""
    head, view = names.head_and_view(group)
    return names.group_name(head, RESIZED) if view == OFFICIAL else group


def _label(base: str, group: str) -> str:
    """The group that a difference is entered under: the one that says how r0 was resampled."""
    return base if names.head_and_view(base)[1] == OFFICIAL else group


def _compared(rows, group, base, ranks, base_ranks, statistics, name) -> None:
    label = _label(base, group)
    for metric, top in TOP.items():
        value, low, high = compare(base_ranks, ranks, base, group, top, statistics)
        rows.add("claim5", label, names.gain_over(name, metric), value, low, high, "points")
        head, _ = names.head_and_view(group)
        if metric == "top1" and (name == "r0" or head == WITH_REGISTERS):
            rows.add("claim5", label, "registers_help", sign_of_interval(low, high), unit="verdict")


def as_ours(published: pd.DataFrame) -> pd.DataFrame:
    """Published rows under our names.

    DINOv2's README reports on 224-pixel crops, with the position embedding resampled by its own
    code, which for backbones with registers is what timm does as well. Linear probes of OpenCLIP,
    which has no published head, are on its CLS token.
    """
    theirs = (published["source"] == "dinov2-readme") & published["group"].isin(README_HEADS)
    groups = published["group"].copy()
    linear = (published["family"] == "openclip") & (published["group"] == "linear")
    groups[linear & (published["metric"] == "top1")] = "cls"
    groups[theirs] = [
        names.group_name(README_HEADS[row.group], OFFICIAL if row.registers == "r0" else RESIZED)
        for row in published[theirs].itertuples()
    ]
    return published.assign(group=groups)


def published_gains(published: pd.DataFrame) -> pd.DataFrame:
    """The same differences of published accuracies, which come without intervals.

    The note of a row says between which accuracies the difference is.
    """
    top = as_ours(published[published["metric"] == "top1"]).fillna({"group": "", "note": ""})
    differences = []
    keys = ["source", "item", "family", "size", "dataset"]
    for _, rows in top.groupby(keys, sort=False, dropna=False):
        by_group = {(row["registers"], _twin(row["group"])): row for row in rows.to_dict("records")}
        for (registers, group), row in by_group.items():
            for base, name in (
                (("r0", group), "r0"), ((registers, BASE), BASE), ((registers, RELEASED), RELEASED)
            ):  # fmt: skip
                other = by_group.get(base)
                comparable = (
                    group == BASE
                    if name == RELEASED
                    else (name == "r0" or len(names.parts_of(group)) > 1)
                )
                if other is not None and other is not row and comparable:
                    gain = round(row["value"] - other["value"], 4)
                    between = f"{other['value']:g} to {row['value']:g}"
                    note = f"{between}; {row['note']}" if row["note"] else between
                    label, metric = _label(other["group"], group), names.gain_over(name)
                    differences.append({
                        **row, "group": label, "metric": metric, "value": gain, "unit": "points",
                        "note": note,
                    })  # fmt: skip
    return pd.DataFrame(differences, columns=published.columns)
