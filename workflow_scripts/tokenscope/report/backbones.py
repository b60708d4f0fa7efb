"""Backbones in one look, against statements and kinds of artifacts; and each one by itself."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import pandas as pd

from tokenscope.kinds import answers as of_kinds
from tokenscope.study.register_names import is_control
from tokenscope.tables import tidy
from tokenscope.tables.formatting import (
    as_text,
    count_text,
    group_words,
    interval_text,
    unit_text,
    without_unit,
    words,
)
from tokenscope.tables.paper_tables import Printed, model_words
from tokenscope.verdicts.answers import (
    AS_PUBLISHED,
    CONTRADICTED,
    NOT_APPLICABLE,
    NOT_RUN,
    SUPPORTED,
    UNDECIDED,
    Judged,
    Line,
)
from tokenscope.verdicts.table import number

# Of several answers of one backbone, on data sets or groups, the first of these is shown.
FIRST = (CONTRADICTED, UNDECIDED, SUPPORTED, NOT_APPLICABLE, NOT_RUN)
FACTS = {
    "timm_id": "architecture (timm)", "params": "parameters", "geometry": "input",
    "images": "images", "origin": "weights", "weights_sha256": "hash of the weights",
}  # fmt: skip
KINDS_SECTION = "kinds"


@dataclass(frozen=True)
class Cell:
    """An answer with its number or reason; ``size``: as a share of the largest of its row.

    ``value`` is the number alone, for a narrow column; its ``unit`` stands in the head of the row.
    """

    answer: str
    text: str
    size: float = 0.0
    value: str = ""
    unit: str = ""


def anchor(key: str) -> str:
    """Name of a backbone's place on the page."""
    return "backbone-" + key.replace("/", "-")


def in_words(key: str) -> str:
    """``DINOv2-S, 4 registers`` of ``dinov2/small/r4``; phantoms keep their names."""
    family, size, registers = key.split("/")
    if family == "control":
        return f"phantom {registers}"
    return model_words((family, size, registers))


def named(plan: Iterable[list], kinds: pd.DataFrame) -> list[str]:
    """Backbones that images were shown to, by family, phantoms last."""
    keys = [key for who, *_ in plan for dataset, key in who if dataset and key.count("/") == 2]
    keys += tidy.backbone_names(kinds).tolist() if len(kinds) else []
    families = list(dict.fromkeys(key.partition("/")[0] for key in keys))

    def place(key: str) -> tuple:
        family, size, registers = key.split("/")
        return family == "control", families.index(family), is_control(registers)

    return sorted(dict.fromkeys(keys), key=place)


def columns(keys: Sequence[str]) -> list[tuple[str, list[str]]]:
    """The same by family, for the head of the matrix."""
    return [(family, list(own)) for family, own in groupby(keys, lambda k: k.partition("/")[0])]


def matrix(
    keys: Sequence[str], sections: list[dict], lines: dict[str, list[Line]], kinds: pd.DataFrame
) -> list[dict]:
    """Blocks of rows, by section: a cell for each backbone, none where it was not asked.

    Args:
        keys: backbones, the columns.
        sections: of the report, each with the ``verdicts`` of its statements.
        lines: of each statement, by its id.
        kinds: tidy rows of the kinds, or none.
    """
    blocks = []
    for section in sections:
        rows, absent = [], 0
        about_none: list[str] = []
        for verdict in section["verdicts"]:
            judged = _by_backbone(lines[verdict["id"]])
            cells = _sized([_statement(judged.get(key)) for key in keys])
            if any(cell and cell.answer != NOT_RUN for cell in cells):
                rows.append(_row(verdict["said"], f"statement-{verdict['id']}", cells))
            else:
                absent += 1
        if section["id"] == KINDS_SECTION and len(kinds):
            found, about_none = _kinds(keys, kinds)
            rows += found
        if rows:
            title = section["title"].partition(":")[0]
            blocks.append({"id": section["id"], "title": title, "rows": rows, "absent": absent,
                           "about_none": about_none})  # fmt: skip
    return blocks


