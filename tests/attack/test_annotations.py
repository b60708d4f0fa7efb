"""Attempts on boxes, label maps, depth maps, and on names in tables."""

import json
import os

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tokenscope.dense.map_datasets import Maps
from tokenscope.discovery.box_datasets import index
from tokenscope.discovery.sweep import Reader
from tokenscope.stats.top_k import Ranks
from tokenscope.tables import tidy

SIDE = 32


def image(file, seed=0):
    file.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file)
    return file


def coco(folder, **changes):
    """A set of two images with a box each."""
    for i in range(2):
        image(folder / "images" / f"{i}.png", i)
    content = {
        "images": [{"id": i, "file_name": f"{i}.png", "width": SIDE, "height": SIDE}
                   for i in range(2)],
        "annotations": [{"image_id": i, "bbox": [2, 3, 10, 12]} for i in range(2)],
    } | changes  # fmt: skip
    (folder / "boxes.json").write_text(json.dumps(content))
    return {
        "layout": "coco", "path": str(folder), "annotations": "boxes.json", "folder": "images",
    }  # fmt: skip


def one(box=(2, 3, 10, 12), picture=0):
    return [{"image_id": picture, "bbox": list(box)}]


def pictures(*rows):
    return [{"id": i, "file_name": f"{i}.png", "width": SIDE, "height": SIDE} | row
            for i, row in enumerate(rows)]  # fmt: skip


COCO = {
    "no number": {"annotations": one((float("nan"), 0, 1, 1))},
    "infinite": {"annotations": one((0, 0, float("inf"), 1))},
    "outside": {"annotations": one((0, 0, 99, 1))},
    "three corners": {"annotations": one((0, 0, 1))},
    "text": {"annotations": one(("a", 0, 1, 1))},
    "an unknown image": {"annotations": one(picture=9)},
    "a list of nothing": {"annotations": [None]},
    "a number for a list": {"annotations": 3},
    "no images": {"images": []},
    "an id twice": {"images": pictures({}, {"id": 0})},
    "a name in two folders": {
        "images": pictures({"file_name": "a/0.png"}, {"file_name": "b/0.png"})
    },
    "another size": {"images": pictures({"width": 9}, {})},
    "a name that is none": {"images": pictures({"file_name": None}, {})},
    "a file that is not there": {"images": pictures({"file_name": "9.png"}, {})},
}


@pytest.mark.parametrize("name", COCO)
def test_coco(tmp_path, attempt, name):
    source = coco(tmp_path, **COCO[name])
    attempt(lambda: index(source, 1))


@pytest.mark.parametrize("content", ["", "{", "[]", "null", "[" * 100_000, b"\xff"], ids=repr)
def test_coco_that_is_no_json(tmp_path, attempt, content):
    source = coco(tmp_path)
    content = content if isinstance(content, bytes) else content.encode()
    (tmp_path / "boxes.json").write_bytes(content)
    attempt(lambda: index(source, 1))


@pytest.mark.parametrize("place", ["pipe", "folder", "device", "text", "empty"])
def test_images_with_boxes_that_are_none(tmp_path, attempt, place):
    source = coco(tmp_path)
    file = tmp_path / "images" / "1.png"
    file.unlink()
    {
        "pipe": os.mkfifo, "folder": lambda f: f.mkdir(), "text": lambda f: f.write_text("x"),
        "device": lambda f: f.symlink_to("/dev/zero"), "empty": lambda f: f.touch(),
    }[place](file)  # fmt: skip
    attempt(lambda: index(source, 1))


BOXES = {
    "no number": "file,left,top,right,bottom\n0.png,nan,0,1,1\n",
    "infinite": "file,left,top,right,bottom\n0.png,-inf,0,inf,1\n",
    "text": "file,left,top,right,bottom\n0.png,a,0,1,1\n",
    "a column twice": "file,left,left,top,right,bottom\n0.png,1,2,0,9,9\n",
    "more cells": "file,left,top,right,bottom\n0.png,0,0,1,1,7\n",
    "fewer cells": "file,left,top,right,bottom\n0.png,0,0\n",
    "no file": "file,left,top,right,bottom\n,0,0,1,1\n",
    "no column": "file,left,top,right\n0.png,0,0,1\n",
    "nothing": "",
    "no UTF-8": b"file,left,top,right,bottom\n\xff.png,0,0,1,1\n",
}


