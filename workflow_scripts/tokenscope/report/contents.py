"""What a report is made from: the tables and figures that a study plans.

Pure arithmetic on a study, because Snakemake asks for it while it builds the graph.
"""

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

from tokenscope.config_file import strict_yaml
from tokenscope.errors import StudyError, nearest, some
from tokenscope.figures import pages as figure_pages
from tokenscope.paths import CONFIG
from tokenscope.report import paper_figures
from tokenscope.study import register_names
from tokenscope.study.paths import Paths
from tokenscope.study.register_names import is_control

SCHEMAS = CONFIG / "schemas"
WILDCARDS = ("dataset", "family", "size", "registers")
ASIDE = 4  # rank of figures that are of use, but no finding
MOST_NAMED = 24  # figures, where one of another name was asked for
SWITCHES = ("partial", "figure", "forecast", "check")  # of the command line: they change no number


@dataclass(frozen=True)
class PlannedTable:
    """A table of tidy rows.

    ``who`` lists what it is about as (data set, family/size/registers); ``parts`` are the
    measurements it joins, in their order; ``provenance`` names the table of the weights and images
    that it rests on.
    """

    who: list[tuple[str, str]]
    parts: list[str]
    provenance: str = "backbones"


def tables(study) -> dict[str, PlannedTable]:
    """Every table of tidy rows by name, those that are about nothing in this study included."""
    config, measure = study.config, study.paths.measure
    analysed = [(name, row) for name in config["analyse"] for row in study.backbones]

    def files(pairs, kind):
        return [measure(kind, name, row.key) for name, row in pairs]

    def table(pairs, parts, provenance="backbones"):
        return PlannedTable([(name, row.key) for name, row in pairs], parts, provenance)

    def measured(pairs, kind, provenance="backbones"):
        return table(pairs, files(pairs, kind), provenance)

    norms = files(analysed, "norms")
    several = len(paper_figures.selected(study, "fig4_norms")) > 1
    contrasts = [measure("contrast", name) for name in config["analyse"] if several]
    controls = [(name, row) for name, row in analysed if is_control(row.kind)]
    controls += study.phantoms
    probed, varied, diagnosed = (
        [(_dataset(study, section), row) for row in rows]
        for section, rows in (
            ("probes", study.probing.rows),
            ("probes", study.probing.varied),
            ("diagnose", study.diagnosed),
        )
    )
    heads = study.heads
    tested = [(heads.test, row) for row in dict.fromkeys(row for row, _ in heads.jobs)]
    sizes = dict.fromkeys((name, row.family, row.size) for name, row in analysed)
    discovery, dense = (
        [(name, row) for name in task.sets for row in task.rows]
        for task in (study.discovery, study.dense)
    )
    return {
        "controls": measured(controls, "control"),
        "kinds": measured([*analysed, *study.phantoms] if config.get("kinds") else [], "kinds"),
        "claim1": table(analysed, norms),
        "claim2": table(analysed, [*norms, *contrasts]),
        "claim3": measured(analysed, "redundancy"),
        "claim4": measured(probed, "probes", "bank"),
        "sensitivity": measured(varied, "sensitivity", "bank"),
        "claim5": table(tested, [*norms, *heads.measures]),
        "registers": table(analysed, [measure("registers", *size) for size in sizes]),
        "diagnosis": measured(diagnosed, "diagnosis"),
        # Made of cards and histories, so that nothing of it can be read before it is there.
        "training": table([(name, row) for name, row in analysed if row in study.trained], []),
        "overhead": PlannedTable(
            [
                ("", f"{row.family}/{row.size}/r{count}")
                for row in study.overhead
                for count in config["overhead"]["registers"]
            ],
            [measure("overhead", row.key) for row in study.overhead],
        ),
        "discovery": table(
            discovery,
            [*files(discovery, "discovery"), measure("discovery", "pairs")],
            "backbones_discovery",
        ),
        "dense": table(
            dense,
            [
                *files(dense, "dense"), *files(analysed, "smoothness"), measure("dense", "pairs"),
            ] if study.dense.config else [],
            # Smoothness alone rests on the tokens of the claims.
            "backbones_dense" if study.dense.sets else "backbones",
        ),
    }  # fmt: skip


