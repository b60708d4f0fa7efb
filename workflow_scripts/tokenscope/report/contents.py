"""What a report is made from: the tables and figures that a study plans.

Pure arithmetic on a study, because Snakemake asks for it while it builds the graph.
"""

from dataclasses import dataclass
from pathlib import Path

import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

from tokenscope.errors import StudyError
from tokenscope.paths import CONFIG
from tokenscope.study.paths import Paths
from tokenscope.study.register_names import is_control

SCHEMAS = CONFIG / "schemas"
WILDCARDS = ("dataset", "family", "size", "registers")
SWITCHES = ("partial", "figure", "forecast")  # of the command line: they change no number


@dataclass(frozen=True)
class PlannedTable:
    """A table: ``who`` lists (data set, family/size/registers), ``parts`` the files it joins."""

    who: list[tuple[str, str]]
    parts: list[str]


def tables(study) -> dict[str, PlannedTable]:
    """Every table of tidy rows that a study makes, by name."""
    config, measure = study.config, study.paths.measure
    analysed = [(name, row) for name in config["analyse"] for row in study.chosen]

    def plan(pairs, kind, more=()):
        files = [measure(kind, name, row.key) for name, row in pairs]
        return PlannedTable([(name, row.key) for name, row in pairs], [*files, *more])

    bank = (config.get("probes") or {}).get("dataset", "")
    heads, test = study.heads, study.heads.test if study.heads.jobs else ""
    tested = [(test, row) for row in dict.fromkeys(row for row, _ in heads.jobs)]
    sizes = dict.fromkeys((name, row.family, row.size) for name, row in analysed)
    norms = plan(analysed, "norms")
    found = {
        "controls": plan([(n, r) for n, r in analysed if is_control(r.kind)], "control"),
        "claim1": norms,
        "claim2": norms,
        "claim3": plan(analysed, "redundancy"),
        "claim4": plan([(bank, row) for row in study.probing.rows], "probes"),
        "sensitivity": plan([(bank, row) for row in study.probing.varied], "sensitivity"),
        "claim5": PlannedTable([(n, r.key) for n, r in tested], [*norms.parts, *heads.measures]),
        "registers": PlannedTable(norms.who, [measure("registers", *size) for size in sizes]),
        "diagnosis": plan(
            [(config["diagnose"]["dataset"], row) for row in study.diagnosed], "diagnosis"
        ),
        "training": PlannedTable([(n, r.key) for n, r in analysed if r in study.trained], []),
        "overhead": PlannedTable(
            [
                ("", f"{row.family}/{row.size}/r{count}")
                for row in study.overhead
                for count in config["overhead"]["registers"]
            ],
            [measure("overhead", row.key) for row in study.overhead],
        ),
    }
    for section in (study.discovery, study.dense):
        pairs = [(name, row) for name in section.sets for row in section.rows]
        more = [measure(section.section, "pairs")]
        more += plan(analysed, "smoothness").parts if section is study.dense else []
        found[section.section] = plan(pairs, section.section, more if section.config else [])
    return {name: planned for name, planned in found.items() if planned.who}


def sections(file: str) -> list[dict]:
    """The report's sections, in order (``config/report.yaml``)."""
    return load(file, "report.schema.yaml")["sections"]


def load(file: str, schema: str) -> dict:
    """A YAML file of the report. Raises StudyError where it is not there or not as its schema."""
    try:
        content = yaml.safe_load(Path(file).read_text())
    except (OSError, yaml.YAMLError) as error:
        raise StudyError(f"report: {file}: {error}") from None
    rules = yaml.safe_load((SCHEMAS / schema).read_text())
    problem = best_match(Draft202012Validator(rules).iter_errors(content))
    if problem:
        where = "/".join(map(str, problem.absolute_path))
        raise StudyError(f"report: {file}: {where}: {problem.message}")
    return content


def pages(study) -> dict[str, list[tuple[str, str]]]:
    """Figures of each section with their captions: paths below ``figures``, without ending."""
    found: dict[str, dict[str, str]] = {}
    for section in sections(study.config["report"]["sections"]):
        mine = found.setdefault(section["id"], {})
        for entry in section.get("figures", []):
            mine |= {name: entry["caption"] for name in figures(study, entry)}
    return {name: list(mine.items()) for name, mine in found.items()}


def named(paths: Paths, names: list[str], part: str, formats: list[str]) -> list[str]:
    """Files of the figures whose path holds ``part``; none where it is empty.

    Raises StudyError where no figure is of that name.
    """
    found = [name for name in names if part and part in name]
    if part and not found:
        raise StudyError(
            f"figure: no figure has '{part}' in its path; there are {', '.join(names)}"
        )
    return [paths.figure(name, ending) for name in found for ending in formats]


def there(files: list[str]) -> list[str]:
    """Those that exist."""
    return [file for file in files if Path(file).exists()]


def figures(study, figure: dict) -> list[str]:
    """Figures of one entry of ``config/report.yaml``: paths below ``figures``, without ending."""
    analysed = [{"dataset": name} for name in study.config["analyse"]]
    bank = (study.config.get("probes") or {}).get("dataset", "")
    test = study.heads.test if study.heads.jobs else ""
    searched = (study.config.get("testtime") or {}).get("dataset", "")
    places = {
        "once": [{}],
        "analyse": analysed,
        "families": [{**one, "family": name} for one in analysed for name in study.families],
        "backbones": [{**one, **_names(row)} for one in analysed for row in study.chosen],
        "trained": analysed if study.trained else [],
        "searched": [{"dataset": searched, **_names(row)} for row in study.searched],
        "bank": [{"dataset": bank}] if study.probing.rows else [],
        "varied": [{"dataset": bank}] if study.probing.varied else [],
        "heads": [{"dataset": test}] if test else [],
        "discovery": _places(study.discovery),
        "dense": _places(study.dense),
        "diagnosed": [{}] if study.diagnosed else [],
    }
    return list(dict.fromkeys(figure["file"].format(**place) for place in places[figure["over"]]))


def _names(row) -> dict[str, str]:
    return {"family": row.family, "size": row.size, "registers": row.registers}


def _places(section) -> list[dict]:
    return [{"dataset": name, **_names(row)} for name in section.sets for row in section.rows]
