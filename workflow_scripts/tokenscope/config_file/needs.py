"""What a study reads that it does not make: images, labels, weights; and whether it is here."""

import difflib
import glob
import itertools
import os
import platform
import re
from collections.abc import Collection, Iterator
from pathlib import Path

from tokenscope.cards import class_list, hub_folder, weights_files
from tokenscope.errors import StudyError, nearest
from tokenscope.images.location import folder_of

SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")
LABELS = ("folders", "none")


def find_weights(timm_id: str, folder: str | None, cache: str | None) -> tuple[Path | None, str]:
    """A local file with released weights and where it came from, or ``(None, "")``."""
    for origin, place in (("folder", folder), ("cache", cache)):
        if place is None:
            continue
        for suffix in SUFFIXES:
            for file in (
                Path(place, timm_id + suffix),
                Path(place, timm_id, "model" + suffix),
                Path(place, timm_id, "pytorch_model" + suffix),
            ):
                if file.is_file():
                    return file, origin
    return None, ""


def fetched(study, row) -> str:
    """The repository that a backbone's released weights must be fetched from; empty where none."""
    weights = study.config["weights"]
    if row.recipe or row.attached or row.weights or not weights["download"]:
        return ""
    here, _ = find_weights(row.timm_id, weights["folder"], weights["cache"])
    return "" if here else f"timm/{row.timm_id}"


def obtained(study) -> list[str]:
    """Cards of all released weights and heads of a study: whose jobs may use the network."""
    rows = [row for row in study.rows.values() if not (row.recipe or row.attached)]
    heads = {
        path for row, view in study.heads.jobs for path in study.heads.inputs(row, view)["released"]
    }
    return [*(study.paths.card(row.key) for row in rows), *sorted(heads)]


def missing(study, names: Collection[str] | None = None, weights: bool = False) -> list[str]:
    """Sentences on what is not on this machine, each beginning with its key in the config.

    Args:
        study: a tokenscope.study.study.Study.
        names: the data sets that are asked about, sets with boxes and maps among them; all that the
            study reads without it.
        weights: whether its weights are asked about as well, as they are without ``names``.
    """
    asked = study.read_sets if names is None else sorted({*names} & {*study.datasets})
    found = [sentence for name in asked for sentence in _images(study, name)]
    for section in ("discovery", "dense"):
        found += _sets(study, section, names)
    return [*found, *_weights(study)] if weights or names is None else found


def _images(study, name: str) -> Iterator[str]:
    dataset = study.datasets[name]
    if dataset["type"] == "scenes":
        return
    folder, path = folder_of(dataset["path"]), dataset["path"]
    if not Path(folder).is_dir():
        yield f"datasets: {name}: path: there is no folder '{folder}' on {platform.node()}" + (
            _instead(folder)
        )
    elif folder != path and not _files(path):
        yield f"datasets: {name}: path: '{path}' matches no file on {platform.node()}"
    labels = dataset.get("labels", "none")
    if labels not in LABELS and not Path(labels).is_file():
        near = nearest(labels, LABELS)
        yield f"datasets: {name}: labels: there is no label file '{labels}'{near}"
    if (synsets := dataset.get("synsets")) and not Path(synsets).is_file():
        yield f"datasets: {name}: synsets: there is no file '{synsets}'"
    classes = dataset.get("classes", "")
    if class_list.is_list(classes) and not Path(classes).exists():
        yield f"datasets: {name}: classes: there is no list '{classes}'"


def _instead(folder: str) -> str:
    """What may have been meant by a folder that is not there, as the end of a sentence."""
    if folder.startswith("~") or "$" in folder:
        return "; ~ and $ mean nothing here: write the path out"
    place = next((p for p in Path(folder).parents if p.is_dir()), Path())
    step = Path(folder).relative_to(place).parts[0] if folder.strip("./") else ""
    with os.scandir(place) as entries:
        here = [entry.name for entry in itertools.islice(entries, 1000) if entry.is_dir()]
    near = difflib.get_close_matches(step, here, n=1, cutoff=0.5)
    return f"; nearest: {place / near[0]}" if near else ""


def _files(pattern: str) -> list[str]:
    """Some files that a glob or brace pattern names; of a range of numbers, any."""
    folder = folder_of(pattern)
    if Path(pattern).is_file() or folder == pattern:
        return [pattern]
    inside = re.sub(r"\{[^}]*\}", "*", os.path.relpath(pattern, folder))
    return glob.glob(os.path.join(glob.escape(folder), inside))


def _sets(study, section: str, names: Collection[str] | None) -> Iterator[str]:
    for name, entry in (study.config.get(section) or {}).get("sets", {}).items():
        if names is not None and name not in names:
            continue
        path = entry.get("path")
        if path and not Path(path).exists():
            yield f"{section}: sets: {name}: path: there is no '{path}' on {platform.node()}"
            continue
        for key in ("boxes", "splits"):
            file = entry.get(key)
            if file and not (Path(file).is_file() or Path(path or "", file).is_file()):
                yield f"{section}: sets: {name}: {key}: there is no file '{file}'"
        annotations = entry.get("annotations")
        if annotations and not Path(path, annotations).is_file():
            yield f"{section}: sets: {name}: annotations: there is no file '{path}/{annotations}'"


def _weights(study) -> Iterator[str]:
    weights = study.config["weights"]
    folder = weights["folder"]
    if folder and not Path(folder).is_dir():
        yield f"weights: folder: there is no folder '{folder}' on {platform.node()}" + (
            _instead(folder)
        )
    for row in study.rows.values():
        if row.recipe or row.attached:
            continue
        if row.weights:
            repo = hub_folder.repo_of(row.weights, weights["cache"])
            if not Path(row.weights).is_file() and not (repo and weights["download"]):
                yield f"backbone_tables: {row.key}: there is no weights file '{row.weights}'"
            try:
                weights_files.check(row.weights)
            except StudyError as error:
                yield f"backbone_tables: {row.key}: {error}"
        elif not weights["download"] and not find_weights(row.timm_id, folder, weights["cache"])[0]:
            places = " or ".join(f"{p}/{row.timm_id}" for p in (folder, weights["cache"]) if p)
            yield (
                f"weights: {row.key}: download is false, and there is no {places}"
                "/model.safetensors (or .safetensors, .pth, .bin of that name)"
            )
