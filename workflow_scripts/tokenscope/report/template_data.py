"""What the templates of the report show: plain dictionaries, every number as in its table."""

import json
import math
import re
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import pandas as pd

from tokenscope.report.partial_tables import Read
from tokenscope.status.summary import Status
from tokenscope.stores.receipts import read_receipt
from tokenscope.study.register_names import is_control
from tokenscope.tables import tidy
from tokenscope.tables.captions import NOTES
from tokenscope.tables.formatting import (
    arrow,
    as_text,
    count_text,
    group_words,
    in_words,
    interval_text,
    number_text,
    signed_text,
    words,
)
from tokenscope.tables.names import claim_of, is_over_seeds
from tokenscope.tables.published import Published
from tokenscope.verdicts.answers import (
    AS_PUBLISHED,
    CONTRADICTED,
    NOT_APPLICABLE,
    NOT_RUN,
    PHANTOM,
    SAME_MODEL,
    SUPPORTED,
    UNDECIDED,
    Line,
)
from tokenscope.verdicts.criteria import Criterion
from tokenscope.verdicts.table import cited, number, supported_if

ANSWERED = (SUPPORTED, CONTRADICTED, UNDECIDED)
COUNTS = ("params", "images", "images_listed", "images_skipped")  # of the tables of weights
NOT_RUN_SHOWN = 12  # of a longer list only what was measured is shown


def verdict_rows(
    criteria: list[Criterion], lines: dict[str, list[Line]], errors: dict[str, str]
) -> list[dict]:
    """Statements of a section with all their lines.

    Args:
        lines: of each statement, by its id.
        errors: how often a criterion errs, in words, by id; empty where that was not simulated.
    """
    rows = []
    for criterion in criteria:
        own = [_line(line) for line in lines[criterion.id]]
        main = next(n for n in own if n["scope"] not in (AS_PUBLISHED, SAME_MODEL))
        rows.append({
            "id": criterion.id, "said": criterion.said, "lines": own, "main": main,
            "published": [line for line in own if line["scope"] == AS_PUBLISHED],
            "cited": [cited(source) for source in criterion.sources],
            "supported_if": supported_if(criterion), "errors": errors.get(criterion.id, ""),
            "unless": [case["why"] for case in criterion.unless],
            "ran": any(line["answer"] in ANSWERED for line in own),
        })  # fmt: skip
    return rows


def _line(line: Line) -> dict:
    spread = f"{line.spread:.3g}" if line.spread == line.spread else ""
    return {
        "scope": line.scope, "answer": line.answer, "why": line.why, "source": line.source,
        "where": line.where, "supporting": line.supporting, "asked": line.asked, "spread": spread,
        "counts": {name: n for name, n in line.counts.items() if n},
        "judged": [
            {"one": one, "number": number(one), "group": group_words(one.group)}
            for one in line.judged
            if one.answer != NOT_RUN or len(line.judged) <= NOT_RUN_SHOWN
        ],
    }  # fmt: skip


def table(name: str, shown: dict, read: Read, published: Published) -> dict:
    """The rows of a table that a section shows; how many more there are is said."""
    rows = read.rows
    for column, patterns in (("group", shown.get("groups")), ("metric", shown.get("metrics"))):
        if patterns:
            named = [any(fnmatchcase(v, p) for p in patterns) for v in rows[column]]
            rows = rows[np.array(named, bool)]  # of no rows, no rows, and not no columns
    shown_rows = [_row(row, published) for row in rows.to_dict("records")]
    return {
        "name": name, "title": shown.get("title", ""),
        "note": in_words(NOTES.get(claim_of(name), "")),
        "rows": shown_rows, "published": any(row["published"] for row in shown_rows),
        "more": len(read.rows) - len(rows), "complete": read.complete,
        "planned": len(read.planned), "there": len(read.planned) - len(read.missing),
        "missing": [" on ".join(filter(None, (who, where))) for where, who in read.missing],
    }  # fmt: skip


