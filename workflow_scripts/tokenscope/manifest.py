"""Which images a data set has: an index of its files, and a seeded sample of them."""

import csv
import hashlib
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from tokenscope.errors import StudyError
from tokenscope.pixels import BadImage, load_rgb

EXTENSIONS = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".jp2"}
COLUMNS = [
    "image_id", "path", "label", "label_name", "width", "height", "mode", "bytes", "sha256",
    "problem",
]  # fmt: skip


def index(
    root: str,
    labels: str,
    threads: int = 4,
    columns: dict[str, str] | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> pd.DataFrame:
    """Every image file below ``root``, sorted by path, as one table (:data:`COLUMNS`).

    Args:
        root: folder with images at any depth.
        labels: ``none``; ``folders`` (the first folder below root is the class, classes numbered
            in sorted order); ``synsets`` (the same, folders named by WordNet ids of ImageNet-1k,
            numbered as there); or the path of a CSV file that lists the images.
        threads: files read at the same time.
        columns: for a CSV, which of its columns hold ``file`` (relative to root), ``label``
            (an integer) and ``label_name``.
        progress: called with files done and files in all.

    A file that cannot be opened as an image stays in the table with the reason in ``problem``.

    Raises:
        StudyError: no such folder, no image in it, or an index file that does not fit.
    """
    folder = Path(root)
    if not folder.is_dir():
        raise StudyError(f"the image folder '{root}' does not exist (config key: datasets, path)")
    if labels in ("none", "folders", "synsets"):
        files = sorted(
            p.relative_to(folder).as_posix()
            for p in folder.rglob("*")
            if p.suffix.lower() in EXTENSIONS and not p.name.startswith(".")
        )
        rows = list(_no_labels(files) if labels == "none" else _folder_labels(files, root, labels))
    else:
        rows = list(_listed(labels, columns or {}))
    if not rows:
        raise StudyError(
            f"there is no image below '{root}' (looked for {', '.join(sorted(EXTENSIONS))})"
        )
    table = []
    with ThreadPoolExecutor(threads) as pool:
        facts = pool.map(lambda row: _facts(folder / row["path"]), rows)
        for done, (row, fact) in enumerate(zip(rows, facts, strict=True), start=1):
            table.append({"image_id": row["path"], **row, **fact})
            progress(done, len(rows))
    return pd.DataFrame(table, columns=COLUMNS)


def _no_labels(files: list[str]) -> Iterable[dict]:
    return ({"path": file, "label": -1, "label_name": ""} for file in files)


def _folder_labels(files: list[str], root: str, kind: str) -> Iterable[dict]:
    loose = [file for file in files if "/" not in file]
    if loose:
        raise StudyError(
            f"labels: {kind}, but {len(loose)} images lie directly in '{root}' (e.g. {loose[0]}); "
            "move them into class folders or set labels: none"
        )
    names = sorted({file.split("/")[0] for file in files})
    number = {name: i for i, name in enumerate(_synsets() if kind == "synsets" else names)}
    if strange := [name for name in names if name not in number]:
        raise StudyError(
            f"labels: synsets, but {len(strange)} folders of '{root}' are no classes of "
            f"ImageNet-1k (e.g. {strange[0]}); use labels: folders or a CSV file"
        )
    for file in files:
        name = file.split("/")[0]
        yield {"path": file, "label": number[name], "label_name": name}


def _synsets() -> list[str]:
    """WordNet ids of ImageNet-1k in the order of its classes."""
    from timm.data import ImageNetInfo  # here, because it brings torch

    return ImageNetInfo("imagenet-1k").label_names()


def _listed(file: str, columns: dict[str, str]) -> Iterable[dict]:
    names = {"file": "file", "label": "label", "label_name": "label_name", **columns}
    try:
        with open(file, newline="") as handle:
            reader = csv.DictReader(handle)
            have = reader.fieldnames or []
            for role in ("file", "label"):
                if names[role] not in have:
                    raise StudyError(
                        f"{file}: has no column '{names[role]}' for the {role}; "
                        f"its columns: {', '.join(have)} (config key: datasets, columns)"
                    )
            seen = set()
            for row in reader:
                path, label = row[names["file"]], row[names["label"]]
                if path in seen:
                    raise StudyError(f"{file}, line {reader.line_num}: '{path}' is listed twice")
                seen.add(path)
                if not label.isdigit():
                    raise StudyError(f"{file}, line {reader.line_num}: label '{label}' is no class")
                name = row.get(names["label_name"]) or label
                yield {"path": path, "label": int(label), "label_name": name}
    except FileNotFoundError:
        raise StudyError(f"the index file '{file}' does not exist (datasets, labels)") from None


def _facts(path: Path) -> dict:
    """Header facts and checksum of one file; pixels are decoded later, when it is sampled."""
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        with Image.open(path) as image:
            (width, height), mode = image.size, image.mode
        problem = ""
    except FileNotFoundError:
        width, height, mode, digest, problem = 0, 0, "", "", "the file does not exist"
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        reason = str(error).replace(str(path), path.name)
        width, height, mode, problem = 0, 0, "", f"is not an image ({reason})"
    size = path.stat().st_size if path.exists() else 0
    return {
        "width": width, "height": height, "mode": mode, "bytes": size, "sha256": digest,
        "problem": problem,
    }  # fmt: skip


def sample(
    manifest: pd.DataFrame,
    root: str,
    images: int | str,
    seed: int,
    on_bad_image: str,
    threads: int = 4,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[pd.DataFrame, list[dict]]:
    """The first ``images`` good files of a seeded permutation, in the order of the manifest.

    Every sampled file is decoded once here, so that each later job, whatever its geometry, works
    on the same images. With ``on_bad_image="skip"`` a bad file is passed over and the next of the
    permutation takes its place.

    Returns:
        the sampled rows, and the skipped files as ``{"image_id", "problem"}``.

    Raises:
        StudyError: a bad file with ``on_bad_image="fail"`` (all found are named), or too few.
    """
    want = len(manifest) if images == "all" else int(images)
    if want > len(manifest):
        raise StudyError(
            f"the study asks for {want} images, '{root}' has {len(manifest)}; set images to that "
            "number or to 'all' (config key: datasets, images)"
        )
    order = np.random.default_rng(seed).permutation(len(manifest))
    good, skipped, problems = [], [], manifest["problem"].fillna("")

    def check(row: int) -> str:
        if problems.iloc[row]:
            return problems.iloc[row]
        try:
            load_rgb(Path(root) / manifest["path"].iloc[row])
            return ""
        except BadImage as error:
            return str(error).split(": ", 1)[1]

    with ThreadPoolExecutor(threads) as pool:
        position = 0
        while len(good) < want and position < len(order):
            batch = order[position : position + min(want - len(good), 64 * threads)]
            position += len(batch)
            for row, problem in zip(batch, pool.map(check, batch), strict=True):
                if problem:
                    skipped.append({"image_id": manifest["image_id"].iloc[row], "problem": problem})
                else:
                    good.append(row)
            if skipped and on_bad_image == "fail":
                named = "; ".join(f"{bad['image_id']}: {bad['problem']}" for bad in skipped[:5])
                raise StudyError(
                    f"{len(skipped)} bad image(s) below '{root}': {named}. Mend or remove them, or "
                    "set on_bad_image: skip to go on without them (they will be counted)"
                )
            progress(len(good), want)
    if len(good) < want and images != "all":
        raise StudyError(
            f"only {len(good)} of {want} images below '{root}' can be decoded; "
            f"{len(skipped)} are bad, e.g. {skipped[0]['image_id']}: {skipped[0]['problem']}"
        )
    if not good:
        raise StudyError(f"not one image below '{root}' can be decoded")
    return manifest.iloc[sorted(good)].drop(columns="problem"), skipped
