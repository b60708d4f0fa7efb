"""Data sets as they lie on clusters: folders, WebDataset tars, Hugging Face parquet exports.

Each layout is listed into the same columns, without reading a pixel: ``name`` (the image's name in
the set), ``path``, ``offset`` and ``bytes`` (where its bytes are;
:mod:`tokenscope.images.location`), and ``class_name`` (empty where the set has none).
"""

import json
import os
import re
import tarfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

from tokenscope.errors import StudyError
from tokenscope.images import label_files as truth
from tokenscope.images.label_space import WNID, named, synset_list
from tokenscope.images.location import WHOLE, folder_of, forked_pool

EXTENSIONS = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".jp2"}
COLUMNS = ["name", "path", "offset", "bytes", "class_name"]
# The fields of a tar's JSON in which exports keep a class, most telling first.
NUMBERS, NAMES = ("label", "cls", "class_index"), ("wnid", "synset", "class_name", "label_name")
_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
_HF_SUFFIX = re.compile(rf"_({WNID.pattern})$")
# A WordNet id that begins a file's name, or names its folder.
_PREFIX = re.compile(rf"(?:^|/)({WNID.pattern})[_/]")

Progress = Callable[[int, int], None]


def files(source: dict, threads: int, progress: Progress) -> pd.DataFrame:
    """A tree of image files; classes are its first folders or come from a label file."""
    root, labels = source["path"], source.get("labels", "none")
    if not Path(root).is_dir():
        raise StudyError(f"the image folder '{root}' does not exist (config key: datasets, path)")
    found = sorted(walk(root))
    progress(len(found), len(found))
    if labels == "folders":
        if loose := [file for file in found if "/" not in file]:
            raise StudyError(
                f"labels: folders, but {len(loose)} images lie directly in '{root}' (e.g. "
                f"{loose[0]}); move them into class folders or set labels: none"
            )
        classes = [file.split("/", 1)[0] for file in found]
        names = [file.split("/", 1)[1] for file in found]
    elif labels == "none":
        classes, names = [""] * len(found), found
    else:
        classes, names = truth.ground_truth(labels, found, source.get("synsets")), found
    return pd.DataFrame(
        {"name": names, "path": found, "offset": WHOLE, "bytes": 0, "class_name": classes}
    )


def walk(root: str) -> Iterator[str]:
    """Image files below ``root``, relative; scandir spares a stat call per file."""
    stack = [""]
    while stack:
        folder = stack.pop()
        with os.scandir(os.path.join(root, folder)) as entries:
            for entry in entries:
                name = f"{folder}/{entry.name}" if folder else entry.name
                if entry.name.startswith("."):
                    continue
                if entry.is_dir():
                    stack.append(name)
                elif os.path.splitext(entry.name)[1].lower() in EXTENSIONS:
                    yield name


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
    return _with_classes(pd.concat(tables, ignore_index=True), source, {})


def _scan(root: str, shard: str) -> pd.DataFrame:
    path, rows = os.path.join(root, shard), {}
    size = os.path.getsize(path)
    try:
        tar = tarfile.open(path, "r:")  # noqa: SIM115
    except (tarfile.TarError, OSError) as error:
        raise StudyError(
            f"{path}: is not an uncompressed tar ({error}); compressed ones have no random access"
        ) from None
    with tar, open(path, "rb") as raw:
        while True:
            try:
                member = tar.next()
            except (tarfile.TarError, OSError) as error:
                raise StudyError(f"{path}: damaged at byte {tar.offset} ({error})") from None
            if member is None:
                break
            tar.members = []  # else the list of all members is kept
            if not member.isfile():
                continue
            if member.offset_data + member.size > size:
                raise StudyError(f"{path}: cut off within the member {member.name}")
            folder, _, base = member.name.rpartition("/")
            stem, _, extension = base.partition(".")
            row = rows.setdefault(f"{folder}/{stem}".lstrip("./"), {"number": -1, "class": ""})
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
            label, name = (int(text), "") if text.isdigit() else (-1, text)
        else:
            facts = json.loads(content)
            label = next((int(facts[k]) for k in NUMBERS if str(facts.get(k)).isdigit()), -1)
            name = next((facts[k] for k in NAMES if isinstance(facts.get(k), str)), "")
            if not name and (told := _PREFIX.search(str(facts.get("filename", "")))):
                name = told[1]  # timm's ImageNet tars keep the name of the original file
    except (ValueError, TypeError, AttributeError) as error:
        raise StudyError(f"{where}: cannot be read as a label ({error})") from None
    if label >= 0 and row["number"] >= 0 and label != row["number"]:
        raise StudyError(f"{where}: says class {label}, the .cls beside it {row['number']}")
    row["number"], row["class"] = max(label, row["number"]), name or row["class"]


