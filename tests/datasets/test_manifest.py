"""The index of a folder and its seeded sample."""

from functools import partial

import pandas as pd
import pytest

from tokenscope.datasets.manifest import index
from tokenscope.datasets.sample import sample
from tokenscope.errors import StudyError


def folder(path, labels="folders", **more):
    return {"type": "imagefolder", "path": str(path), "labels": str(labels), **more}


def test_folders_are_classes(photographs):
    table = index(folder(photographs))
    assert len(table) == 12 and table["image_id"].is_monotonic_increasing
    assert set(zip(table["label_name"], table["label"], strict=True)) == {("cat", 0), ("dog", 1)}
    assert table["image_id"][0] == "cat/01" and table["path"][0] == "cat/01.png"
    (photographs / "cat" / "01.jpg").write_bytes(b"another image of that name")
    assert index(folder(photographs))["image_id"][:2].tolist() == ["cat/01.jpg", "cat/01.png"]


def test_index_file_gives_labels(photographs, tmp_path):
    listing = tmp_path / "index.csv"
    listing.write_text("name,class\ndog/00.png,7\ncat/01.png,3\n")
    table = index(folder(photographs, listing, columns={"file": "name", "label": "class"}))
    assert table["label"].tolist() == [7, 3]
    listing.write_text("name,class\ndog/00.png,7\ndog/00.png,3\n")
    with pytest.raises(StudyError, match="listed twice"):
        index(folder(photographs, listing, columns={"file": "name", "label": "class"}))
    with pytest.raises(StudyError, match="no column 'file'"):
        index(folder(photographs, listing))


def test_missing_and_empty_folders(tmp_path):
    with pytest.raises(StudyError, match="does not exist"):
        index(folder(tmp_path / "nowhere"))
    with pytest.raises(StudyError, match="no image"):
        index(folder(tmp_path))


def test_seeds(photographs):
    source = folder(photographs)

    def draw(seed):
        return sample(index(source), source, 6, seed, "fail", "")[0]["image_id"].tolist()

    assert draw(1) == draw(1)
    assert draw(1) != draw(2)
    assert draw(1) == sorted(draw(1))


def test_bad_image_fails_by_name_or_is_replaced(photographs):
    (photographs / "cat" / "01.png").write_bytes(b"\x89PNG broken")
    whole = (photographs / "dog" / "00.png").read_bytes()
    (photographs / "dog" / "00.png").write_bytes(whole[: len(whole) // 2])
    source = folder(photographs)
    draw = partial(sample, index(source), source, packed="")
    with pytest.raises(StudyError, match="cat/01: .*; dog/00: "):
        draw("all", 0, "fail")
    chosen, skipped = draw("all", 0, "skip")
    assert len(chosen) == 10
    assert {bad["image_id"] for bad in skipped} == {"cat/01", "dog/00"}
    chosen, _ = draw(10, 0, "skip")
    assert len(chosen) == 10
    with pytest.raises(StudyError, match="only 10 of 11"):
        draw(11, 0, "skip")
    with pytest.raises(StudyError, match="asks for 13"):
        draw(13, 0, "skip")


def test_loose_images_in_a_class_tree_are_refused(photographs):
    (photographs / "loose.png").write_bytes((photographs / "dog" / "00.png").read_bytes())
    with pytest.raises(StudyError, match="loose.png"):
        index(folder(photographs))
    assert isinstance(index(folder(photographs, "none")), pd.DataFrame)
