"""Data sets with boxes: published layouts, and what is refused or left out."""

import json

import numpy as np
import pytest
from PIL import Image

from tokenscope.discovery.box_datasets import index
from tokenscope.errors import StudyError


@pytest.fixture
def coco(tmp_path):
    """Two images and a function that writes their annotations."""
    (tmp_path / "val").mkdir()
    for name in ("1.jpg", "2.jpg"):
        Image.new("RGB", (60, 40)).save(tmp_path / "val" / name)
    images = [{"id": i, "file_name": f"{i}.jpg", "width": 60, "height": 40} for i in (1, 2)]

    def write(*boxes, images=images):
        rows = [{"image_id": i, "bbox": list(b), "iscrowd": c} for i, b, c in boxes]
        content = {"images": images, "annotations": rows}
        (tmp_path / "instances.json").write_text(json.dumps(content))
        return {"layout": "coco", "path": str(tmp_path), "annotations": "instances.json",
                "folder": "val"}  # fmt: skip

    return write


def test_crowds_and_empty_boxes_are_left_out_and_counted(coco):
    source = coco((1, (1.4, 2, 10, 10), 0), (1, (0, 0, 60, 40), 1), (1, (5, 5, 0.2, 9), 0))
    images, boxes, left_out = index(source)
    assert boxes.iloc[0, 1:].tolist() == [1, 2, 11, 12] and len(boxes) == 1
    assert images["boxes"].tolist() == [1, 0]
    assert left_out == {"crowds": 1, "boxes_without_area": 1, "images_without_box": 1}


def test_boxes_that_stick_out_are_clipped_by_a_pixel_and_refused_by_more(coco):
    _, boxes, _ = index(coco((1, (50, 30, 11, 10), 0)))
    assert boxes.iloc[0, 1:].tolist() == [50, 30, 60, 40]
    with pytest.raises(StudyError, match=r"val/1.jpg: the box .* lies 10 pixels outside"):
        index(coco((1, (50, 30, 20, 10), 0)))


def test_wrong_sizes_missing_files_and_unknown_images_are_named(coco):
    wrong = [{"id": 1, "file_name": "1.jpg", "width": 40, "height": 60}]
    with pytest.raises(StudyError, match="its annotation says 40 x 60"):
        index(coco(images=wrong))
    with pytest.raises(StudyError, match="3.jpg: the data set lists this image"):
        index(coco(images=[{"id": 3, "file_name": "3.jpg", "width": 60, "height": 40}]))
    with pytest.raises(StudyError, match="unknown images, e.g. 9"):
        index(coco((9, (0, 0, 5, 5), 0)))


def test_table_of_boxes(tmp_path):
    Image.new("RGB", (60, 40)).save(tmp_path / "a.png")
    table = tmp_path / "boxes.csv"
    table.write_text("file,left,top,right,bottom\na.png,1,2,30,40\na.png,0,0,5.5,6\n")
    source = {"layout": "table", "path": str(tmp_path), "boxes": str(table)}
    assert index(source)[1]["right"].tolist() == [30, 5.5]
    table.write_text("file,left,top,right\na.png,1,2,30\n")
    with pytest.raises(StudyError, match="bottom"):
        index(source)


def test_the_same_real_images_in_two_layouts_have_the_same_boxes(real_data):
    data = real_data / "data"
    first = {
        "layout": "coco", "path": str(data / "coco-tiny"), "folder": "val2017",
        "annotations": "annotations/instances_val2017.json",
    }  # fmt: skip
    second = {"layout": "voc", "path": str(data / "voc-layout"), "hard": "drop"}
    (images, boxes, _), (others, same, left_out) = index(first), index(second)
    assert len(images) == len(others) == 50 and left_out["hard_objects"] == 5

    def rows(table):
        names = table["image_id"].str.rsplit("/").str[-1]
        return sorted(zip(names, *(table[c] for c in table.columns[1:]), strict=True))

    a, b = rows(boxes), rows(same)
    assert [r[0] for r in a] == [r[0] for r in b] and len(a) == 377
    # COCO's decimals are rounded by either side in its own way.
    assert np.abs(np.array([r[1:] for r in a]) - np.array([r[1:] for r in b])).max() <= 1
