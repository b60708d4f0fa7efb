"""VOC, COCO and other data sets with boxes, in the layouts they are published in.

A box is left, top, right, bottom in pixels, from 0, half-open. As LOST does it (Siméoni et al.,
https://arxiv.org/abs/2109.14279): VOC's corners, inclusive from 1, lose 1 at left and top; COCO's
x, y, width, height become rounded corners; crowds do not count; objects marked difficult or
truncated count unless ``hard: drop`` is set. A box may stick out of its image by one pixel
(rounding) and is clipped; one that sticks out further belongs to another image and is refused. A
box without area is dropped and counted. An image without a box is kept in the list and left out of
CorLoc, since nothing can be found in it.
"""

import csv
import hashlib
import io
import json
import math
import posixpath
from collections import defaultdict
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
from PIL import Image

from tokenscope.datasets.label_space import read_lines
from tokenscope.errors import StudyError
from tokenscope.images.location import ImageLocation
from tokenscope.images.preprocess import FORMATS, content_of
from tokenscope.scenes.file_names import file_name
from tokenscope.stores.zarr_store import open_store

CORNERS = ["left", "top", "right", "bottom"]
TOLERANCE = 1  # pixels


class Listed(dict):
    """An image as its data set lists it: ``path``, ``boxes``, and ``size`` where it says one."""


def index(source: dict, threads: int = 4) -> tuple[pd.DataFrame, pd.DataFrame, dict]:
    """Images and boxes of a data set.

    Args:
        source: an entry of ``discovery: sets`` with its ``layout`` (:data:`LAYOUTS`), ``path``,
            and ``images`` and ``seed`` where only a sample is wanted.

    Returns:
        images (image_id, path, width, height, sha256, boxes), boxes (image_id, left, top, right,
        bottom), and counts of what was left out.

    Raises:
        StudyError: a file is missing or malformed, or a box does not lie in its image.
    """
    if not Path(source["path"]).is_dir():
        raise StudyError(f"discovery: the folder '{source['path']}' does not exist (sets, path)")
    left_out: dict[str, int] = defaultdict(int)
    listed = list(LAYOUTS[source["layout"]](source, left_out))
    if not listed:
        raise StudyError(f"discovery: '{source['path']}' lists no image ({source['layout']})")
    if source.get("images", "all") != "all":
        listed = _sample(listed, source)
    root = Path(source["path"])
    with ThreadPoolExecutor(threads) as pool:
        facts = list(pool.map(lambda entry: _facts(root / entry["path"]), listed))
    images, boxes = [], []
    for entry, (width, height, digest) in zip(listed, facts, strict=True):
        where = entry["path"]
        if entry.get("size", (width, height)) != (width, height):
            raise StudyError(
                f"{where} has {width} x {height} pixels, its annotation says "
                f"{entry['size'][0]} x {entry['size'][1]}: they do not belong together"
            )
        inside = _within(entry["boxes"], width, height, where, left_out)
        boxes += [(where, *box) for box in inside]
        images.append((where, where, width, height, digest, len(inside)))
    left_out["images_without_box"] = sum(row[-1] == 0 for row in images)
    columns = ["image_id", "path", "width", "height", "sha256", "boxes"]
    return (
        pd.DataFrame(images, columns=columns),
        pd.DataFrame(boxes, columns=["image_id", *CORNERS]),
        dict(left_out),
    )


def lists_of(source: dict, images: pd.DataFrame) -> list[str]:
    """Paths of the files that list and annotate the images of a set; none of rendered scenes."""
    root = Path(source["path"])
    if source["layout"] == "voc":
        split = root / "ImageSets" / "Main" / f"{source.get('split', 'trainval')}.txt"
        names = [Path(path).stem for path in images["path"]]
        return [str(split), *(str(root / "Annotations" / f"{name}.xml") for name in names)]
    files = [str(root / source["annotations"])] if "annotations" in source else []
    return files + [source[key] for key in ("list", "boxes") if key in source]