def sections_of(
    keys: Sequence[str],
    sections: list[dict],
    lines: dict[str, list[Line]],
    tables: dict[str, pd.DataFrame],
    printed: list[Printed],
    provenance: pd.DataFrame,
) -> list[dict]:
    """Everything about each backbone, for the template.

    Args:
        keys, sections, lines: as for :func:`matrix`; sections with their ``figures``.
        tables: tidy rows by name of table.
        printed: the tables of the main paper.
        provenance: table of weights and images, cells as text.
    """
    kinds = tables.get("kinds", pd.DataFrame())
    answers = of_kinds.said(kinds) if len(kinds) else kinds
    counts = {
        name: tidy.backbone_names(rows).value_counts().to_dict()
        for name, rows in tables.items()
        if len(rows)
    }
    known = tidy.backbone_names(provenance) if len(provenance) else pd.Series(dtype=str)
    judged = {
        (section["title"].partition(":")[0], verdict["id"], verdict["said"]): one
        for section in sections
        for verdict in section["verdicts"]
        for one in [_by_backbone(lines[verdict["id"]])]
    }
    figures = [figure for section in sections for figure in section["figures"]]
    pages = []
    for key in keys:
        own = provenance[known == key].to_dict("records") if len(provenance) else []
        statements = [
            {"section": title, "id": name, "said": said, "answer": one.answer,
             "number": number(one), "dataset": one.dataset, "group": group_words(one.group),
             "why": one.why}
            for (title, name, said), by_key in judged.items()
            for one in by_key.get(key, [])
            if one.answer != NOT_RUN
        ]  # fmt: skip
        pages.append({
            "key": key, "words": in_words(key), "anchor": anchor(key),
            "artifacts": _artifacts(tables.get("claim1"), key),
            "facts": [(FACTS[name], _fact(name, row[name])) for row in own[:1]
                      for name in FACTS if row.get(name)],
            "statements": statements, "kinds": _kinds_of(answers, key),
            "lines": _lines(printed, key),
            "figures": [figure for figure in figures if _shows(figure["name"], key)],
            "rows": [(name, count[key]) for name, count in counts.items() if key in count],
        })  # fmt: skip
    return pages


def _fact(name: str, text: str) -> str:
    """What is known of the weights, whole but for their hash."""
    if name == "weights_sha256":
        return text[:24]
    if name in ("params", "images"):
        return count_text(text)
    return re.sub(r"\b1 registers", "1 register", text)


def _by_backbone(lines: list[Line]) -> dict[str, list[Judged]]:
    """What each backbone itself is answered, of a statement's lines that are not about sources."""
    found: dict[str, list[Judged]] = {}
    for line in lines:
        for one in line.judged if line.scope != AS_PUBLISHED else ():
            found.setdefault(one.who, []).append(one)
    return found


def _statement(judged: list[Judged] | None) -> Cell | None:
    if not judged:
        return None
    one = min(judged, key=lambda one: FIRST.index(one.answer))
    return _cell(one.answer, number(one) or one.why, one.value, one.unit)


def _cell(answer: str, text: str, value: float, unit: str) -> Cell:
    if value != value:
        return Cell(answer, text)
    return Cell(answer, text, abs(value), without_unit(value, unit), unit_text(unit))


def _row(said: str, href: str, cells: list[Cell | None]) -> dict:
    """A row of the matrix; where its numbers are not of one unit, each keeps its own."""
    units = dict.fromkeys(cell.unit for cell in cells if cell and cell.value)
    if len(units) > 1:
        cells = [
            cell and replace(cell, value=f"{cell.value} {cell.unit}".strip()) for cell in cells
        ]
    return {"said": said, "href": href, "cells": cells,
            "unit": next(iter(units)) if len(units) == 1 else ""}  # fmt: skip