def parquet(source: dict, threads: int, progress: Progress) -> pd.DataFrame:
    """A Hugging Face export: image bytes in a struct column, labels by the names of their feature.

    What the columns mean is the word of the ``datasets`` library; its loader would first write a
    second copy of the set, so the rows are read from the files where they lie. Only the labels and
    the names of the images are read here; ``offset`` is the row in its file.

    Raises:
        StudyError: a file that is cut off, has other columns, or disagrees with the others.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    root, shards = shards_of(source["path"], ".parquet")
    columns = {"file": "image", "label": "label", **source.get("columns", {})}
    image, label = columns["file"], columns["label"]
    tables, listed, first = [], None, ""
    for shard in shards:
        path = os.path.join(root, shard)
        try:
            with pq.ParquetFile(path) as file:
                schema = file.schema_arrow
                if lacking := {image, label} - set(schema.names):
                    raise StudyError(
                        f"{path}: has no column {sorted(lacking)}, only {schema.names} "
                        "(config key: datasets, columns: file and label)"
                    )
                has_path = pa.types.is_struct(schema.field(image).type)
                wanted = [label, *([f"{image}.path"] if has_path else [])]
                table = file.read(columns=wanted)
        except (pa.ArrowException, OSError) as error:
            raise StudyError(f"{path}: damaged or no parquet file ({error})") from None
        names = _class_label(schema, label)
        if listed is not None and names != listed:
            raise StudyError(f"{path}: its names of the classes differ from those of {first}")
        listed, first = names, first or path
        tables.append(_rows(table, image, label, shard, has_path))
        progress(len(tables), len(shards))
    return _with_classes(pd.concat(tables, ignore_index=True), source, listed)


def _rows(table, image: str, label: str, shard: str, has_path: bool) -> pd.DataFrame:
    rows, stem = np.arange(table.num_rows), PurePosixPath(shard).stem
    names = [f"{stem}-{row:06d}" for row in rows]
    if has_path:
        paths = [cell["path"] for cell in table[image].to_pylist()]
        names = [PurePosixPath(p).stem if p else n for p, n in zip(paths, names, strict=True)]
    labels = table[label].to_pylist()
    text = any(isinstance(value, str) for value in labels)
    return pd.DataFrame({
        "name": names, "path": shard, "offset": rows, "bytes": 0,
        "number": [-1 if text or value is None else int(value) for value in labels],
        "class_name": [value or "" for value in labels] if text else "",
    })  # fmt: skip


def _class_label(schema, label: str) -> dict[int, str]:
    """Names of the ClassLabel feature; none where ``datasets`` did not write the file."""
    import pyarrow as pa
    from datasets import ClassLabel, Features

    # Of this column alone: `datasets` has no word for some types that others may have.
    alone = pa.schema([schema.field(label)], metadata=schema.metadata)
    feature = Features.from_arrow_schema(alone)[label]
    return dict(enumerate(feature.names)) if isinstance(feature, ClassLabel) else {}


def _with_classes(table: pd.DataFrame, source: dict, own: dict[int, str]) -> pd.DataFrame:
    """Class names from what each image says: its own, its name's WordNet id, its number's name."""
    where, listed = source["path"], own
    if source.get("synsets"):
        listed = synset_list(source["synsets"])
    suffix = table["name"].str.extract(_HF_SUFFIX, expand=False)
    prefix = table["name"].str.extract(_PREFIX, expand=False)
    table["name"] = table["name"].str.replace(_HF_SUFFIX, "", regex=True)
    if source.get("labels") == "none":
        return table.assign(class_name="")[COLUMNS]
    # A name that only says where the image came from is of no use among names without numbers.
    wnid = suffix.fillna(prefix)
    if (table["class_name"] == "").all() and wnid.notna().all():
        table["class_name"] = wnid
        if listed and not all(WNID.fullmatch(name) for name in listed.values()):
            listed = {}  # lemmas: the WordNet ids say more
    table["class_name"] = named(
        table["number"].to_numpy(), table["class_name"].tolist(), listed, where
    )
    return table[COLUMNS]


def shards_of(path: str, suffix: str) -> tuple[str, list[str]]:
    """Folder and sorted file names of a folder, a glob, or a brace pattern ``{000..146}``.

    Raises:
        StudyError: no such file; of a brace pattern the first that is missing is named.
    """
    root = folder_of(path)
    if match := _RANGE.search(path):
        width = len(match[1])
        every = [
            f"{path[: match.start()]}{i:0{width}d}{path[match.end() :]}"
            for i in range(int(match[1]), int(match[2]) + 1)
        ]
        if lost := [file for file in every if not os.path.exists(file)]:
            raise StudyError(f"'{path}': {len(lost)} of {len(every)} files are missing: {lost[0]}")
        return root, [os.path.relpath(file, root) for file in every]
    pattern = f"*{suffix}" if root == path else os.path.relpath(path, root)
    found = [p.relative_to(root).as_posix() for p in Path(root).glob(pattern)]
    if not found:
        raise StudyError(f"there is no {suffix} file at '{path}' (config key: datasets, path)")
    return root, sorted(found)


LAYOUTS = {"imagefolder": files, "webdataset": tars, "parquet": parquet}