def planned(tables: dict[str, PlannedTable]) -> dict[str, PlannedTable]:
    """The tables that are about something: those that a study makes."""
    return {name: table for name, table in tables.items() if table.who}


def sections(file: str) -> list[dict]:
    """The report's sections, in order (``config/report.yaml``)."""
    return load(file, "report.schema.yaml")["sections"]


def simulated(file: str) -> dict:
    """Of the criteria (``config/verdicts.yaml``) what decides how often they err, and no words.

    A parameter of the rule that simulates them: a change of anything else reruns nothing.
    """
    content = load(file, "verdicts.schema.yaml")
    effects = {
        name: {key: value for key, value in effect.items() if key != "why"}
        for name, effect in content["effects"].items()
    }
    statements = {
        section: [
            {key: one[key] for key in ("id", "holds", "backbones", "metric")} for one in criteria
        ]
        for section, criteria in content["statements"].items()
    }
    return {**content, "effects": effects, "statements": statements}


def decided_by(file: str) -> dict:
    """What decides for all criteria: ``seeds``, ``error`` and so on (``config/verdicts.yaml``)."""
    return load(file, "verdicts.schema.yaml")["decide"]


def load(file: str, schema: str) -> dict:
    """A YAML file of the report. Raises StudyError where it is not there or not as its schema."""
    try:
        info = Path(file).stat()
        return _as_of(file, schema, info.st_mtime_ns, info.st_size)
    except OSError as error:
        raise StudyError(f"report: {file}: {error.strerror}") from None


@cache
def _as_of(file: str, schema: str, changed: int, size: int) -> dict:
    try:
        content = strict_yaml.load(file)
    except StudyError as error:
        raise StudyError(f"report: {error}") from None
    rules = yaml.safe_load((SCHEMAS / schema).read_text())
    problem = best_match(Draft202012Validator(rules).iter_errors(content))
    if problem:
        where = "/".join(map(str, problem.absolute_path))
        raise StudyError(f"report: {file}: {where}: {problem.message}")
    return content


def pages(study) -> dict[str, list[tuple[str, str, int]]]:
    """Figures of each section: path below ``figures`` without ending, caption, and rank.

    Rank 0 has what a study or a data set has once, 1 what a family has and further pages, 2 what a
    backbone has. :data:`ASIDE` has what is folded away.
    """
    by_section: dict[str, dict[str, tuple[str, int]]] = {}
    for section in sections(study.config["report"]["sections"]):
        own = by_section.setdefault(section["id"], {})
        for entry in section.get("figures", []):
            rank = sum(f"{{{name}}}" in entry["file"] for name in ("family", "registers"))
            own |= {
                name: (
                    _caption(entry, name),
                    ASIDE
                    if entry.get("aside")
                    else max(rank, int(figure_pages.number(name)[1] > 1)),
                )
                for name in figures(study, entry)
            }
    return {
        section: [(name, *facts) for name, facts in own.items()]
        for section, own in by_section.items()
    }


def about(study) -> dict[str, list[str]]:
    """By figure the backbones that it shows, all its pages together: ``family/size/registers``."""
    shown: dict[str, list[str]] = {}
    for section in sections(study.config["report"]["sections"]):
        for entry in section.get("figures", []):
            for name in figures(study, entry):
                whole, _ = figure_pages.number(name)
                figure = whole.partition("/")[2].split("/")[0]
                of_paper = figure.split("_")[0] in paper_figures.PAPER and figure != "fig3_ratio"
                rows = (
                    paper_figures.shown(study, figure) if of_paper else drawn(study, entry, whole)
                )
                shown[name] = [row.key for row in rows]
    return shown


def named(paths: Paths, names: list[str], part: str, formats: list[str]) -> list[str]:
    """Files of the figures whose path holds ``part``; none where it is empty.

    Raises StudyError where no figure is of that name.
    """
    matching = [name for name in names if part and part in name]
    if part and not matching:
        last = list(dict.fromkeys(Path(name).name for name in names))
        numbered = [word.partition("_")[0] for word in last if re.match(r"(fig|table)\d", word)]
        raise StudyError(
            f"figure: no figure has '{part}' in its path{nearest(part, [*numbered, *last, *names])}"
            f"; there are {some(last, MOST_NAMED)}"
        )
    return [paths.figure(name, ending) for name in matching for ending in formats]


