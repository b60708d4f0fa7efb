"""Every table, figure and number of the sources: which file of a study shows it, or why none does.

The items are in ``config/sources.csv``; what a study makes is known before any job runs. Plain
values, because Snakemake asks for them while it builds the graph.
"""

import csv
import re
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from tokenscope.errors import StudyError
from tokenscope.figures import pages
from tokenscope.report import contents, paper_figures
from tokenscope.study import zoo

COLUMNS = ["source", "item", "published", "shows", "files", "models", "data", "why"]
MAIN_PAPER = "reassessment-2025"
HERE, OTHERS, NEEDS, OUT = "here", "here, of others", "needs data", "not here"
# Tables of no backbone: jobs and the paper's own sum.
OF_NOBODY = ("tables/accounting.csv", "tables/carbon_paper.csv")
OF_KINDS = "tables/by_kind.csv"
OF_TRAININGS = ("tables/emergence.csv", "tables/register_counts.csv")


def items(file: str) -> list[dict[str, str]]:
    """The rows of ``config/sources.csv``; all but ``shows`` and ``why`` may list several.

    Columns: ``source``; ``item`` under its own number; ``published``, its names in
    ``config/published.csv``; ``shows``; ``files`` below a study's results, as globs; ``models`` and
    ``data`` of the source; ``why`` no study makes it.

    Raises:
        StudyError: other columns, an item twice, or one with neither files nor a reason.
    """
    if not Path(file).is_file():
        raise StudyError(f"there is no list of the sources' items, {file}")
    with open(file, newline="") as handle:
        reader = csv.DictReader(handle)
        if reader.fieldnames != COLUMNS:
            raise StudyError(f"{file}: the columns must be {', '.join(COLUMNS)}")
        rows, seen = [], set()
        for row in reader:
            where = f"{file}, line {reader.line_num}"
            if bool(row["files"]) == bool(row["why"]):
                raise StudyError(f"{where}: '{row['item']}' needs either files or why, one of them")
            if (row["source"], row["item"]) in seen:
                raise StudyError(f"{where}: '{row['item']}' of {row['source']} is there twice")
            seen.add((row["source"], row["item"]))
            rows.append(row)
    return rows


def coverage(study, file: str) -> list[dict[str, str]]:
    """A row an item: ``source``, ``item``, ``shows``, ``answer``, ``files``, ``section``, ``note``.

    Args:
        study: a tokenscope.study.study.Study.
        file: ``config/sources.csv``.

    ``answer`` is :data:`HERE` where the source's models and data are in the study, :data:`OTHERS`
    where the same is shown of others, :data:`NEEDS` where the study makes no such file, and
    :data:`OUT` where no study does. ``section`` is that of the report which shows the first file.
    """
    made, shown_in = _made(study), _sections(study)
    return [_row(item, made, shown_in) for item in items(file)]


def _row(item: dict, made: dict[str, set], shown_in: dict[str, str]) -> dict[str, str]:
    patterns, models, data = (item[key].split() for key in ("files", "models", "data"))
    files = [name for glob in patterns for name in made if fnmatchcase(name, glob)]
    theirs = ", ".join(filter(None, (" ".join(models), " ".join(data) and f"on {' '.join(data)}")))
    if item["why"]:
        answer = NEEDS if item["why"].startswith(NEEDS) else OUT
        note = item["why"]
    elif not files:
        answer = NEEDS
        note = f"{NEEDS}: {', '.join(data) or 'a section of the config'}, of {' '.join(models)}"
    elif _are_there(files, made, models, data):
        answer, note = HERE, ""
    else:
        answer, note = OTHERS, f"the source's, {theirs}, are not in this study"
    return {
        "source": item["source"], "item": item["item"], "shows": item["shows"], "answer": answer,
        "files": " ".join(files), "section": shown_in.get(files[0], "") if files else "",
        "note": note,
    }  # fmt: skip


def _are_there(files: list[str], made: dict[str, set], models: list[str], data: list[str]) -> bool:
    """Whether one of the files is about one of the models, on one of the data sets."""
    about = {pair for name in files for pair in made[name]}
    return not models or any(
        zoo.matches(key, models) and (not data or not dataset or dataset in data)
        for dataset, key in about
    )


def _made(study) -> dict[str, set]:
    """What a study makes, with whom it is about: (data set, family/size/registers)."""
    plan = contents.planned(contents.tables(study))
    made = {f"tables/{name}.csv": set(table.who) for name, table in plan.items()}
    if study.trained:
        made |= dict.fromkeys(OF_TRAININGS, made["tables/training.csv"])
    made |= {name: set() for name in OF_NOBODY}
    made[OF_KINDS] = made["tables/claim1.csv"] | made.get("tables/claim4.csv", set())
    for figures in contents.pages(study).values():
        made |= {f"figures/{name}.png": _about(study, name) for name, *_ in figures}
    return made


def _about(study, name: str) -> set:
    """Whom a figure is about, by its path: ``<data set>/<figure>/<family>/<size>/<registers>``."""
    dataset, _, rest = name.partition("/")
    figure, *of = pages.number(rest)[0].split("/")
    if figure.split("_")[0] in paper_figures.PAPER and figure != "fig3_ratio":
        rows = paper_figures.shown(study, figure)
    elif figure.startswith(("training_", "emergence")):
        rows = study.before_and_after
    else:
        rows = contents.placed(study, "backbones", of)
    return {(dataset, row.key) for row in rows}


def _sections(study) -> dict[str, str]:
    """The section of the report that shows each table and figure."""
    shown: dict[str, str] = {}
    for section in contents.sections(study.config["report"]["sections"]):
        names = [f"tables/{table['name']}.csv" for table in section.get("tables", [])]
        for entry in section.get("figures", []):
            names += [f"figures/{name}.png" for name in contents.figures(study, entry)]
        names += OF_NOBODY if section.get("accounting") else ()
        names += OF_TRAININGS if section.get("counts") else ()
        names += [OF_KINDS] if section.get("by_kind") else []
        shown |= {name: section["id"] for name in names if name not in shown}
    return shown


def by_source(path: Path, root: Path, drawn: set[str]) -> dict[str, list[dict[str, Any]]]:
    """Lines of ``tables/coverage.csv`` by source, for the page; none where it is not written yet.

    Args:
        root: folder of the study: ``files`` says which of an item's files are there.
        drawn: figures that are in the page: ``target`` is where an item stands there.
    """
    if not path.exists():
        return {}
    items: dict[str, list[dict[str, Any]]] = {}
    with open(path, newline="", encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    for item in rows:
        files = [(name, (root / name).exists()) for name in item["files"].split()]
        target = _target(item, [name for name, _ in files], drawn)
        items.setdefault(item["source"], []).append(item | {"files": files, "target": target})
    return items


def _target(item: dict[str, Any], files: list[str], drawn: set[str]) -> str:
    """Where a table or figure of the main paper stands on the page; else the item's section."""
    table = re.fullmatch(r"Table ([1-5])", item["item"])
    if table and item["source"] == MAIN_PAPER and item["section"]:
        return f"paper-table{table[1]}"
    figures = (name.removeprefix("figures/").rpartition(".")[0] for name in files)
    shown = next((name for name in figures if name in drawn), "")
    return f"figure-{shown.replace('/', '-')}" if shown else item["section"]
