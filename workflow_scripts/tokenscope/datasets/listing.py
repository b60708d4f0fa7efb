"""Files of a data set by their names alone: image files of a tree, tars and tables of a pattern.

Nothing heavy is imported here: Snakemake asks while it plans.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from tokenscope.errors import StudyError
from tokenscope.images.location import folder_of

EXTENSIONS = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".jp2"}
MOST_SHARDS = 100_000
_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")


def walk(root: str) -> Iterator[str]:
    """Image files below ``root``, relative. Raises StudyError as :func:`tree`."""
    for _, _, _, images in tree(root):
        yield from images


def tree(root: str) -> Iterator[tuple[str, int, list[str], list[str]]]:
    """Each folder below ``root``, when it was changed last (ns), folders and image files in it.

    Paths are relative to ``root``.

    Raises:
        StudyError: a folder cannot be read, or is there twice, by a link.
    """
    stack: list[str] = [""]
    seen: dict[tuple[int, int], str] = {}
    while stack:
        folder = stack.pop()
        try:
            facts = os.stat(os.path.join(root, folder))
        except OSError as error:
            raise StudyError(f"'{root}': '{folder}' cannot be listed ({error})") from None
        first = seen.setdefault((facts.st_dev, facts.st_ino), folder)
        if first != folder:
            raise StudyError(
                f"'{root}': '{folder}' is the folder '{first or '.'}' once more, by a link: "
                "its images would count twice, or without end; remove the link"
            )
        folders, images = listed(root, folder)
        stack += folders
        yield folder, facts.st_mtime_ns, folders, images


def listed(root: str, folder: str) -> tuple[list[str], list[str]]:
    """Folders and image files in one folder below ``root``, both relative to ``root``.

    scandir spares a stat call per file.

    Raises:
        StudyError: it cannot be read, or a name is one that no table can keep.
    """
    folders, images = [], []
    try:
        with os.scandir(os.path.join(root, folder)) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                name = f"{folder}/{entry.name}" if folder else entry.name
                check_name(name, root)
                if entry.is_dir():
                    folders.append(name)
                elif os.path.splitext(entry.name)[1].lower() in EXTENSIONS:
                    images.append(name)
    except OSError as error:
        raise StudyError(f"'{root}': '{folder}' cannot be listed ({error})") from None
    return folders, images


def check_name(name: str, where: str) -> None:
    """Raise a StudyError where a name is one that no table can keep."""
    if name.isprintable():
        return
    if any("\ud800" <= letter <= "\udfff" for letter in name):
        raise StudyError(f"'{where}': the name {ascii(name)} is no UTF-8: rename it")
    if any(letter < " " or letter == "\x7f" for letter in name):
        raise StudyError(f"'{where}': the name {name!r} holds control letters: rename it")


def lists_images(labels: str) -> bool:
    """Whether a file of labels is a list of the images, too: a CSV other than Kaggle's.

    LOC_val_solution.csv, whose second column needs parsing, goes by its first line.
    """
    if not labels.endswith(".csv"):
        return False
    if not os.path.isfile(labels):
        return True
    with open(labels, errors="replace") as handle:
        return not handle.readline().startswith("ImageId,")


def shards_of(path: str, suffix: str) -> tuple[str, list[str]]:
    """Folder and sorted file names of a folder, a glob, or a brace pattern ``{000..146}``.

    Raises:
        StudyError: no such file; of a brace pattern the first that is missing is named.
    """
    root = folder_of(path)
    if os.path.isfile(path):  # whatever letters its name has
        return root, [os.path.relpath(path, root)]
    pattern = f"*{suffix}" if root == path else os.path.relpath(path, root)
    if match := _RANGE.search(pattern):
        width, count = len(match[1]), int(match[2]) - int(match[1]) + 1
        if not 0 < count <= MOST_SHARDS:
            raise StudyError(
                f"'{path}': from {match[1]} to {match[2]} are {max(0, count)} files, not 1 to "
                f"{MOST_SHARDS} (config key: datasets, path)"
            )
        every = [
            f"{pattern[: match.start()]}{i:0{width}d}{pattern[match.end() :]}"
            for i in range(int(match[1]), int(match[2]) + 1)
        ]
        if lost := [file for file in every if not os.path.exists(os.path.join(root, file))]:
            first = os.path.join(root, lost[0])
            raise StudyError(f"'{path}': {len(lost)} of {len(every)} files are missing: {first}")
        return root, _regular(root, every)
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