def existing(files: list[str]) -> list[str]:
    """Those that exist."""
    return [file for file in files if Path(file).exists()]


def figures(study, figure: dict) -> list[str]:
    """Figures of one entry of ``config/report.yaml``: paths below ``figures``, without ending."""
    analysed = [{"dataset": name} for name in study.config["analyse"]]
    bank, searched = _dataset(study, "probes"), _dataset(study, "testtime")
    test = study.heads.test if study.heads.jobs else ""
    places = {
        "once": [{}],
        "analyse": analysed,
        "families": [{**place, "family": name} for place in analysed for name in study.families],
        "backbones": [{**place, **_names(row)} for place in analysed for row in study.backbones],
        "registered": [{**place, **_names(row)} for place in analysed for row in registered(study)],
        "trained": analysed if study.trained else [],
        "searched": [{"dataset": searched, **_names(row)} for row in study.testtime_bases],
        "bank": [{"dataset": bank}] if study.probing.rows else [],
        "varied": [{"dataset": bank}] if study.probing.varied else [],
        "heads": [{"dataset": test}] if test else [],
        "discovery": _places(study.discovery),
        "dense": _places(study.dense),
        "kinds": [{}] if study.config.get("kinds") else [],
        "diagnosed": [{}] if study.diagnosed else [],
        "pairs": analysed if paired(study) else [],
    }
    names = dict.fromkeys(figure["file"].format(**place) for place in places[figure["over"]])
    return [page for name in names for page in paged(study, figure, name)]


def paged(study, figure: dict, name: str) -> list[str]:
    """The pages of one figure.

    Args:
        figure: its entry of ``config/report.yaml``. name: its path below ``figures``.
    """
    count = len(drawn(study, figure, name))
    return figure_pages.paths(name, count, figure.get("per_page", max(1, count)))


def drawn(study, figure: dict, name: str) -> list:
    """The backbones of a figure that may have several pages, in their order."""
    # The last parts of its path name a family, or a family and a size.
    about = sum(f"{{{key}}}" in figure["file"] for key in WILDCARDS[1:])
    return placed(study, figure["over"], name.split("/")[-about:] if about else [])


def placed(study, over: str, of: list[str]) -> list:
    """The backbones of what figures are drawn ``over`` whose key begins with these parts."""
    return _by_place(study, over).get("/".join(of), [])


@cache
def _by_place(study, over: str) -> dict[str, list]:
    rows = {
        "trained": lambda: study.trained,
        "bank": lambda: study.probing.rows,
        "varied": lambda: study.probing.varied,
        "discovery": lambda: study.discovery.rows,
        "dense": lambda: study.dense.rows,
        "pairs": lambda: paired(study),
        "heads": lambda: list(dict.fromkeys(row for row, _ in study.heads.jobs)),
    }.get(over, lambda: study.backbones)()
    found: dict[str, list] = {}
    for row in rows:
        for place in ("", row.family, f"{row.family}/{row.size}", row.key):
            found.setdefault(place, []).append(row)
    return found


def _caption(figure: dict, name: str) -> str:
    _, page = figure_pages.number(name)
    return figure["caption"] + (f" (page {page})" if page > 1 else "")


def paired(study) -> list:
    """The backbones with registers, released or trained, whose twin without them is there too."""
    keys = {row.key for row in study.backbones}
    return [row for row in study.backbones if _has_twin(row) and row.base_key in keys]


def _has_twin(row) -> bool:
    return bool(row.register_count) and not row.attached and row.base_key != row.key


def registered(study) -> list:
    """The backbones whose registers' maps are drawn: all that have some but for controls."""
    controls = register_names.ATTACHED_CONTROLS
    return [row for row in study.backbones if row.register_count and row.kind not in controls]


def _dataset(study, section: str) -> str:
    """The data set that a section of the config names; empty without the section."""
    return (study.config.get(section) or {}).get("dataset", "")


def _names(row) -> dict[str, str]:
    return {"family": row.family, "size": row.size, "registers": row.registers}


def _places(section) -> list[dict]:
    return [{"dataset": name, **_names(row)} for name in section.sets for row in section.rows]
