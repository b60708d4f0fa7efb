"""Data sets as they lie on clusters: folders, WebDataset tars, Hugging Face parquet exports.

Each layout is listed into the same columns, without reading a pixel: ``name`` (the image's name in
the set), ``path``, ``offset`` and ``bytes`` (where its bytes are;
:mod:`tokenscope.images.location`), and ``class_name`` (empty where the set has none).
"""

import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from tokenscope.datasets import label_files
from tokenscope.datasets.label_space import WNID, named, synset_list
from tokenscope.datasets.listing import walk
from tokenscope.errors import StudyError
from tokenscope.images.location import WHOLE

COLUMNS = ["name", "path", "offset", "bytes", "class_name"]
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
