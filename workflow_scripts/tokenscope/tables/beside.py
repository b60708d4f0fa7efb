"""Every published figure with ours beside it, or what is different, or why there is none."""

import pandas as pd

from tokenscope.tables import tidy
from tokenscope.tables.formatting import (
    arrow,
    group_words,
    heading,
    interval_text,
    number_text,
    signed_text,
    unit_text,
    words,
)
from tokenscope.tables.published import ALIASES, as_published, same_images
from tokenscope.tables.register_gains import as_ours

COLUMNS = [
    "source", "item", "family", "size", "registers", "dataset", "group", "metric", "published",
    "bound", "unit", "evidence", "here", "low", "high", "n", "here_dataset", "here_group",
    "difference", "differs",
]  # fmt: skip
ABSENT = "not measured in this study"
# A ViT without more is what the cost of registers was counted on: a ViT-B with patches of 14.
_FAMILIES = {"vit": "dinov2"}


def beside(published: pd.DataFrame, tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """One row for each published figure of a backbone (:data:`COLUMNS`).

    Args:
        published: ``config/published.csv``.
        tables: tidy rows by name of table.

    ``difference`` is ours minus theirs, where both are of the same images and theirs is no bound;
    ``differs`` says what is not alike.
    """
    ours: dict[tuple, list[dict]] = {}
    for table in tables.values():
        for row in table.to_dict("records"):
            key = tuple(row[name] for name in (*tidy.BACKBONE_COLUMNS, "metric"))
            ours.setdefault(key, []).append(row)
    theirs = published.assign(our_group=as_ours(published)["group"]).fillna("")
    theirs = theirs[(theirs["family"] != "") & (theirs["item"] != "carbon")]
    rows = [_row(row, ours) for row in theirs.to_dict("records")]
    return pd.DataFrame(rows, columns=COLUMNS)


def _row(row: dict, ours: dict[tuple, list[dict]]) -> dict:
    family = _FAMILIES.get(row["family"], row["family"])
    found = ours.get((family, row["size"], row["registers"], row["metric"]), [])
    found = [own for own in found if _same_group(own["group"], row)]
    # Of the same images where there are such, and there the group of the same name.
    found = sorted(
        found,
        key=lambda own: (
            not same_images(row["dataset"], own["dataset"]),
            own["group"] not in (row["our_group"], row["group"]),
            own["value"] != own["value"],
        ),
    )
    theirs = {name: row[name] for name in COLUMNS if name in row}
    theirs["published"] = row["value"]
    if not found:
        return theirs | {"differs": _joined(ABSENT, row)}
    own = found[0]
    same = same_images(row["dataset"], own["dataset"])
    other = "" if same else f"other images: here {own['dataset']}"
    refused = own["unit"] if tidy.is_refused(own["unit"]) else ""
    theirs["differs"] = _joined("; ".join(filter(None, (refused, other))), row)
    comparable = same and row["bound"] in ("", "~")
    return theirs | {
        "here": own["value"], "low": own["low"], "high": own["high"], "n": own["n"],
        "here_dataset": own["dataset"], "here_group": own["group"],
        "difference": own["value"] - row["value"] if comparable else float("nan"),
    }  # fmt: skip


def _joined(first: str, row: dict) -> str:
    return "; ".join(filter(None, (first, row["note"], row["differs"])))


def _same_group(own: str, row: dict) -> bool:
    if row["group"] == "" or row["metric"] == "flops_overhead":
        return own in ("", "own_head", "counted")
    return own == row["our_group"] or row["group"] in ALIASES.get(own, ())


HEADER = ["source", "item", "backbone", "data set", "group", "quantity", "published", "here",
          "interval", "difference", "what differs"]  # fmt: skip


def lines(table: pd.DataFrame) -> list[list[str]]:
    """The rows as texts, in the columns :data:`HEADER`."""
    return [_texts(row) for row in table.to_dict("records")]


def _texts(row: dict) -> list[str]:
    who = "/".join(filter(None, (row["family"], row["size"], row["registers"])))
    mark = " (secondary)" * (row["evidence"] == "secondary")
    here, difference, interval = "", "", ""
    if row["here"] == row["here"]:
        here = number_text(row["here"], row["unit"])
        interval = interval_text(row["low"], row["high"], row["unit"])
    if row["difference"] == row["difference"]:
        difference = signed_text(row["difference"], row["unit"])
    number = as_published(row["published"], row["unit"], row["bound"])
    published = f"{row['bound']}{number}{mark}"
    return [row["source"], heading(row["item"]), who, heading(row["dataset"]),
            group_words(row["group"]), _quantity(row["metric"], row["unit"]), published, here,
            interval, difference, row["differs"]]  # fmt: skip


def _quantity(metric: str, unit: str) -> str:
    shown = unit_text(unit)
    return f"{words(metric)}{f' ({shown})' * bool(shown)} {arrow(metric)}".strip()


def page(table: pd.DataFrame) -> str:
    """The same as Markdown, by source and table of the source."""
    text = ["# Published numbers, and ours beside them", ""]
    measured = int(table["here"].notna().sum())
    text += [f"{measured} of {len(table)} published numbers are measured in this study.", ""]
    for (source, item), rows in table.groupby(["source", "item"], sort=False):
        text += [f"## {source}, {heading(item)}", ""]
        text += [f"| {' | '.join(HEADER[2:])} |", "|" + "-|" * len(HEADER[2:])]
        for cells in lines(rows):
            text.append("| " + " | ".join(cell.replace("|", "/") for cell in cells[2:]) + " |")
        text.append("")
    return "\n".join(text)