def _sample(listed: list[Listed], source: dict) -> list[Listed]:
    if source["images"] > len(listed):
        raise StudyError(
            f"discovery: {source['images']} images are asked for, '{source['path']}' lists "
            f"{len(listed)}; set images to that number or to 'all'"
        )
    order = np.random.default_rng(source.get("seed", 0)).permutation(len(listed))
    return [listed[i] for i in sorted(order[: source["images"]])]


def _facts(path: Path) -> tuple[int, int, str]:
    if not path.exists():
        raise StudyError(f"{path}: the data set lists this image, the file is missing")
    content = content_of(ImageLocation(str(path)))
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            width, height = image.size
            if image.getexif().get(0x0112, 1) >= 5:  # turned by 90 degrees, as pixels are read
                width, height = height, width
        return width, height, hashlib.sha256(content).hexdigest()
    except Exception as error:  # what decoders make of damaged bytes has no common class
        raise StudyError(f"{path}: is not an image ({error})") from None


def _within(boxes, width: int, height: int, where: str, left_out: dict) -> list[tuple]:
    inside = []
    for box in boxes:
        left, top, right, bottom = box
        if not all(map(math.isfinite, box)):
            raise StudyError(f"{where}: the box {tuple(box)} has a corner that is no number")
        outside = max(-left, -top, right - width, bottom - height)
        if outside > TOLERANCE:
            raise StudyError(
                f"{where}: the box {tuple(box)} lies {outside:g} pixels outside the image of "
                f"{width} x {height}; the annotation belongs to another image or unit"
            )
        left, top = max(left, 0), max(top, 0)
        right, bottom = min(right, width), min(bottom, height)
        if right > left and bottom > top:
            inside.append((left, top, right, bottom))
        else:
            left_out["boxes_without_area"] += 1
    return inside


def _voc(source: dict, left_out: dict) -> Iterable[Listed]:
    """``Annotations/*.xml``, ``JPEGImages/*.jpg``, ``ImageSets/Main/<split>.txt``."""
    root = Path(source["path"])
    split = root / "ImageSets" / "Main" / f"{source.get('split', 'trainval')}.txt"
    if not split.exists():
        raise StudyError(f"discovery: {split} does not exist (sets, path and split)")
    lines = read_lines(str(split), "discovery: the list of images")
    names = [line.split()[0] for line in lines]
    if twice := [name for name in names if names.count(name) > 1]:
        raise StudyError(f"{split}: lists '{twice[0]}' twice")
    for name in names:
        file = root / "Annotations" / f"{name}.xml"
        try:
            tree = ElementTree.parse(file)
            boxes = []
            for element in tree.iter("object"):
                hard = any(element.findtext(mark) == "1" for mark in ("difficult", "truncated"))
                if hard and source.get("hard", "keep") == "drop":
                    left_out["hard_objects"] += 1
                    continue
                corners = [
                    float(element.find("bndbox").find(corner).text)
                    for corner in ("xmin", "ymin", "xmax", "ymax")
                ]
                boxes.append((corners[0] - 1, corners[1] - 1, *corners[2:]))
            size = tuple(int(tree.find("size").find(side).text) for side in ("width", "height"))
        except FileNotFoundError:
            raise StudyError(f"{file} is missing, though {split} lists '{name}'") from None
        except (ElementTree.ParseError, AttributeError, TypeError, ValueError) as error:
            raise StudyError(f"{file} is no VOC annotation ({error})") from None
        yield Listed(path=f"JPEGImages/{name}.jpg", boxes=boxes, size=size)


