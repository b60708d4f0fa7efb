"""Class numbers by name, since they come in devkit order, in timm's and in those of other sets.

Where a classifier's order is known, names decide and numbers are checked. Data sets number their
classes in orders of their own (the devkit order of ILSVRC is not timm's), and a wrong order gives a
plausible-looking zero. A set that says ``classes: imagenet-1k`` therefore takes its numbers from
timm's list of synsets, by name.
"""

import re
from collections import defaultdict
from collections.abc import Iterable
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from tokenscope.cards import class_list
from tokenscope.errors import StudyError, closest, some

KNOWN = {"imagenet-1k": "imagenet_synsets.txt"}
WNID = re.compile(r"n\d{8}")
MOST_CLASSES = 1_000_000  # a larger number is an id of something else
_NUMBERLIKE = re.compile(r"[+-]?[\d.][\d._]*(e[+-]?\d+)?", re.IGNORECASE)


def class_number(value: object, where: str) -> int | None:
    """The class number that a label gives, -1 where it gives none, None where it is a name.

    Raises:
        StudyError: a number that is no whole one, or no number of a class, or no label at all.
    """
    text = isinstance(value, str)
    if value is None or value == -1:
        return -1
    if text and not _NUMBERLIKE.fullmatch(value):
        return None
    if text:
        whole = value.isascii() and value.isdigit() and len(value) <= 20
    elif isinstance(value, float):
        whole = value.is_integer()
    else:
        whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not whole:
        raise StudyError(f"{where}: the label {str(value)[:40]!r} is no whole class number")
    number = int(value)
    if not 0 <= number < MOST_CLASSES:
        raise StudyError(
            f"{where}: the label {number} is no class number from 0 to {MOST_CLASSES - 1}"
        )
    return number


def read_lines(file: str, what: str) -> list[str]:
    """The lines of a text file that hold anything. Raises StudyError where there are none."""
    try:
        content = Path(file).read_text(encoding="utf-8-sig") if Path(file).is_file() else None
    except (OSError, UnicodeDecodeError) as error:
        raise StudyError(f"{what} '{file}' cannot be read as text ({error})") from None
    if content is None:
        raise StudyError(f"{what} '{file}' does not exist")
    lines = [line for line in content.splitlines() if line.strip()]
    if not lines:
        raise StudyError(f"{what} '{file}' is empty")
    return lines


def numbered(
    names: Iterable[str], space: str, subset: bool, where: str
) -> dict[str, tuple[int, str]]:
    """Class number and class name, as this workflow keeps them, of each name found in a set.

    Args:
        names: the distinct names of the set: WordNet ids, or their lemmas.
        space: the data set's ``classes``. Of a known space the numbers are timm's, of a list of
            classes its own, and every class must occur; any other is numbered in the order of its
            sorted names.
        subset: whether a known space may lack classes.
        where: named in errors.

    Raises:
        StudyError: a name the space does not have, or a class of the space without an image.
    """
    distinct = sorted(set(names))
    if class_list.is_list(space):
        return _by_list(distinct, space, subset, where)
    if space not in KNOWN:
        return {name: (i, name) for i, name in enumerate(distinct)}
    synsets, lemmas = _timm_list(space)
    number = {wnid: i for i, wnid in enumerate(synsets)}
    chosen = {}
    for name in distinct:
        if name in number:
            chosen[name] = (number[name], name)
        elif len(same := lemmas.get(name, ())) == 1:
            chosen[name] = (number[same[0]], same[0])
        elif same:
            raise StudyError(
                f"{where}: the name '{name}' means several classes of {space} ({', '.join(same)}): "
                "use WordNet ids, or list them in a file (config key: datasets, synsets)"
            )
        elif name.isdigit():
            raise StudyError(
                f"{where}: gives class numbers of {space} without names, so that their order "
                "cannot be checked: name the list they refer to (config key: datasets, synsets); "
                f"timm's own order is in {_timm_folder() / KNOWN[space]}"
            )
        else:
            near = closest(name, [*number, *lemmas], 2)
            raise StudyError(
                f"{where}: '{name}' is no class of {space} (nearest: {near}); give WordNet ids, "
                "or leave the key classes out for a set of other classes"
            )
    lacking = set(synsets) - {wnid for _, wnid in chosen.values()}
    if lacking and not subset:
        named = ", ".join(f"{w} ({lemma(w)})" for w in sorted(lacking)[:5])
        raise StudyError(
            f"{where}: {len(lacking)} of the {len(synsets)} classes of {space} have no image: "
            f"{named}{' ...' if len(lacking) > 5 else ''}. Add them, or say subset: true"
        )
    return chosen


def _by_list(
    distinct: list[str], space: str, subset: bool, where: str
) -> dict[str, tuple[int, str]]:
    """The same, by a list of classes in an order of its own."""
    listed = class_list.read(space)
    number = {name: i for i, name in enumerate(listed)}
    for name in distinct:
        if name not in number:
            near = closest(name, list(listed), 2)
            raise StudyError(f"{where}: '{name}' is no class of '{space}' (nearest: {near})")
    lacking = [name for name in listed if name not in distinct]
    if lacking and not subset:
        raise StudyError(
            f"{where}: {len(lacking)} of the {len(listed)} classes of '{space}' have no image: "
            f"{some(lacking, 5)}. Add them, or say subset: true"
        )
    return {name: (number[name], name) for name in distinct}


