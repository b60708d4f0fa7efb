"""Which images a data set has: an index of them all, and a seeded sample of them."""

from collections.abc import Callable
from pathlib import Path, PurePosixPath

import pandas as pd

from tokenscope.datasets import label_files
from tokenscope.datasets.label_space import check_numbers, numbered
from tokenscope.datasets.layouts import files
from tokenscope.datasets.listing import EXTENSIONS, check_name, lists_images
from tokenscope.datasets.parquet import parquet
from tokenscope.datasets.webdataset import tars
from tokenscope.errors import StudyError
from tokenscope.images.location import WHOLE

LAYOUTS = {"imagefolder": files, "webdataset": tars, "parquet": parquet}
COLUMNS = ["image_id", "path", "offset", "bytes", "label", "label_name"]
Progress = Callable[[int, int], None]


def index(
    source: dict, threads: int = 4, progress: Progress = lambda done, total: None
) -> pd.DataFrame:
    """Every image of a data set as one table (:data:`COLUMNS`), without opening one.

    The same images give the same rows in the same order in every layout: where classes have names,
    an image is called ``<class>/<name>`` without suffix, and rows are sorted by that. Images of a
    CSV list, or without classes, keep their paths; a list keeps its order.

    Args:
        source: ``type`` (a key of :data:`tokenscope.datasets.manifest.LAYOUTS`) and ``path``;
        further
            ``labels`` (``folders``, ``none``, or a file of labels), ``columns`` of a CSV or parquet
            file, ``synsets`` (the list that class numbers refer to), ``classes`` (the label space)
            and ``subset`` (whether a known label space may lack classes).
        threads: files listed at the same time.
        progress: called with files done and files in all.

    Raises:
        StudyError: nothing there, a damaged file, or labels that do not fit.
    """
    labels, where = source.get("labels", ""), source["path"]
    space, subset = source.get("classes", ""), source.get("subset", False)
    if lists_images(labels):
        table = _from_list(source)
        _check_names(table, labels)
        if (table["label"] < 0).any():
            chosen = numbered(table["label_name"].unique(), space, subset, labels)
            table[["label", "label_name"]] = [chosen[name] for name in table["label_name"]]
        else:
            check_numbers(table["label"], table["label_name"], space, subset, labels)
        return table[COLUMNS]
    table = LAYOUTS[source["type"]](source, threads, progress)
    if not len(table):
        raise StudyError(
            f"there is no image below '{where}' (looked for {', '.join(sorted(EXTENSIONS))})"
        )
    _check_names(table, where)
    if (table["class_name"] == "").all():
        table["label"], table["label_name"], table["image_id"] = -1, "", table["name"]
    else:
        chosen = numbered(table["class_name"].unique(), space, subset, where)
        table["label"] = table["class_name"].map({n: c[0] for n, c in chosen.items()})
        table["label_name"] = table["class_name"].map({n: c[1] for n, c in chosen.items()})
        table["image_id"] = _ids(table, source["type"] == "imagefolder")
    twice = table["image_id"].duplicated(keep=False)
    if twice.any():
        both = table.loc[twice].sort_values("image_id").iloc[:2]
        raise StudyError(
            f"'{where}': {int(twice.sum())} images share a name, e.g. '{both['image_id'].iloc[0]}' "
            f"in {both['path'].iloc[0]} and {both['path'].iloc[1]}: the set overlaps itself"
        )
    return table.sort_values("image_id", ignore_index=True)[COLUMNS]


def _check_names(table: pd.DataFrame, where: str) -> None:
    for column in ("name", "path", "class_name", "label_name"):
        for name in table.get(column, ()):
            check_name(name, where)


def _ids(table: pd.DataFrame, files: bool) -> pd.Series:
    """``<class>/<name>``: a tar's or table's own class folder gives way to the class."""
    name = table["name"]
    if files:
        bare = name.map(lambda n: n[: len(n) - len(PurePosixPath(n).suffix)])
    else:
        bare = name.str.rpartition("/")[2]
    ids = table["label_name"] + "/" + bare
    # In a folder, a.jpg and a.png are two images; of two folders, a.jpg and a.jpg.
    return ids.where(~ids.duplicated(keep=False), table["label_name"] + "/" + name)


def _from_list(source: dict) -> pd.DataFrame:
    if not Path(source["path"]).is_dir():
        raise StudyError(
            f"the image folder '{source['path']}' does not exist (config key: datasets, path)"
        )
    rows = label_files.listed(source["labels"], source.get("columns", {}), source["path"])
    table = pd.DataFrame(rows)
    if not len(table):
        raise StudyError(f"{source['labels']}: lists no image")
    return table.assign(image_id=table["path"], offset=WHOLE, bytes=0)
