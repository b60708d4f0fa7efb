"""ImageNet labels of a flat folder: label files beside it, in the forms in which they are found.

The devkit's ground truth (devkit order), ``val.txt``, Kaggle's CSV, and lists of one's own.
"""

import csv
import os
import posixpath
import re
from collections import defaultdict
from pathlib import PurePosixPath

from tokenscope.datasets.label_space import WNID, class_number, read_lines, synset_list
from tokenscope.errors import StudyError

_NUMBER = re.compile(r"(\d+)\D*$")


def listed(file: str, columns: dict[str, str], root: str = "") -> list[dict]:
    """The images that a CSV file lists, as ``path``, ``label`` and ``label_name``.

    A ``label`` column of numbers is taken as it is; one of names leaves ``label`` at -1, to be
    numbered by name. Paths are relative to the folder ``root`` of the images, and lie in it.

    Raises:
        StudyError: no such file, a column that is not there or there twice, an image that is listed
            twice or lies elsewhere, a label that is no whole number.
    """
    names = {"file": "file", "label": "label", "label_name": "label_name", **columns}
    try:
        with open(file, newline="", encoding="utf-8-sig") as handle:
            reader = csv.DictReader(handle)
            have = list(reader.fieldnames or [])
            if twice := [name for name in have if have.count(name) > 1]:
                raise StudyError(f"{file}: has the column '{twice[0]}' twice: which is meant?")
            if names["file"] == names["label"]:
                raise StudyError(f"{file}: one column for file and label (datasets, columns)")
            for role in ("file", "label"):
                if names[role] not in have:
                    raise StudyError(
                        f"{file}: has no column '{names[role]}' for the {role}; "
                        f"its columns: {', '.join(have)} (config key: datasets, columns)"
                    )
            rows, seen = [], set()
            for row in reader:
                where = f"{file}, line {reader.line_num}"
                if None in row or None in row.values():
                    raise StudyError(f"{where}: needs {len(have)} cells, as the first line has")
                path, label = _inside(row[names["file"]], root, where), row[names["label"]].strip()
                if path in seen:
                    raise StudyError(f"{where}: '{path}' is listed twice")
                seen.add(path)
                if not label or label == "-1":
                    raise StudyError(f"{where}: '{path}' has no label")
                number = class_number(label, where)
                number = -1 if number is None else number
                name = row.get(names["label_name"]) or label
                rows.append({"path": path, "label": number, "label_name": name})
    except FileNotFoundError:
        raise StudyError(f"the index file '{file}' does not exist (datasets, labels)") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise StudyError(f"the index file '{file}' is no CSV in UTF-8 ({error})") from None
    if len({row["label"] < 0 for row in rows}) > 1:
        raise StudyError(f"{file}: some labels are numbers and some are names")
    return rows


def _inside(path: str, root: str, where: str) -> str:
    """``path`` relative to ``root``, in the one way to write it."""
    plain = posixpath.normpath(path)
    if posixpath.isabs(plain):
        plain = posixpath.relpath(plain, os.path.abspath(root)) if root else plain
    if not path or plain == "." or plain.startswith("../") or posixpath.isabs(plain):
        raise StudyError(
            f"{where}: '{path}' is no file below '{root}' (config key: datasets, path)"
        )
    return plain