def check_numbers(
    labels: Iterable[int], names: Iterable[str], space: str, subset: bool, where: str
) -> None:
    """Raise a StudyError unless listed numbers of a known space belong to their names in timm.

    Of a list of classes, to the names in the list.
    """
    if space not in KNOWN and not class_list.is_list(space):
        return
    pairs = sorted(set(zip(labels, names, strict=True)))
    if all(str(label) == name for label, name in pairs):
        raise StudyError(
            f"{where}: gives class numbers of {space} without names, so that their order cannot "
            "be checked; name a column with WordNet ids or lemmas (datasets, columns, label_name)"
        )
    if class_list.is_list(space):
        order = _by_list([name for _, name in pairs], space, subset, where)
        if wrong := [(n, name) for n, name in pairs if order[name][0] != n]:
            label, name = wrong[0]
            raise StudyError(
                f"{where}: class {label} is called '{name}', which is {order[name][0]} in "
                f"'{space}': the numbers are in another order, or the names are wrong"
            )
        return
    # A lemma that two classes share is fine here: the number says which is meant.
    synsets, lemmas = _timm_list(space)
    for label, name in pairs:
        if label >= len(synsets) or name not in (synsets[label], lemma(synsets[label])):
            right = f"'{lemma(synsets[label])}'" if label < len(synsets) else "beyond its end"
            raise StudyError(
                f"{where}: class {label} is called '{name}', but {label} is {right} in timm's "
                f"{space}: the numbers are in another order, or the names are wrong"
            )
    numbered([synsets[label] for label, _ in pairs], space, subset, where)


def named(numbers: np.ndarray, names: list[str], listed: dict[int, str], where: str) -> list[str]:
    """One class name per image, from names, from numbers and a list, or both when they agree.

    Args:
        numbers: (image,) as the set gives them, -1 where it does not.
        names: names found beside the images, empty where there is none.
        listed: names by number, from a file of the user or of the set; may be empty.

    Raises:
        StudyError: an image with neither, or a number that goes with two names.
    """
    known: dict[int, str] = dict(listed)
    result = []
    for row, (number, name) in enumerate(zip(numbers.tolist(), names, strict=True)):
        if number < 0 and not name:
            raise StudyError(f"{where}: image {row} (from 0) has no label")
        if number >= 0 and name and known.setdefault(number, name) != name:
            raise StudyError(
                f"{where}: class number {number} goes with '{known[number]}' and with '{name}': "
                "its labels do not belong to its images, or its list is in another order"
            )
        result.append(name or known.get(number, ""))
    if "" in result:  # numbers that only other images, or none, have named
        result = [name or known.get(int(n), "") for name, n in zip(result, numbers, strict=True)]
    if listed and (lost := {int(n) for n, name in zip(numbers, result, strict=True) if not name}):
        raise StudyError(f"{where}: class numbers {sorted(lost)[:5]} are not in the list of names")
    told = np.array([bool(name) for name in result])
    if (told & (numbers < 0)).any() and not told.all():
        row = int(np.flatnonzero(~told)[0])
        raise StudyError(
            f"{where}: some labels are names, and that of image {row} (from 0) is the number "
            f"{numbers[row]}, which nothing names: give a list (config key: datasets, synsets)"
        )
    width = len(str(numbers.max(initial=0)))
    return [name or f"{int(n):0{width}d}" for name, n in zip(result, numbers, strict=True)]


def synset_list(file: str) -> dict[int, str]:
    """WordNet ids by class number, from a list that the set was numbered with.

    Understood are the devkit's ``meta.mat`` (numbers from 1), ``map_clsloc.txt`` (``wnid number
    name``), and plain lists (a wnid or a class name begins each line; numbered from 0).

    Raises:
        StudyError: no such file, or none of these.
    """
    if Path(file).suffix == ".mat" and Path(file).is_file():
        return _devkit(Path(file))
    what = "the list of classes (config key: datasets, synsets)"
    lines = [line.split() for line in read_lines(file, what)]
    if all(len(line) > 1 and WNID.fullmatch(line[0]) and line[1].isdecimal() for line in lines):
        listed = {int(line[1]): line[0] for line in lines}
    elif all(WNID.fullmatch(line[0]) for line in lines):
        listed = {i: line[0] for i, line in enumerate(lines)}
    else:
        listed = {i: " ".join(line) for i, line in enumerate(lines)}
    if len(set(listed.values())) < len(lines):
        raise StudyError(f"the list of classes '{file}' names a class or a number twice")
    return listed


def _devkit(path: Path) -> dict[int, str]:
    from scipy.io import loadmat

    try:
        synsets = loadmat(path, squeeze_me=True, struct_as_record=False)["synsets"]
        leaves = [s for s in np.atleast_1d(synsets) if s.num_children == 0]
        return {int(s.ILSVRC2012_ID): str(s.WNID) for s in leaves}
    except Exception as error:
        raise StudyError(
            f"{path}: is not the devkit's meta.mat ({error}); a text file with a WordNet id and "
            "its number per line (map_clsloc.txt) will do as well"
        ) from None


@cache
def _timm_list(space: str) -> tuple[list[str], dict[str, list[str]]]:
    """timm's wnids in the order of its classifiers, and the wnids that share a lemma.

    Read beside timm, not through it: importing timm imports torch, which listing files needs not.
    """
    synsets = (_timm_folder() / KNOWN[space]).read_text().split()
    same = defaultdict(list)
    for wnid in synsets:
        same[lemma(wnid)].append(wnid)
    return synsets, dict(same)


@cache
def _lemmas() -> dict[str, str]:
    lines = (_timm_folder() / "imagenet_synset_to_lemma.txt").read_text().splitlines()
    return dict(line.split("\t") for line in lines)


def lemma(wnid: str) -> str:
    """Words of a WordNet id, e.g. ``tench, Tinca tinca``."""
    return _lemmas()[wnid]


def _timm_folder() -> Path:
    return Path(find_spec("timm").origin).parent / "data" / "_info"