def _sized(cells: list[Cell | None]) -> list[Cell | None]:
    """With sizes relative to the largest of the row; an answer in words has none."""
    largest = max((cell.size for cell in cells if cell), default=0.0)
    return [cell and replace(cell, size=cell.size / largest if largest else 0.0) for cell in cells]


def _kinds(keys: Sequence[str], kinds: pd.DataFrame) -> tuple[list[dict], list[str]]:
    """Rows of the matrix, and the kinds that none of the backbones can have."""
    answers = of_kinds.said(kinds)
    answers = answers.assign(who=tidy.backbone_names(answers))
    rows, about_none = [], []
    for kind, meaning in of_kinds.KINDS.items():
        own = answers[answers["artifact"] == kind].drop_duplicates("who").set_index("who")
        if (own["answer"] == of_kinds.NOT_ABOUT).all():
            about_none += [words(kind)] * bool(len(own))
            continue
        cells = [_kind(own.loc[key]) if key in own.index else None for key in keys]
        named = words(kind)
        said = f"{named[:1].upper()}{named[1:]}: {meaning}"
        rows.append(_row(said, KINDS_SECTION, _sized(cells)))
    return rows, about_none


def _kind(row: pd.Series) -> Cell:
    why = row["why"] if isinstance(row["why"], str) else ""
    unit = row["unit"] if isinstance(row["unit"], str) else ""
    return _cell(f"kind {row['answer']}", _measured(row) or why, row["value"], unit)


def _measured(row) -> str:
    if row["value"] != row["value"]:
        return ""
    unit = row["unit"] if isinstance(row["unit"], str) else ""
    interval = interval_text(row["low"], row["high"], unit)
    return f"{as_text(row['value'], unit)} {interval}".strip()


def _kinds_of(answers: pd.DataFrame, key: str) -> list[dict]:
    if not len(answers):
        return []
    own = answers[tidy.backbone_names(answers) == key]
    return [
        {"kind": words(row["artifact"]), "answer": row["answer"],
         "meaning": of_kinds.KINDS.get(row["artifact"], ""), "number": _measured(row),
         "quantity": words(row["metric"]), "dataset": row["dataset"],
         "why": row["why"] if isinstance(row["why"], str) else ""}
        for row in own.to_dict("records")
    ]  # fmt: skip


def _artifacts(claim1: pd.DataFrame | None, key: str) -> str:
    """Whether there are outliers, in a sentence; empty where it was not asked."""
    if claim1 is None or not len(claim1):
        return ""
    own = claim1[(tidy.backbone_names(claim1) == key) & (claim1["group"] == "artifacts")]
    said = []
    for dataset, rows in own.groupby("dataset", sort=False):
        by_metric = {row["metric"]: row for row in rows.to_dict("records")}
        if "has_artifacts" in by_metric:
            answer = as_text(by_metric["has_artifacts"]["value"], "verdict")
            found = {"yes": "outliers", "no": "no outliers"}.get(answer, "undecided")
            share = by_metric.get("share")
            size = f", {_measured(share)} of tokens" if share and answer == "yes" else ""
            said.append(f"{dataset}: {found}{size}")
    return "; ".join(said)


def _lines(printed: list[Printed], key: str) -> list[dict]:
    """Its lines of the main paper's tables, a score in each."""
    lines = []
    for table in printed:
        heads = [f"{words}, {column}" for words in table.measures for column in table.columns]
        for label, name, cells in table.lines:
            if name not in (key, key.rpartition("/")[0]):
                continue
            pairs = list(zip(cells[::2], cells[1::2], strict=True))
            lines.append({"number": table.number, "label": label,
                          "scores": list(zip(heads, pairs, strict=True))})  # fmt: skip
    return lines


def _shows(name: str, key: str) -> bool:
    """Whether a figure's path says that it is about this backbone alone, or about its size."""
    return name.endswith((f"/{key}", f"/{key.rpartition('/')[0]}"))
