"""Sets with boxes and maps: a change of what they rest on is noticed, and only that; what the job
then makes is what a fresh study makes."""

import importlib.util
import json
import os

import numpy as np
import pytest
from PIL import Image
from projects import ROOT

from tokenscope.datasets import watched
from tokenscope.errors import StudyError

NAMES = [f"{i:02d}" for i in range(4)]
SOURCES = {
    "voc": {"layout": "voc"},
    "coco": {"layout": "coco", "annotations": "instances.json", "folder": "JPEGImages"},
    "table": {"layout": "table"},
    "pairs": {
        "layout": "pairs", "task": "segmentation", "classes": 3, "images": "JPEGImages/{id}.jpg",
        "targets": "maps/{id}.png", "test_share": 0.5,
    },
}  # fmt: skip


def old(file, days=3):
    then = file.stat().st_mtime - 86400 * days
    os.utime(file, (then, then))


def photograph(file, seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file, "BMP")  # of one size whatever is on it


def annotate(folder, name, right=9):
    (folder / "Annotations" / f"{name}.xml").write_text(
        "<a><size><width>16</width><height>16</height></size><object><bndbox><xmin>2</xmin>"
        f"<ymin>2</ymin><xmax>{right}</xmax><ymax>9</ymax></bndbox></object></a>"
    )


def instances(folder, right=9):
    images = [
        {"id": i, "file_name": f"{n}.jpg", "width": 16, "height": 16} for i, n in enumerate(NAMES)
    ]
    boxes = [{"image_id": i, "bbox": [1, 1, right - 1, 8]} for i in range(len(NAMES))]
    (folder / "instances.json").write_text(json.dumps({"images": images, "annotations": boxes}))


def table(folder, right=9):
    rows = [f"JPEGImages/{name}.jpg,1,1,{right},9" for name in NAMES]
    (folder / "boxes.csv").write_text("\n".join(["file,left,top,right,bottom", *rows]))


def label_map(folder, name, of=1):
    Image.fromarray(np.full((16, 16), of, np.uint8)).save(folder / "maps" / f"{name}.png")


@pytest.fixture
def folder(tmp_path):
    """Four images with boxes in three layouts, and with maps."""
    root = tmp_path / "set"
    for name in ("JPEGImages", "Annotations", "ImageSets/Main", "maps"):
        (root / name).mkdir(parents=True)
    for i, name in enumerate(NAMES):
        photograph(root / "JPEGImages" / f"{name}.jpg", i)
        annotate(root, name), label_map(root, name)
    (root / "ImageSets/Main/trainval.txt").write_text("\n".join(NAMES))
    instances(root), table(root)
    for place in sorted(root.rglob("*"), reverse=True):
        old(place)
    return root


class Study:
    """The rule that lists a set, as Snakemake runs it: where its parameter is another."""

    def __init__(self, place, layout, root):
        self.place, self.given, self.boxes = place, None, layout != "pairs"
        self.source = {**SOURCES[layout], "path": str(root)}
        if layout == "table":
            self.source["boxes"] = str(root / "boxes.csv")
        place.mkdir()

    def start(self):
        """Whether the job ran."""
        record = self.place / "read.json"
        changes = watched.changes(record, self.source)
        if changes == self.given:
            return False
        name = "discovery/index_boxes" if self.boxes else "dense/index_targets"
        spec = importlib.util.spec_from_file_location("job", ROOT / f"workflow_scripts/{name}.py")
        job = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(job)
        watch = {"changes": changes, "record": record}
        files = {name: self.place / name for name in ("images", "boxes", "receipt")}
        if self.boxes:
            job.main(source=self.source, threads=1, watch=watch, outputs=files)
        else:
            job.main(source=self.source, threads=1, watch=watch, output=files["images"],
                     receipt=files["receipt"])  # fmt: skip
        self.given = changes
        return True

    def result(self):
        names = ("images", "boxes") if self.boxes else ("images",)
        return [(self.place / name).read_text() for name in names]


def image_replaced(root):
    photograph(root / "JPEGImages/02.jpg", 99)


def touched(root):
    for file in root.rglob("*.*"):
        os.utime(file)


def stranger(root):
    (root / "notes.txt").write_text("mine")


CHANGES = {
    "image replaced": (image_replaced, SOURCES),
    "annotation changed": (lambda root: annotate(root, "03", 8), ["voc"]),
    "fewer listed": (
        lambda root: (root / "ImageSets/Main/trainval.txt").write_text("\n".join(NAMES[:3])),
        ["voc"],
    ),
    "instances changed": (lambda root: instances(root, 8), ["coco"]),
    "boxes changed": (lambda root: table(root, 8), ["table"]),
    "map replaced": (lambda root: label_map(root, "01", 2), ["pairs"]),
    "pair added": (
        lambda root: (photograph(root / "JPEGImages/09.jpg", 9), label_map(root, "09")),
        ["pairs"],
    ),
    "touched": (touched, []),
    "a file that nobody lists": (stranger, []),
}


@pytest.mark.parametrize("layout", SOURCES)
@pytest.mark.parametrize("change", CHANGES)
def test_each_change_is_noticed_once(folder, tmp_path, layout, change):
    study = Study(tmp_path / "study", layout, folder)
    assert study.start() and not study.start()
    do, noticed = CHANGES[change]
    do(folder)
    assert study.start() is (layout in noticed) and not study.start()
    fresh = Study(tmp_path / "fresh", layout, folder)
    fresh.start()
    assert study.result() == fresh.result()


@pytest.mark.parametrize("layout", SOURCES)
def test_a_study_without_its_images_is_left_alone(folder, tmp_path, layout):
    study = Study(tmp_path / "study", layout, folder)
    study.start()
    folder.rename(tmp_path / "elsewhere")
    assert not study.start()
    folder.mkdir()  # where a disk is mounted at times
    assert not study.start()


@pytest.mark.parametrize("layout", SOURCES)
def test_an_image_that_is_gone_is_named(folder, tmp_path, layout):
    study = Study(tmp_path / "study", layout, folder)
    study.start()
    (folder / "JPEGImages/01.jpg").unlink()
    if layout == "pairs":  # it is not asked for by name
        assert study.start() and "01.jpg" not in study.result()[0]
    else:
        with pytest.raises(StudyError, match=r"01\.jpg"):
            study.start()