def ground_truth(file: str, files: list[str], synsets: str | None) -> list[str]:
    """Class name of each of ``files``, from a validation set's label file.

    Understood are, one per line: a number (the devkit's ``ILSVRC2012_validation_ground_truth.txt``,
    whose numbers are the devkit's ``ILSVRC2012_ID``); a WordNet id; a file and a number or WordNet
    id (``val.txt``); and the CSV ``LOC_val_solution.csv``. Lines without a file name belong to the
    images by the number at the end of their names, not by the order in which a folder lists them.

    Raises:
        StudyError: images and lines do not go together, or numbers without a list of their names.
    """
    what = "the label file (config key: datasets, labels)"
    lines = [line.split() for line in read_lines(file, what)]
    if ",".join(lines[0]).startswith("ImageId,"):
        lines = [" ".join(line).replace(",", " ").split()[:2] for line in lines[1:]]
    if not lines:
        raise StudyError(f"{file}: is empty")
    if len({len(line) for line in lines}) > 1 or len(lines[0]) > 2:
        raise StudyError(
            f"{file}: its lines are neither one label, nor a file and a label; for a CSV with "
            "other columns, see datasets: columns"
        )
    if len(lines[0]) == 1:
        labels = [line[0] for line in lines]
        of_file = _by_number(file, labels, files)
    else:
        labels = [label for _, label in lines]
        of_file = _by_name(file, lines, files)
    numbers = [class_number(label, file) for label in labels]
    if None in numbers:
        if wrong := [n for n in numbers if n is not None]:
            raise StudyError(f"{file}: some labels are numbers ({wrong[0]}) and some are names")
        return of_file
    if -1 in numbers:
        raise StudyError(f"{file}: the label -1 is no class: images without a label are in it")
    return _names(file, of_file, synsets, devkit=len(lines[0]) == 1)


def _by_name(file: str, lines: list[list[str]], files: list[str]) -> list[str]:
    """The label of each file by its path; by its name alone only where that names one line."""
    by_path: dict[str, str] = {}
    of_name: dict[str, list[str]] = defaultdict(list)
    for name, label in lines:
        path = _bare(name)
        if path in by_path:
            raise StudyError(f"{file}: has two lines for '{name}'")
        by_path[path] = label
        of_name[path.rpartition("/")[2]].append(path)
    labels, taken = [], {}
    for image in files:
        path = _bare(image)
        like = [path] if path in by_path else of_name.get(path.rpartition("/")[2], [])
        if not like:
            lost = [f for f in files if _bare(f).rpartition("/")[2] not in of_name]
            raise StudyError(f"{file}: has no line for {max(1, len(lost))} images, e.g. {image}")
        if len(like) > 1 or like[0] in taken:
            other = taken.get(like[0], like[-1])
            raise StudyError(
                f"{file}: its lines do not tell '{image}' from '{other}', which have one name in "
                "two folders: write the folders into it"
            )
        taken[like[0]] = image
        labels.append(by_path[like[0]])
    return labels


def _bare(path: str) -> str:
    """A path in the one way to write it, without the suffix."""
    plain = posixpath.normpath(path)
    return plain.removesuffix(PurePosixPath(plain).suffix)


def _by_number(file: str, labels: list[str], files: list[str]) -> list[str]:
    """Line i belongs to the image whose name ends in the number i, counted from 1."""
    if len(labels) != len(files):
        raise StudyError(
            f"{file}: has {len(labels)} labels for {len(files)} images: a label file of another "
            "set, or images are missing"
        )
    numbers = [_NUMBER.search(PurePosixPath(f).stem) for f in files]
    if any(n is None for n in numbers) or sorted(int(n[1]) for n in numbers) != list(
        range(1, len(files) + 1)
    ):
        raise StudyError(
            f"{file}: gives one label per line, so the images must be numbered from 1 to "
            f"{len(files)}, as ILSVRC2012_val_00000001.JPEG; their names are not (e.g. {files[0]})"
        )
    return [labels[int(n[1]) - 1] for n in numbers]


def _names(file: str, numbers: list[str], synsets: str | None, devkit: bool) -> list[str]:
    if not synsets:
        raise StudyError(
            f"{file}: gives class numbers, which mean nothing without the list they were numbered "
            "with: name it (config: datasets, synsets), for ImageNet's devkit its meta.mat"
        )
    listed = synset_list(synsets)
    if devkit and min(listed) == 0:
        if sorted(listed.values()) == list(listed.values()) and WNID.fullmatch(listed[0]):
            raise StudyError(
                f"{synsets}: is in alphabetical order, the devkit's numbers are not; give its "
                "meta.mat or map_clsloc.txt (config: datasets, synsets)"
            )
        listed = {i + 1: name for i, name in listed.items()}
    used = {int(n) for n in numbers}
    if beyond := used - set(listed):
        raise StudyError(
            f"{file}: the class numbers {sorted(beyond)[:5]} are not in {synsets}, which has "
            f"{min(listed)} to {max(listed)}: label file and list do not belong together"
        )
    return [listed[int(n)] for n in numbers]
