"""ImageNet labels of a flat folder: label files beside it, in the forms in which they are found.

The devkit's ground truth (devkit order), ``val.txt``, Kaggle's CSV, and lists of one's own.
"""

import csv
import re
from pathlib import Path, PurePosixPath

from tokenscope.datasets.label_space import WNID, synset_list
from tokenscope.errors import StudyError

_NUMBER = re.compile(r"(\d+)\D*$")


def listed(file: str, columns: dict[str, str]) -> list[dict]:
    """The images that a CSV file lists, as ``path``, ``label`` and ``label_name``.

    A ``label`` column of numbers is taken as it is; one of names leaves ``label`` at -1, to be
    numbered by name.

    Raises:
        StudyError: no such file, a column that is not there, an image that is listed twice.
    """
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
            rows, seen = [], set()
            for row in reader:
                path, label = row[names["file"]], row[names["label"]]
                if path in seen:
                    raise StudyError(f"{file}, line {reader.line_num}: '{path}' is listed twice")
                seen.add(path)
                if not label:
                    raise StudyError(f"{file}, line {reader.line_num}: '{path}' has no label")
                number = int(label) if label.isdigit() else -1
                name = row.get(names["label_name"]) or label
                rows.append({"path": path, "label": number, "label_name": name})
    except FileNotFoundError:
        raise StudyError(f"the index file '{file}' does not exist (datasets, labels)") from None
    if len({row["label"] < 0 for row in rows}) > 1:
        raise StudyError(f"{file}: some labels are numbers and some are names")
    return rows


def ground_truth(file: str, files: list[str], synsets: str | None) -> list[str]:
    """Class name of each of ``files``, from a validation set's label file.

    Understood are, one per line: a number (the devkit's ``ILSVRC2012_validation_ground_truth.txt``,
    whose numbers are the devkit's ``ILSVRC2012_ID``); a WordNet id; a file and a number or WordNet
    id (``val.txt``); and the CSV ``LOC_val_solution.csv``. Lines without a file name belong to the
    images by the number at the end of their names, not by the order in which a folder lists them.

    Raises:
        StudyError: images and lines do not go together, or numbers without a list of their names.
    """
    path = Path(file)
    if not path.is_file():
        raise StudyError(f"the label file '{file}' does not exist (config key: datasets, labels)")
    lines = [line.split() for line in path.read_text().splitlines() if line.strip()]
    if lines and ",".join(lines[0]).startswith("ImageId,"):
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
        by_name = {PurePosixPath(name).stem: label for name, label in lines}
        if lost := [f for f in files if PurePosixPath(f).stem not in by_name]:
            raise StudyError(f"{file}: has no line for {len(lost)} images, e.g. {lost[0]}")
        labels = list(by_name.values())
        of_file = [by_name[PurePosixPath(f).stem] for f in files]
    if not all(label.isdigit() for label in labels):
        if wrong := [label for label in labels if label.isdigit()]:
            raise StudyError(f"{file}: some labels are numbers ({wrong[0]}) and some are names")
        return of_file
    return _names(file, of_file, synsets, devkit=len(lines[0]) == 1)


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