def _row(row: dict, published: Published) -> dict:
    key = tuple(row[name] for name in (*tidy.BACKBONE_COLUMNS, "group", "metric"))
    theirs = published.of(key, row["dataset"])
    value = row["value"]
    gaps = [value - one.value for one in theirs if one.comparable] if value == value else []
    differs = dict.fromkeys(one.differs for one in theirs if one.differs)
    who = "/".join(key[:3])
    control = is_control(row["kind"]) and row["family"] != "control"
    return {
        "who": who + " (control)" * control, "dataset": row["dataset"], "group": row["group"],
        "metric": row["metric"], "group_words": group_words(row["group"]),
        "metric_words": f"{words(row['metric'])} {arrow(row['metric'])}".strip(),
        "text": as_text(value, row["unit"]),
        "value": _raw(value),
        "interval": _interval(row), "low": _raw(row["low"]),
        "high": _raw(row["high"]), "published": published.citations(key, row["dataset"]),
        "difference": "; ".join(signed_text(gap, row["unit"]) for gap in gaps),
        "differs": "; ".join(differs),
        "gap": _raw(gaps[0]) if gaps else "",
        "n": "" if pd.isna(row["n"]) else f"{row['n']:g}", "n_text": _how_many(row),
    }  # fmt: skip


def _interval(row: dict) -> str:
    """The interval of a row; where no token of any image counts, also of how many images.

    Of means over seeds ``n`` counts seeds, and says nothing about images.
    """
    text = interval_text(row["low"], row["high"], row["unit"])
    share = row["metric"].startswith("share") or row["metric"] in ("image_share", "judged_share")
    if is_over_seeds(row["group"]):
        return text
    if share and row["unit"] == "percent" and row["value"] == 0 and row["n"] > 0:
        text = f"{text} in 0 of {row['n']:,.0f} images".strip()
    return text


def _how_many(row: dict) -> str:
    """How many the number is of, and of what where these are no images."""
    if pd.isna(row["n"]):
        return ""
    what = ""
    if is_over_seeds(row["group"]):
        what = "seeds"
    elif row["claim"] == "overhead":
        if row["n"] == 1:  # counted, not measured
            return ""
        what = "rounds"
    elif row["claim"] == "training" and row["group"] in ("curve", "size"):
        what = "training images"
    elif tidy.is_refused(row["unit"]):
        what = "tokens"
    return f"{row['n']:,.0f} {what}".strip()


def _raw(value) -> str:
    """A number with the digits of its table; empty where it is undefined."""
    return "" if pd.isna(value) else f"{value:.7g}"


def explorer(files: list[str]) -> dict:
    """Data of the norm explorer; pictures that backbones share are kept once."""
    backbones = [json.loads(Path(path).read_text()) for path in files]
    pictures: dict[str, int] = {}
    for image in (image for backbone in backbones for image in backbone["gallery"]):
        image["src"] = pictures.setdefault(image["src"], len(pictures))
    return {"backbones": backbones, "pictures": list(pictures)}


# As the pages' badges say it: of phantoms it is the instrument that is tested, and no statement.
AS_KNOWN, NOT_AS_KNOWN = "as known", "not as known"


def in_one_line(title: str, verdicts: list[dict]) -> str:
    """What a section's statements are answered, counted; empty where it has none."""
    if not verdicts:
        return ""
    of = f"of {len(verdicts)} statement{'s' * (len(verdicts) != 1)}"
    main = [verdict["main"] for verdict in verdicts]
    published = [line for verdict in verdicts for line in verdict["published"]]
    phantoms = [line for v in verdicts for line in v["lines"] if line["scope"] == PHANTOM]
    if said := _counted(main):
        parts = [f"{said}, {of} ({main[0]['scope']})"]
    else:
        parts = [f"not tested here, none {of} ({_counted(main, (NOT_RUN, NOT_APPLICABLE))})"]
    if said := _counted(published):
        parts.append(f"as published: {said}, of {len(published)} named by sources")
    elif published and _counted(main):
        parts.append("none as published")
    if said := _counted(phantoms):
        parts.append(
            f"phantoms: {said.replace(CONTRADICTED, NOT_AS_KNOWN).replace(SUPPORTED, AS_KNOWN)}"
        )
    return f"{title.partition(':')[0]}: {'; '.join(parts)}."


