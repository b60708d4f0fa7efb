"""What the templates of the report show: plain dictionaries, every number as in its table."""

import base64
from fnmatch import fnmatchcase
from pathlib import Path

import pandas as pd

from tokenscope.report import verdicts
from tokenscope.report.partial_tables import Read
from tokenscope.study.register_names import is_control
from tokenscope.tables import tidy
from tokenscope.tables.captions import NOTES
from tokenscope.tables.formatting import as_text, interval_text
from tokenscope.tables.names import claim_of
from tokenscope.tables.published import Published

MEDIA = {".svg": "image/svg+xml", ".png": "image/png"}


def verdict_rows(criteria: list[dict], read: dict[str, Read], params: dict) -> list[dict]:
    """Criteria of a section with their verdicts, overall and by backbone."""
    tables = {name: table.rows for name, table in read.items()}
    rows = []
    for criterion in criteria:
        judged = []
        if criterion["table"] in read:
            planned = read[criterion["table"]].planned
            judged = verdicts.judge(criterion, tables, planned, params)
        total = verdicts.overall(criterion, judged)
        by = total.decided_by
        rows.append({
            **criterion, "verdict": total.verdict, "counts": total.counts,
            "planned": len(judged), "number": decided(by) if by else "", "by": by,
            "bound": bound(criterion), "judged": [{"one": j, "number": decided(j)} for j in judged],
        })  # fmt: skip
    return rows


def decided(judged: verdicts.Judged) -> str:
    """The number that decided, with its interval, or the answer, or why there is none."""
    if judged.value != judged.value and judged.why:
        return judged.why
    if judged.unit == "verdict":
        return f"has the answer: {as_text(judged.value, judged.unit)}"
    number = as_text(judged.value, judged.unit)
    number += f" [{interval_text(judged.low, judged.high)}]" if judged.low < judged.high else ""
    return f"{number}; {judged.why}" if judged.why else number


def bound(criterion: dict) -> str:
    """What would support a statement, in words."""
    side, value = next(iter(criterion["holds"].items()))
    what = criterion["metric"].replace("*", "…")
    if minus := criterion.get("minus"):
        what += f", less that of “{minus['group']}”"
    if side == "order":
        return f"{what}: no, then yes, from the smallest to the largest of a family"
    if side == "answer":
        return f"{what}: {value}"
    if criterion.get("share_of_depth"):
        what += " / blocks"
    whole = "" if criterion.get("exact") else " with its whole interval"
    return f"{what} {side} {value:g}{whole}"


def table(name: str, shown: dict, read: Read, published: Published) -> dict:
    """The rows of a table that a section shows; how many more there are is said."""
    rows = read.rows
    for column, patterns in (("group", shown.get("groups")), ("metric", shown.get("metrics"))):
        if patterns:
            rows = rows[[any(fnmatchcase(v, p) for p in patterns) for v in rows[column]]]
    shown_rows = [_row(row, published) for row in rows.to_dict("records")]
    return {
        "name": name, "title": shown.get("title", ""), "note": NOTES.get(claim_of(name), ""),
        "rows": shown_rows, "published": any(row["published"] for row in shown_rows),
        "more": len(read.rows) - len(rows), "complete": read.complete,
        "planned": len(read.planned), "there": len(read.planned) - len(read.missing),
        "missing": [" on ".join(filter(None, (who, where))) for where, who in read.missing],
    }  # fmt: skip


def _row(row: dict, published: Published) -> dict:
    key = tuple(row[name] for name in (*tidy.BACKBONE_COLUMNS, "group", "metric"))
    theirs = published.of(key, row["dataset"])
    value = row["value"]
    gaps = [value - v for v, _, _ in theirs] if value == value else []
    who = "/".join(key[:3])
    control = is_control(row["kind"]) and row["family"] != "control"
    return {
        "who": who + " (control)" * control, "dataset": row["dataset"], "group": row["group"],
        "metric": row["metric"], "text": as_text(value, row["unit"]), "value": _raw(value),
        "interval": interval_text(row["low"], row["high"]), "low": _raw(row["low"]),
        "high": _raw(row["high"]), "published": published.citations(key, row["dataset"]),
        "difference": "; ".join(f"{gap:+.4g}" for gap in gaps),
        "gap": _raw(gaps[0]) if gaps else "",
        "n": "" if pd.isna(row["n"]) else f"{row['n']:g}",
    }  # fmt: skip


def _raw(value) -> str:
    """A number with the digits of its table; empty where it is undefined."""
    return "" if pd.isna(value) else f"{value:.7g}"


def embedded(names: list[str], folder: Path, limit_mb: float) -> set[str]:
    """The figures that fit into a page together, the small ones first: most of them do."""
    sizes = {name: file.stat().st_size for name in names if (file := _file(folder, name))}
    chosen, total = set(), 0.0
    for name in sorted(sizes, key=sizes.get):
        total += sizes[name] * 4 / 3 / 1e6  # in base64
        if total <= limit_mb:
            chosen.add(name)
    return chosen


def figure(name: str, caption: str, folder: Path, embed: bool) -> dict:
    """A figure as a data address, or linked; neither where it is not drawn yet."""
    shown = {"name": name, "caption": caption, "alt": f"{caption} {name}", "src": "", "link": ""}
    file = _file(folder, name)
    if embed:
        data = base64.b64encode(file.read_bytes()).decode()
        shown["src"] = f"data:{MEDIA[file.suffix]};base64,{data}"
    elif file:
        shown["link"] = f"../figures/{name}{file.suffix}"
    return shown


def _file(folder: Path, name: str) -> Path | None:
    """A figure's file, vector where there is one."""
    files = (folder / f"{name}{kind}" for kind in MEDIA)
    return next((file for file in files if file.exists()), None)