@pytest.mark.parametrize("name", BOXES)
def test_tables_of_boxes(tmp_path, attempt, name):
    image(tmp_path / "0.png")
    content = BOXES[name]
    (tmp_path / "b.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    source = {"layout": "table", "path": str(tmp_path), "boxes": str(tmp_path / "b.csv")}
    attempt(lambda: index(source, 1))


VOC = "<annotation><size><width>{w}</width><height>32</height></size><object><bndbox>{b}</bndbox></object></annotation>"  # noqa: E501
CORNERS = "<xmin>{}</xmin><ymin>3</ymin><xmax>9</xmax><ymax>9</ymax>"
XML = {
    "no number": VOC.format(w=32, b=CORNERS.format("nan")),
    "infinite": VOC.format(w=32, b=CORNERS.format("inf")),
    "text": VOC.format(w=32, b=CORNERS.format("x")),
    "no corner": VOC.format(w=32, b=""),
    "another width": VOC.format(w=99, b=CORNERS.format(2)),
    "cut off": VOC.format(w=32, b=CORNERS.format(2))[:60],
    "nothing": "",
    "a billion laughs": "<!DOCTYPE a [<!ENTITY a 'x'>"
    + "".join(f"<!ENTITY a{i} '{'&a' + str(i - 1 if i else '') + ';'}'>" for i in range(1, 9))
    + "]><a>&a8;</a>",
    "a file by an entity": "<!DOCTYPE a [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><a>&x;</a>",
}


@pytest.mark.parametrize("name", XML)
def test_voc(tmp_path, attempt, name):
    image(tmp_path / "JPEGImages" / "0.jpg")
    for folder in ("Annotations", "ImageSets/Main"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "ImageSets/Main/trainval.txt").write_text("0\n")
    (tmp_path / "Annotations/0.xml").write_text(XML[name])
    attempt(lambda: index({"layout": "voc", "path": str(tmp_path)}, 1))


def test_an_image_changed_after_its_boxes_were_listed(tmp_path, attempt):
    table, _, _ = index(coco(tmp_path), 1)
    image(tmp_path / "images" / "0.png", seed=5)
    attempt(lambda: Reader(str(tmp_path), table, 1)(0, 2))


def maps(folder):
    """A set of four images with label maps."""
    for i in range(4):
        image(folder / "images" / f"{i}.png", i)
        labels = np.arange(SIDE * SIDE, dtype=np.uint8).reshape(SIDE, SIDE) % 3
        (folder / "maps").mkdir(exist_ok=True)
        Image.fromarray(labels).save(folder / "maps" / f"{i}.png")
    return {
        "layout": "pairs", "path": str(folder), "task": "segmentation", "classes": 3,
        "images": "images/{id}.png", "targets": "maps/{id}.png",
    }  # fmt: skip


def saved(array, mode=None):
    def change(file):
        Image.fromarray(array, mode).save(file)

    return change


MAPS = {
    "empty": lambda f: f.write_bytes(b""),
    "half": lambda f: f.write_bytes(f.read_bytes()[:60]),
    "text": lambda f: f.write_text("map"),
    "EPS by another name": lambda f: f.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\nshowpage\n"),
    "a pipe": lambda f: (f.unlink(), os.mkfifo(f)),
    "a device": lambda f: (f.unlink(), f.symlink_to("/dev/zero")),
    "gone": lambda f: f.unlink(),
    "another size": saved(np.zeros((9, 9), np.uint8)),
    "three channels": saved(np.zeros((SIDE, SIDE, 3), np.uint8)),
    "unknown classes": saved(np.full((SIDE, SIDE), 77, np.uint8)),
}


@pytest.mark.parametrize("name", MAPS)
def test_maps(tmp_path, attempt, name):
    source = maps(tmp_path)
    MAPS[name](tmp_path / "maps" / "1.png")
    attempt(lambda: Maps(source).index(1))


@pytest.mark.parametrize("part", ["images", "maps"])
def test_a_map_or_its_image_changed_after_it_was_indexed(tmp_path, attempt, part):
    source = maps(tmp_path)
    table, _ = Maps(source).index(1)
    other = np.random.default_rng(8).integers(0, 3, (SIDE, SIDE), dtype=np.uint8)
    Image.fromarray(other).save(tmp_path / part / "1.png")
    attempt(lambda: [Maps(source).read(row) for row in table.to_dict("records")])


def test_two_images_by_one_name(tmp_path, attempt):
    source = maps(tmp_path)
    for part in ("images", "maps"):
        for old, new in (("0", "a_b_c"), ("1", "a_b_d")):
            (tmp_path / part / f"{old}.png").rename(tmp_path / part / f"{new}.png")
        (tmp_path / part / "a_b_c.png").rename(tmp_path / part / "x_y-z.png")
        (tmp_path / part / "a_b_d.png").rename(tmp_path / part / "x-y_z.png")
    source |= {"images": "images/{a}-{b}.png", "targets": "maps/{a}-{b}.png"}
    attempt(lambda: Maps(source).listed())


WORDS = ["0012", "1e5", "NA", "nan", "True", "1.0", "inf", "null", "2012", "None"]


@pytest.mark.parametrize("word", WORDS)
def test_names_in_tables_stay_text(tmp_path, attempt, word):
    who = dict.fromkeys(("family", "size", "registers", "kind", "dataset"), word)
    rows = tidy.TidyRows(who, 3, 0)
    rows.add("claim1", word, "top1", 1.5)
    tidy.write(rows.frame(), tmp_path / "t.csv")
    attempt(lambda: tidy.read(tmp_path / "t.csv").iloc[0],
            lambda row: {row[c] for c in who} == {word} and row["value"] == 1.5)  # fmt: skip


@pytest.mark.parametrize("word", WORDS)
def test_names_of_ranked_images_stay_text(tmp_path, attempt, word):
    ranks = Ranks(np.array([word, "b"]), {"cls": np.array([[1, 2]])})
    ranks.write(tmp_path / "r.csv.gz")
    attempt(lambda: Ranks.read(tmp_path / "r.csv.gz").ids[0], lambda name: name == word)


@pytest.mark.parametrize("content", ["", "a,b\n1,2,3\n4\n", b"\xff\xfe\x00"], ids=repr)
def test_tables_that_are_none(tmp_path, attempt, content):
    content = content if isinstance(content, bytes) else content.encode()
    (tmp_path / "t.csv").write_bytes(content)
    attempt(lambda: tidy.read(tmp_path / "t.csv"))


def test_pandas_would_read_them_otherwise(tmp_path):
    """The attempts on names are worth something: pandas alone fails them."""
    pd.DataFrame({"image_id": WORDS}).to_csv(tmp_path / "t.csv", index=False)
    assert pd.read_csv(tmp_path / "t.csv")["image_id"].isna().any()
