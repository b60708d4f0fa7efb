"""Data sets as they lie on clusters: folders, WebDataset tars, Hugging Face parquet exports.

Each layout is listed into the same columns, without reading a pixel: ``name`` (the image's name in
the set), ``path``, ``offset`` and ``bytes`` (where its bytes are;
:mod:`tokenscope.images.location`), and ``class_name`` (empty where the set has none).
"""

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd

from tokenscope.datasets import label_files
from tokenscope.datasets.label_space import WNID, named, synset_list
from tokenscope.errors import StudyError
from tokenscope.images.location import WHOLE, folder_of

EXTENSIONS = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".jp2"}
COLUMNS = ["name", "path", "offset", "bytes", "class_name"]
MOST_SHARDS = 100_000
_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
_HF_SUFFIX = re.compile(rf"_({WNID.pattern})$")
# A WordNet id that begins a file's name, or names its folder.
WNID_IN_NAME = re.compile(rf"(?:^|/)({WNID.pattern})[_/]")

Progress = Callable[[int, int], None]


def files(source: dict, threads: int, progress: Progress) -> pd.DataFrame:
    """A tree of image files; classes are its first folders or come from a label file."""
    root, labels = source["path"], source.get("labels", "none")
    if not Path(root).is_dir():
        raise StudyError(f"the image folder '{root}' does not exist (config key: datasets, path)")
    paths = sorted(walk(root))
    progress(len(paths), len(paths))
    if labels == "folders":
        if loose := [file for file in paths if "/" not in file]:
            raise StudyError(
                f"labels: folders, but {len(loose)} images lie directly in '{root}' (e.g. "
                f"{loose[0]}); move them into class folders or set labels: none"
            )
        classes = [file.split("/", 1)[0] for file in paths]
        names = [file.split("/", 1)[1] for file in paths]
    elif labels == "none":
        classes, names = [""] * len(paths), paths
    else:
        classes, names = label_files.ground_truth(labels, paths, source.get("synsets")), paths
    return pd.DataFrame(
        {"name": names, "path": paths, "offset": WHOLE, "bytes": 0, "class_name": classes}
    )


def walk(root: str) -> Iterator[str]:
    """Image files below ``root``, relative; scandir spares a stat call per file.

    Raises:
        StudyError: a folder cannot be read, or is there twice, by a link.
    """
    stack: list[str] = [""]
    seen: dict[tuple[int, int], str] = {}
    while stack:
        folder = stack.pop()
        try:
            facts = os.stat(os.path.join(root, folder))
            first = seen.setdefault((facts.st_dev, facts.st_ino), folder)
            if first != folder:
                raise StudyError(
                    f"'{root}': '{folder}' is the folder '{first or '.'}' once more, by a link: "
                    "its images would count twice, or without end; remove the link"
                )
            with os.scandir(os.path.join(root, folder)) as entries:
                for entry in entries:
                    name = f"{folder}/{entry.name}" if folder else entry.name
                    if entry.name.startswith("."):
                        continue
                    check_name(name, root)
                    if entry.is_dir():
                        stack.append(name)
                    elif os.path.splitext(entry.name)[1].lower() in EXTENSIONS:
                        yield name
        except OSError as error:
            raise StudyError(f"'{root}': '{folder}' cannot be listed ({error})") from None


def check_name(name: str, where: str) -> None:
    """Raise a StudyError where a name is one that no table can keep."""
    if name.isprintable():
        return
    if any("\ud800" <= letter <= "\udfff" for letter in name):
        raise StudyError(f"'{where}': the name {ascii(name)} is no UTF-8: rename it")
    if any(letter < " " or letter == "\x7f" for letter in name):
        raise StudyError(f"'{where}': the name {name!r} holds control letters: rename it")


def with_classes(table: pd.DataFrame, source: dict, own: dict[int, str]) -> pd.DataFrame:
    """Class names from what each image says: its own, its name's WordNet id, its number's name."""
    if not len(table):  # for whoever asked to say so
        return table[COLUMNS]
    where, listed = source["path"], own
    if source.get("synsets"):
        listed = synset_list(source["synsets"])
    suffix = table["name"].str.extract(_HF_SUFFIX, expand=False)
    prefix = table["name"].str.extract(WNID_IN_NAME, expand=False)
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
        width, count = len(match[1]), int(match[2]) - int(match[1]) + 1
        if not 0 < count <= MOST_SHARDS:
            raise StudyError(
                f"'{path}': from {match[1]} to {match[2]} are {max(0, count)} files, not 1 to "
                f"{MOST_SHARDS} (config key: datasets, path)"
            )
        every = [
            f"{path[: match.start()]}{i:0{width}d}{path[match.end() :]}"
            for i in range(int(match[1]), int(match[2]) + 1)
        ]
        if lost := [file for file in every if not os.path.exists(file)]:
            raise StudyError(f"'{path}': {len(lost)} of {len(every)} files are missing: {lost[0]}")
        return root, _regular(root, [os.path.relpath(file, root) for file in every])
    pattern = f"*{suffix}" if root == path else os.path.relpath(path, root)
    shards = [p.relative_to(root).as_posix() for p in Path(root).glob(pattern)]
    if not shards:
        raise StudyError(f"there is no {suffix} file at '{path}' (config key: datasets, path)")
    return root, _regular(root, sorted(shards))


def _regular(root: str, shards: list[str]) -> list[str]:
    """The same, no pipe and no folder among them: opening a pipe would wait for ever."""
    for shard in shards:
        if not os.path.isfile(os.path.join(root, shard)):
            raise StudyError(f"'{os.path.join(root, shard)}' is no regular file")
    return shards
