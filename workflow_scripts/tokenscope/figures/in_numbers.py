"""A figure in a sentence with the numbers of its tables, for those who cannot see it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import pandas as pd

from tokenscope.figures import pages
from tokenscope.study.register_names import base
from tokenscope.tables import tidy
from tokenscope.tables.formatting import as_text, group_words, interval_text, words

NAMED = 5  # of more backbones the lowest and the highest are said
ATTACHED = "testtime"  # such a figure is called after the backbone that registers are added to


@dataclass(frozen=True)
class Quantity:
    """Rows of a table that a figure is about, ``group`` and ``metric`` as patterns; in words."""

    words: str
    table: str
    group: str
    metric: str


LAST = "artifacts-last_block"
OVER = "share_norm_over_*x_median"
_ATTENTION = Quantity("Attention of CLS on the 2 % of patches that have most of it", "claim1",
                      "cls", "attention_share_of_top_2_percent")  # fmt: skip
_PROBES = [
    Quantity(f"{score}, outlier minus normal tokens", "claim4", "outlier-normal", metric)
    for score, metric in (
        ("Position, top-1", "position_top1"), ("Pixels explained", "pixel_explained"),
        ("Class, top-1", "class_top1"),
    )
]  # fmt: skip
_COSINE = Quantity("Mean cosine to neighbours, outlier minus normal tokens", "claim3",
                   "outlier-normal", "neighbour_cosine_mean")  # fmt: skip
_OBJECTS = Quantity("Images whose object is found (CorLoc)", "discovery", "lost", "corloc")
_CHANGE = Quantity("Tokens over the cutoff in the last block, with registers minus without",
                   "registers", "last_block", f"{OVER}_minus_r0")  # fmt: skip
_GONE = [
    Quantity("Tokens over the cutoff on images that chose nothing, before", "registers",
             "before", "unseen_share"),
    Quantity("With registers added", "registers", "testtime", "unseen_share"),
]  # fmt: skip
# By the first word of a figure's path below its data set.
QUANTITIES: dict[str, list[Quantity]] = {
    "fig2_attention_features": [_ATTENTION],
    "fig5_attention_registers": [_ATTENTION],
    "attention": [_ATTENTION],
    "attention_norms": [
        Quantity("Of the 2 % of highest norm those among the 2 % of highest attention", "claim1",
                 "last_block", "attention_norm_overlap")],
    "outlier_places": [
        Quantity("Entropy of the places of outliers (1: any place)", "claim1", "outlier",
                 "position_entropy")],
    "outliers_by_depth": [
        Quantity("Tokens over the cutoff, in the block with most of them", "claim2", "depth",
                 "peak_share")],
    "outliers_by_size": [
        Quantity("Tokens over the cutoff, in the block with most of them", "claim2", "depth",
                 "peak_share")],
    "fig3_cosine": [_COSINE],
    "cosine": [_COSINE],
    "fig3_ratio": [
        Quantity("How many times as often as a normal token an outlier lies in redundant areas",
                 "claim3", "outlier/normal", "redundant_region_ratio")],
    "probe_tables": _PROBES,
    "probe_norms": _PROBES,
    "probe_error_maps": [
        Quantity(f"Mean error of position of {group} tokens", "claim4", group, "position_distance")
        for group in ("normal", "outlier")],
    "probe_sensitivity": [
        Quantity("Class, top-1, outlier minus normal tokens", "sensitivity", "*",
                 "class_top1_difference")],
    "table4_gains": [Quantity("Top-1 gained by registers", "claim5", "*", "top1_gain_over_r0")],
    "table5_gains": [
        Quantity("Top-1 gained over CLS and patch mean", "claim5", "*",
                 "top1_gain_over_cls+patch_mean")],
    "training_norms": [
        Quantity("Tokens over the cutoff in the last block after training", "training",
                 "after: last_block", OVER)],
    "training_registers": [
        Quantity("Top-1 after training", "training", "after: own_head", "top1"),
        Quantity("Tokens over the cutoff in the last block", "training", "after: last_block", OVER),
    ],
    "training_curves": [
        Quantity("Held-out top-1 at the end", "training", "curve", "top1_held_out"),
        Quantity("Loss in the last epoch", "training", "curve", "loss_last_epoch")],
    "register_norms": [Quantity("Mean norm after training", "training", "after: *", "norm_mean")],
    "discovery": [_OBJECTS],
    "discovery_sensitivity": [_OBJECTS],
    "dense": [
        Quantity("mIoU of the linear head", "dense", "linear", "miou"),
        Quantity("RMSE of the linear head", "dense", "linear", "rmse")],
    "registers": [_CHANGE],
    "pairs": [_CHANGE],
    "register_maps": [
        Quantity("Cosine of a register's map with that of CLS", "registers", "reg*",
                 "map_cosine_with_cls")],
    **{f"testtime_{what}": _GONE for what in ("maps", "norms", "neurons", "number")},
}  # fmt: skip
# Figures that show where outliers are: in the last block, or in all of them.
IN_THE_LAST = ("fig1_features", "fig2_attention_features", "fig4_norms", "fig6_qkv", "norms",
               "features", "high_resolution", "qkv")  # fmt: skip
IN_DEPTH = ("fig7_blocks", "blocks", "norms_by_block", "norms_in_depth")
KINDS = {
    "sinks": ["sink"], "attention": ["attention-received"], "channels": ["channel"],
    "locality": ["locality"], "qkv": ["qkv"], "registers": ["register-norm"],
    "experiments": ["shift", "outlier-use", "register-use"],
}  # fmt: skip


def sentence(name: str, tables: dict[str, pd.DataFrame], keys: Sequence[str]) -> str:
    """The numbers of a figure as its tables have them; empty where they have none.

    Args:
        name: its path below ``figures`` without ending.
        tables: tidy rows by name of table. keys: the backbones it shows.
    """
    dataset, _, rest = pages.number(name)[0].partition("/")
    figure = rest.split("/")[0]
    if dataset == "kinds":
        return _kinds(tables.get("kinds", tidy.none()), KINDS.get(figure))
    if dataset == "diagnosis":
        return _outliers(tables.get("diagnosis", tidy.none()), "artifacts")

    def own(table: str) -> pd.DataFrame:
        return _of(tables.get(table, tidy.none()), dataset, keys, figure)

    said = [_said(one, own(one.table)) for one in QUANTITIES.get(figure, [])]
    if figure in IN_THE_LAST:
        said.append(_outliers(own("claim1"), LAST))
    if figure in IN_DEPTH:
        said.append(_outliers(own("claim1"), "artifacts"))
    return " ".join(filter(None, said))


def _of(rows: pd.DataFrame, dataset: str, keys: Sequence[str], figure: str) -> pd.DataFrame:
    """Rows of a data set and of backbones; of registers that were added to them."""
    names = tidy.backbone_names(rows)
    if figure.startswith(ATTACHED):
        there = rows["registers"].str.contains(ATTACHED).to_numpy(bool)
        before = rows["registers"].map(base)
        names = rows["family"] + "/" + rows["size"] + "/" + before
        return rows[there & names.isin(keys) & (rows["dataset"] == dataset)]
    # What is of a training, and of no images, has no data set.
    return rows[names.isin(keys) & rows["dataset"].isin([dataset, ""])]


def _said(one: Quantity, rows: pd.DataFrame) -> str:
    chosen = [
        fnmatchcase(group, one.group) and fnmatchcase(metric, one.metric)
        for group, metric in zip(rows["group"], rows["metric"], strict=True)
    ]
    rows = rows[chosen] if len(rows) else rows
    rows = rows[rows["value"].notna()]
    several = rows["group"].nunique() > 1
    listed = _listed(
        (who + f", {group_words(row['group'])}" * several, row)
        for who, row in zip(tidy.backbone_names(rows), rows.to_dict("records"), strict=True)
    )
    return f"{one.words}: {listed}." if listed else ""


def _outliers(rows: pd.DataFrame, group: str) -> str:
    """Who has outliers by the decision, and how many; in all blocks also from which on."""
    found: list[tuple[str, dict]] = []
    none: list[str] = []
    undecided: list[str] = []
    begin = {}
    rows = rows[rows["group"] == group]
    for who, own in rows.groupby(tidy.backbone_names(rows), sort=False):
        by = {row["metric"]: row for row in own.to_dict("records")}
        answer = by["has_artifacts"]["value"] if "has_artifacts" in by else float("nan")
        if answer == 1:
            found.append((str(who), by.get("share", by["has_artifacts"])))
            onset = by.get("onset_block", {}).get("value", float("nan"))
            begin[str(who)] = f" from block {onset:.0f} on" * (onset == onset)
        else:
            (none if answer == 0 else undecided).append(str(who))
    where = "in the last block" if group == LAST else "in the block with most of them"
    said = [_listed((who + begin[who], row) for who, row in found)]
    said += [f"none in {_names(none)}" * bool(none)]
    said += [f"undecided in {_names(undecided)}" * bool(undecided)]
    listed = "; ".join(filter(None, said))
    return f"Tokens that are outliers, {where}: {listed}." if listed else ""


def _kinds(rows: pd.DataFrame, kinds: list[str] | None) -> str:
    """Of each kind who has it, with the number that says so, and how many have not.

    Args:
        kinds: or none, for all; kinds that no backbone has are then left out.
    """
    if not len(rows):
        return ""
    rows = rows[rows["answer"].fillna("") != ""]
    said = []
    for kind in kinds or rows["artifact"].unique():
        own = rows[rows["artifact"] == kind]
        yes = own[own["answer"] == "yes"]
        listed = _listed(zip(tidy.backbone_names(yes), yes.to_dict("records"), strict=True))
        counts = [
            f"{answer} in {n}"
            for answer in ("no", "cannot tell")
            if (n := int((own["answer"] == answer).sum()))
        ]
        if listed or (kinds and counts):
            parts = "; ".join([*[f"yes in {listed}"] * bool(listed), *counts])
            named = words(kind)
            said.append(f"{named[:1].upper()}{named[1:]}: {parts}.")
    return " ".join(said)


def _names(names: list[str]) -> str:
    return ", ".join(names) if len(names) <= NAMED else f"{len(names)} backbones"


def _listed(entries: Iterable[tuple[str, dict]]) -> str:
    """Each with its number and interval; of many those that are not zero, or the two ends."""
    found = list(entries)
    if len(found) <= NAMED:
        return "; ".join(f"{who} {_text(row)}" for who, row in found)
    more = [(who, row) for who, row in found if row["value"] != 0]
    if len(more) <= NAMED and len(found) - len(more) > 1:
        return f"{_listed(more)}; 0 in {len(found) - len(more)} others".removeprefix("; ")
    least, *_, most = sorted(found, key=lambda pair: pair[1]["value"])
    if least[1]["value"] == most[1]["value"]:
        return f"{_text(least[1])} in each of {len(found)}"
    ends = " to ".join(f"{_text(row)} ({who})" for who, row in (least, most))
    return f"from {ends}, {len(found)} in all"


def _text(row: dict) -> str:
    unit = row["unit"] if isinstance(row["unit"], str) else ""
    interval = interval_text(row["low"], row["high"], unit)
    return f"{as_text(row['value'], unit)} {interval}".strip()
