"""The classes of a head in their order, as a person has them: a list of names, folders, a table.

Where a data set and a backbone name the same list as their ``classes``, the data set is numbered by
it, and the backbone's own head is scored. A wrong order gives a plausible number: names decide.
"""

import csv
import json
from functools import cache
from pathlib import Path

from tokenscope.errors import StudyError

SUFFIXES = (".txt", ".csv", ".json")
_NUMBER = ("index", "number", "label", "class_index", "id")
_NAME = ("name", "label_name", "class", "class_name")


def is_list(classes: str) -> bool:
    """Whether ``classes`` names a file or a folder, not a label space."""
    return "/" in classes or Path(classes).suffix in SUFFIXES


@cache
def read(path: str) -> tuple[str, ...]:
    """Names of the classes, in the order of the head's outputs.

    Args:
        path: a folder, whose subfolders are the classes in alphabetical order (as torchvision's
            ImageFolder numbers them); a text file with a name per line; a CSV table with a column
            ``name`` and, if its lines are in another order, one of numbers, ``index``; or JSON: a
            list, names by number or numbers by name, or the ``config.json`` of transformers.

    Raises:
        StudyError: no such list, one of another form, a class twice, numbers with a gap.
    """
    file = Path(path)
    if file.is_dir():
        names = sorted(entry.name for entry in file.iterdir() if entry.is_dir())
    elif not file.is_file():
        raise StudyError(f"there is no list of classes '{path}' (classes)")
    else:
        try:
            text = file.read_text(encoding="utf-8-sig")
            read_as = {".csv": _table, ".json": _json}.get(file.suffix, _lines)
            names = read_as(text, path)
        except (OSError, ValueError, RecursionError) as error:
            raise StudyError(f"the list of classes '{path}' cannot be read ({error})") from None
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise StudyError(f"the list of classes '{path}' names '{twice[0]}' twice")
    if len(names) < 2:
        raise StudyError(f"the list of classes '{path}' names {len(names)} classes")
    return tuple(names)


def _lines(text: str, _path: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def _table(text: str, path: str) -> list[str]:
    rows = list(csv.DictReader(text.splitlines()))
    columns = list(rows[0]) if rows else []
    name = next((column for column in _NAME if column in columns), None)
    if name is None:
        raise StudyError(f"the list of classes '{path}' has no column {' or '.join(_NAME)}")
    number = next((column for column in _NUMBER if column in columns), None)
    if number is None:
        return [row[name] for row in rows]
    return _ordered({row[number]: row[name] for row in rows}, path)


def _json(text: str, path: str) -> list[str]:
    said = json.loads(text)
    said = said.get("id2label", said) if isinstance(said, dict) else said
    if isinstance(said, list):
        return [str(name) for name in said]
    if not isinstance(said, dict):
        raise StudyError(f"the list of classes '{path}' holds neither a list nor names by number")
    if all(isinstance(number, int) for number in said.values()):
        said = {number: name for name, number in said.items()}
    return _ordered(said, path)


def _ordered(names: dict, path: str) -> list[str]:
    by_number = {int(number): str(name) for number, name in names.items()}
    if sorted(by_number) != list(range(len(by_number))):
        raise StudyError(f"the list of classes '{path}' does not number them from 0 without a gap")
    return [by_number[number] for number in range(len(by_number))]
