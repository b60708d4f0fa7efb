"""What of a study is packed: tables, figure data, and the configs that decide what is drawn."""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

from tokenscope.config_file import strict_yaml
from tokenscope.errors import StudyError
from tokenscope.jobs.software import this_code
from tokenscope.packing.archive import CRATE, PARTS, entry_of, write
from tokenscope.packing.card import title
from tokenscope.packing.crate import BEHIND, crate
from tokenscope.paths import CONFIG, PROJECT

SCHEMA = CONFIG / "schemas" / "config.schema.yaml"


class Packed(NamedTuple):
    """A packed study: its config as it was written, its archive, and the files by part."""

    study: dict
    archive: Path
    parts: dict[str, list[Path]]


def pack(config: str | Path) -> Packed:
    """Write ``<results>/<study>.tar.gz``.

    Args:
        config: path of the study's config.

    Raises:
        StudyError: the config is none or names files elsewhere, or its results are not there.
    """
    file = Path(config)
    if not file.is_file():
        raise StudyError(f"the config {file} does not exist")
    study = strict_yaml.load(file)
    rules = yaml.safe_load(SCHEMA.read_text())
    if problem := best_match(Draft202012Validator(rules).iter_errors(study)):
        where = ": ".join(map(str, problem.absolute_path))
        raise StudyError(f"{file}: {where}{': ' * bool(where)}{problem.message}")
    results = _inside(Path(study["results"]), "results")
    parts = {part: _files(results / part) for part in PARTS}
    if not any(parts.values()):
        raise StudyError(f"{results} holds no tables and no figure data: run the study first")
    parts["configs"] = _configs(file, study)
    archive = results / f"{study['study']}.tar.gz"
    about = {"study": study["study"], "results": results.as_posix(), **this_code()}
    about["config"] = parts["configs"][0].as_posix()
    files = [name for part in parts.values() for name in part]
    write(archive, files, about, {f"{about['results']}/{CRATE}": _described(about, results, parts)})
    return Packed(study, archive, parts)


def _described(about: dict, results: Path, parts: dict[str, list[Path]]) -> str:
    """The results as a crate, whose root is their folder."""
    inside = [path for name in PARTS for path in parts[name]]
    rests = {}
    for name in ("backbones", *BEHIND):
        if (table := results / "tables" / f"{name}.csv").is_file():
            rests[name] = pd.read_csv(table, dtype=str, keep_default_na=False)
    newest = max(path.stat().st_mtime for path in inside)
    return crate(
        about, citation(), title(about["study"]),
        {path.relative_to(results).as_posix(): entry_of(path) for path in inside}, rests,
        datetime.fromtimestamp(newest, UTC).date().isoformat(),
    )  # fmt: skip


def citation() -> dict:
    """The project's CITATION.cff."""
    return yaml.safe_load((PROJECT / "CITATION.cff").read_text(encoding="utf-8"))


def _inside(path: Path, key: str) -> Path:
    """A path relative to this folder, so that it is in its place where the archive is unpacked."""
    plain = Path(os.path.relpath(path))
    if hidden := [part for part in plain.parts if part.startswith(".")]:
        where = "outside of this folder" if ".." in hidden else f"in the hidden {hidden[0]}"
        raise StudyError(
            f"{key}: '{path}' lies {where}; only what is in this folder, in sight, is packed"
        )
    return plain


def _files(folder: Path) -> list[Path]:
    """Files below a folder, without hidden ones, which a system or an editor leaves."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return sorted(
        _no_link(path)
        for path in files
        if not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def _no_link(path: Path) -> Path:
    if path.is_symlink():
        raise StudyError(f"{path} is a link; put the file itself there, or remove it")
    return path


def _configs(file: Path, study: dict) -> list[Path]:
    """The config and the files it names that decide which figures there are."""
    named = [file, *map(Path, study.get("backbone_tables", []))]
    named += [table.with_name("architectures.csv") for table in named[1:]]
    named += [Path(f) for f in study.get("report", {}).values() if isinstance(f, str)]
    recipes = study.get("recipes")
    named += sorted(Path(recipes).glob("*.yaml")) if recipes else []
    named = [_no_link(_inside(path, "packed configs")) for path in named if path.is_file()]
    return list(dict.fromkeys(named))
