"""WebDataset shards: tars of images with their labels beside them, listed without unpacking."""

import json
import os
import posixpath
import tarfile
from functools import partial

import pandas as pd

from tokenscope.datasets.label_space import class_number
from tokenscope.datasets.layouts import WNID_IN_NAME, Progress, with_classes
from tokenscope.datasets.listing import EXTENSIONS, shards_of
from tokenscope.errors import StudyError
from tokenscope.images.workers import forked_pool

# The fields of a tar's JSON in which exports keep a class, most telling first.
NUMBERS, NAMES = ("label", "cls", "class_index"), ("wnid", "synset", "class_name", "label_name")


def tars(source: dict, threads: int, progress: Progress) -> pd.DataFrame:
    """WebDataset shards: one image per key, its label in ``.cls`` or ``.json`` beside it.

    Only headers and labels are read; images are later read at their offsets, nothing is unpacked.

    Raises:
        StudyError: a shard that is compressed, cut off or corrupt, a key without image or label.
    """
    root, shards = shards_of(source["path"], ".tar")
    with forked_pool(min(threads, len(shards))) as pool:
        tables = []
        for table in pool.map(partial(_scan, root), shards):
            tables.append(table)
            progress(len(tables), len(shards))
    return with_classes(pd.concat(tables, ignore_index=True), source, {})


def _scan(root: str, shard: str) -> pd.DataFrame:
    path, rows = os.path.join(root, shard), {}
    size = os.path.getsize(path)
    try:
        tar = tarfile.open(path, "r:")  # noqa: SIM115
    except (tarfile.TarError, OSError, ValueError) as error:
        raise StudyError(
            f"{path}: is not an uncompressed tar ({error}); compressed ones have no random access"
        ) from None
    with tar, open(path, "rb") as raw:
        while True:
            try:
                member = tar.next()
            except (tarfile.TarError, OSError, ValueError) as error:
                raise StudyError(f"{path}: damaged at byte {tar.offset} ({error})") from None
            if member is None:
                break
            tar.members = []  # else the list of all members is kept
            if member.isdir():
                continue
            if not member.isreg() or member.issparse():
                raise StudyError(
                    f"{path}: {member.name} is no plain file but a link, a device or sparse: "
                    "write the tar anew with the files themselves"
                )
            if member.offset_data + member.size > size:
                raise StudyError(f"{path}: cut off within the member {member.name}")
            folder, _, base = member.name.rpartition("/")
            stem, _, extension = base.partition(".")
            key = posixpath.normpath(f"{folder}/{stem}").lstrip("/")
            row = rows.setdefault(key, {"number": -1, "class": ""})
            if f".{extension.lower()}" in EXTENSIONS:
                if "offset" in row:
                    raise StudyError(f"{path}: the key {folder}/{stem} has two images")
                row |= {"offset": member.offset_data, "bytes": member.size}
            elif extension in ("cls", "json"):
                raw.seek(member.offset_data)
                _take_label(row, extension, raw.read(member.size), f"{path}: {member.name}")
        # Python's tarfile takes a damaged header for the end of the archive.
        raw.seek(tar.offset)
        if raw.read(512) != bytes(512):
            raise StudyError(f"{path}: damaged or cut off at byte {tar.offset} of {size}")
    if empty := [key for key, row in rows.items() if "offset" not in row]:
        raise StudyError(f"{path}: {len(empty)} keys have no image, e.g. {empty[0]}")
    return pd.DataFrame({
        "name": list(rows),
        "path": shard,
        "offset": [row["offset"] for row in rows.values()],
        "bytes": [row["bytes"] for row in rows.values()],
        "number": [row["number"] for row in rows.values()],
        "class_name": [row["class"] for row in rows.values()],
    })  # fmt: skip


def _take_label(row: dict, extension: str, content: bytes, where: str) -> None:
    try:
        if extension == "cls":
            text = content.decode().strip()
            number = class_number(text, where)
            label, name = (-1, text) if number is None else (number, "")
        else:
            facts = json.loads(content)
            numbers = [class_number(facts[k], where) for k in NUMBERS if k in facts]
            label = next((n for n in numbers if n is not None), -1)
            name = next((facts[k] for k in NAMES if isinstance(facts.get(k), str)), "")
            if not name and (told := WNID_IN_NAME.search(str(facts.get("filename", "")))):
                name = told[1]  # timm's ImageNet tars keep the name of the original file
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise StudyError(f"{where}: cannot be read as a label ({error})") from None
    if label >= 0 and row["number"] >= 0 and label != row["number"]:
        raise StudyError(f"{where}: says class {label}, the .cls beside it {row['number']}")
    row["number"], row["class"] = max(label, row["number"]), name or row["class"]