def _coco(source: dict, left_out: dict) -> Iterable[Listed]:
    """``annotations`` (instances JSON), ``folder`` of images, ``list`` of names where not all."""
    root = Path(source["path"])
    file = root / source["annotations"]
    try:
        content = json.loads(file.read_text())
        pictures = {row["id"]: row for row in content["images"]}
        if len(pictures) < len(content["images"]):
            raise StudyError(f"{file}: lists two images under one id")
        boxes = defaultdict(list)
        for annotation in content["annotations"]:
            if annotation.get("iscrowd"):
                left_out["crowds"] += annotation["image_id"] in pictures
                continue
            x, y, width, height = annotation["bbox"]
            boxes[annotation["image_id"]].append(
                tuple(float(round(v)) for v in (x, y, x + width, y + height))
            )
    except FileNotFoundError:
        raise StudyError(f"discovery: {file} does not exist (sets, annotations)") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ArithmeticError,
            RecursionError) as error:  # fmt: skip
        raise StudyError(f"{file} is no COCO instances file ({error!r})") from None
    if unknown := set(boxes) - set(pictures):
        raise StudyError(
            f"{file}: {len(unknown)} boxes are of unknown images, e.g. {unknown.pop()}"
        )
    names: dict[str, dict] = {}
    for row in pictures.values():
        if (name := str(row.get("file_name")).rsplit("/", 1)[-1]) in names:
            raise StudyError(f"{file}: lists two images by the name '{name}'")
        names[name] = row
    if "list" in source:
        names = _chosen(names, Path(source["list"]))
    for name, row in sorted(names.items()):
        path = f"{source.get('folder', '.')}/{name}"
        yield Listed(path=path, boxes=boxes[row["id"]], size=(row["width"], row["height"]))


def _chosen(names: dict, file: Path) -> dict:
    if not file.exists():
        raise StudyError(f"discovery: {file} does not exist (sets, list)")
    lines = [line.strip().rsplit("/", 1)[-1] for line in file.read_text().splitlines()]
    wanted = [line for line in lines if line]
    if absent := [name for name in wanted if name not in names]:
        raise StudyError(
            f"{file}: {len(absent)} images are not in the annotations, e.g. {absent[0]}"
        )
    return {name: names[name] for name in wanted}


def _table(source: dict, left_out: dict) -> Iterable[Listed]:
    """A CSV file ``boxes`` with file, left, top, right, bottom: a row a box; no corners: no box."""
    boxes_of: dict[str, list] = defaultdict(list)
    try:
        with open(source["boxes"], newline="") as handle:
            reader = csv.DictReader(handle)
            have = list(reader.fieldnames or ())
            if twice := [name for name in have if have.count(name) > 1]:
                raise StudyError(f"{source['boxes']}: has the column '{twice[0]}' twice")
            if missing := {"file", *CORNERS} - set(have):
                raise StudyError(f"{source['boxes']}: the columns {sorted(missing)} are missing")
            for row in reader:
                if None in row or None in row.values() or not row["file"]:
                    raise StudyError(
                        f"{source['boxes']}, line {reader.line_num}: needs {len(have)} cells"
                    )
                boxes = boxes_of[posixpath.normpath(row["file"])]
                if any(row[corner] for corner in CORNERS):
                    try:
                        boxes.append(tuple(float(row[corner]) for corner in CORNERS))
                    except ValueError:
                        raise StudyError(
                            f"{source['boxes']}, line {reader.line_num}: a corner is no number"
                        ) from None
    except FileNotFoundError:
        raise StudyError(f"discovery: {source['boxes']} does not exist (sets, boxes)") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise StudyError(f"{source['boxes']} is no CSV in UTF-8 ({error})") from None
    for path, boxes in sorted(boxes_of.items()):
        yield Listed(path=path, boxes=boxes)


def _scenes(source: dict, left_out: dict) -> Iterable[Listed]:
    """Rendered scenes: the boxes of their ground truth, ``truth``."""
    with open_store(source["truth"]) as truth:
        of = truth["box_image"].values
        corners = np.stack([truth[c].values for c in ("xmin", "ymin", "xmax", "ymax")], 1)
        side = truth.sizes["column"]
        for i in range(truth.sizes["image"]):
            boxes = [tuple(map(float, box)) for box in corners[of == i]]
            yield Listed(path=file_name(i), boxes=boxes, size=(side, side))


LAYOUTS: dict[str, Callable] = {
    "voc": _voc, "coco": _coco, "table": _table, "scenes": _scenes,
}  # fmt: skip
