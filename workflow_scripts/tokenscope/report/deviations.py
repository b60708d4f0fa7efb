"""Where a study's recipes differ from the papers': ``config/papers.yaml`` against its config.

Plain values, because Snakemake asks for them while it builds the graph: a changed key of the config
changes the parameter of the rule that writes the table, and so the table.
"""

from typing import Any

from tokenscope.report.contents import load
from tokenscope.study.study import Study

COLUMNS = ["paper", "about", "where", "theirs", "here", "configured", "answer", "why"]
SAME, DEVIATES, UNSAID, ABSENT = (
    "as the paper", "deviates", "the paper does not say", "not part of this study",
)  # fmt: skip
_NOTHING = object()


def deviations(study: Study, file: str) -> list[dict[str, str]]:
    """A row for each point of each paper's recipe (:data:`COLUMNS`).

    Args:
        file: ``config/papers.yaml``.

    Raises:
        StudyError: the file is not as its schema has it.
    """
    return [
        {"paper": paper, **_row(study, entry)}
        for paper, entries in load(file, "papers.schema.yaml").items()
        for entry in entries
    ]


def _row(study: Study, entry: dict) -> dict[str, str]:
    key = _filled(study, entry.get("key", ""))
    here: Any = _configured(study, key) if key else entry.get("here")
    theirs = entry.get("theirs", _NOTHING)
    if here is _NOTHING:
        answer = ABSENT
    elif theirs is _NOTHING:
        answer = UNSAID
    else:
        answer = SAME if _same(here, theirs, entry.get("any", False)) else DEVIATES
    return {
        "about": entry["about"], "where": entry["where"],
        "theirs": "" if theirs is _NOTHING else _text(theirs),
        "here": "" if here is _NOTHING else _text(here), "configured": key, "answer": answer,
        "why": "" if answer in (SAME, ABSENT) else entry.get("why", ""),
    }  # fmt: skip


def _filled(study: Study, key: str) -> str:
    """The key with the names of the study's data sets; empty names where it has none."""
    config = study.config
    probes = config.get("probes") or {}
    heads = config.get("heads") or {}
    return key.format(
        analysed=config["analyse"][0], probed=probes.get("dataset", ""),
        trained=heads.get("train") or "", tested=heads.get("test", ""),
    )  # fmt: skip


def _configured(study: Study, key: str) -> Any:
    """The value of a key of the config; of a recipe those of the backbones trained by it."""
    first, *rest = key.split(".")
    if first == "recipes":
        name, _training, setting = rest
        trained = [row for row in study.trained if row.recipe == name]
        values = [study.training(row)[setting] for row in trained]
        unique = [value for i, value in enumerate(values) if value not in values[:i]]
        return _NOTHING if not unique else unique[0] if len(unique) == 1 else unique
    value: Any = study.config.get(first) or {}
    if first in ("discovery", "dense") and not value.get("sets"):
        return _NOTHING
    for part in rest:
        if not isinstance(value, dict) or part not in value:
            return _NOTHING
        value = value[part]
    return value


def _same(here: Any, theirs: Any, any_of: bool) -> bool:
    """Whether both are one; with ``any_of`` whether ours is among theirs, or theirs among ours."""
    if not any_of:
        return bool(here == theirs)
    ours, named = (v if isinstance(v, list) else [v] for v in (here, theirs))
    return all(v in named for v in ours) or all(v in ours for v in named)


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