def _counted(lines: list[dict], answers=ANSWERED) -> str:
    """``supported 1, cannot tell 1``; empty where none of these answers was given."""
    said = [line["answer"] for line in lines]
    counts = {answer: said.count(answer) for answer in answers}
    return ", ".join(f"{answer} {n}" for answer, n in counts.items() if n)


def with_this_page(status: Status) -> Status:
    """The state of the study once this page is there; GPUs only where a job has one."""
    jobs = {
        name: replace(job, state="done") if (job.rule, job.state) == ("report", "running") else job
        for name, job in status.jobs.items()
    }
    rest = any(job.state in ("running", "queued", "waiting") for job in jobs.values())
    gpus = status.gpus if any(job.planned.gpus for job in jobs.values()) else math.inf
    return replace(status, jobs=jobs, left=status.left if rest else None, gpus=gpus)


def with_commas(table: dict) -> dict:
    """A table of texts whose counts (:data:`COUNTS`) are as readers see them."""
    counts = [head in COUNTS for head in table["head"]]
    rows = [
        [count_text(cell) if is_count else cell for is_count, cell in zip(counts, row, strict=True)]
        for row in table["rows"]
    ]
    return table | {"rows": rows}


def without_same(table: dict) -> dict:
    """A table of texts whose columns that say one thing throughout are taken out, as ``same``.

    Checksums are shortened to what tells two of them apart; the table itself has all of them.
    """
    if len(table["rows"]) < 2:
        return table | {"same": []}
    columns = list(zip(table["head"], zip(*table["rows"], strict=True), strict=True))
    kept = [(head, cells) for head, cells in columns if len(set(cells)) > 1]
    same = [(head, cells[0]) for head, cells in columns if len(set(cells)) == 1 and cells[0]]
    cells = [[_short(cell) for cell in column] for _, column in kept]
    return {
        "head": [head for head, _ in kept], "rows": [list(row) for row in zip(*cells, strict=True)],
        "same": [(head, _short(cell)) for head, cell in same],
    }  # fmt: skip


def skipped(samples: list[str]) -> list[tuple[str, str, str]]:
    """Data set, image and problem of each image that was left out, from receipts of samples."""
    return [
        (Path(path).stem, bad["image_id"], bad["problem"])
        for path in samples
        for bad in read_receipt(path)["skipped"]
    ]


def cells(path: Path) -> dict:
    """A table as it is, cells as text; empty where there is none."""
    if not path.exists():
        return {"head": [], "rows": []}
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    return {"head": table.columns.tolist(), "rows": table.values.tolist()}


def carbon(path: Path) -> dict:
    """``tables/carbon_paper.csv``, the main paper's own sum, its quantities in words."""
    table = cells(path)
    rows = [[words(name), number_text(float(x)), *rest] for name, x, *rest in table["rows"]]
    return table | {"rows": rows}


def on_paper(sections: list[dict]) -> dict[str, list[tuple[list[str], str]]]:
    """What tables and statements say in their folds, each text once with all that it is about.

    Args:
        sections: of the report, with their ``tables`` and ``verdicts``.
    """
    notes, errors = [], []
    for section in sections:
        title = section["title"].partition(":")[0]
        for table in section["tables"]:
            first = table is section["tables"][0] or not table["title"]
            notes.append((title if first else f"{title}: {table['title']}", table["note"]))
        errors += [(v["said"], v["errors"]) for v in section["verdicts"] if v["ran"]]
    return {"definitions": _said_once(notes), "errors": _said_once(errors)}


def _said_once(pairs: list[tuple[str, str]]) -> list[tuple[list[str], str]]:
    found: dict[str, list[str]] = {}
    for name, text in pairs:
        found.setdefault(text, []).append(name)
    return [(names, text) for text, names in found.items() if text]


def _short(text: str) -> str:
    """A text whose checksums of 64 digits have their first twelve."""
    return re.sub(r"\b([0-9a-f]{12})[0-9a-f]{52}\b", r"\1", text)


def figures_rest_on(section: dict, rests: dict[str, str]) -> str:
    """By what a section's figures were made: what its tables rest on.

    Args:
        rests: by table, and under an empty name for all of them, in words.
    """
    names = [shown["name"] for shown in section.get("tables", [])]
    said = dict.fromkeys(rests[name] for name in names if rests.get(name))
    return " ".join(said) or rests[""]
