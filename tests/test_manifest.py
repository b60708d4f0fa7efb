"""The index of a folder and its seeded sample."""

import pandas as pd
import pytest

from tokenscope.errors import StudyError
from tokenscope.manifest import index, sample


def test_folders_are_classes(photographs):
    table = index(str(photographs), "folders")
    assert len(table) == 12 and table["path"].is_monotonic_increasing
    assert set(zip(table["label_name"], table["label"], strict=True)) == {("cat", 0), ("dog", 1)}
    assert (table["sha256"].str.len() == 64).all() and (table["problem"] == "").all()


def test_index_file_gives_labels(photographs, tmp_path):
    listing = tmp_path / "index.csv"
    listing.write_text("name,class\ndog/00.png,7\ncat/01.png,3\n")
    table = index(str(photographs), str(listing), columns={"file": "name", "label": "class"})
    assert table["label"].tolist() == [7, 3]
    listing.write_text("name,class\ndog/00.png,7\ndog/00.png,3\n")
    with pytest.raises(StudyError, match="listed twice"):
        index(str(photographs), str(listing), columns={"file": "name", "label": "class"})
    with pytest.raises(StudyError, match="no column 'file'"):
        index(str(photographs), str(listing))


def test_missing_and_empty_folders(tmp_path):
    with pytest.raises(StudyError, match="does not exist"):
        index(str(tmp_path / "nowhere"), "none")
    with pytest.raises(StudyError, match="no image"):
        index(str(tmp_path), "none")


def test_seeds(photographs):
    table = index(str(photographs), "folders")
    draw = lambda seed: sample(table, str(photographs), 6, seed, "fail")[0]["image_id"].tolist()  # noqa: E731
    assert draw(1) == draw(1)
    assert draw(1) != draw(2)
    assert draw(1) == sorted(draw(1))


def test_bad_image_fails_by_name_or_is_replaced(photographs):
    (photographs / "cat" / "01.png").write_bytes(b"\x89PNG broken")
    whole = (photographs / "dog" / "00.png").read_bytes()
    (photographs / "dog" / "00.png").write_bytes(whole[: len(whole) // 2])
    table = index(str(photographs), "folders")
    assert table.set_index("image_id")["problem"]["cat/01.png"]
    with pytest.raises(StudyError, match="cat/01.png.*|dog/00.png.*"):
        sample(table, str(photographs), "all", 0, "fail")
    chosen, skipped = sample(table, str(photographs), "all", 0, "skip")
    assert len(chosen) == 10
    assert {bad["image_id"] for bad in skipped} == {"cat/01.png", "dog/00.png"}
    chosen, _ = sample(table, str(photographs), 10, 0, "skip")
    assert len(chosen) == 10
    with pytest.raises(StudyError, match="only 10 of 11"):
        sample(table, str(photographs), 11, 0, "skip")
    with pytest.raises(StudyError, match="asks for 13"):
        sample(table, str(photographs), 13, 0, "skip")


def test_loose_images_in_a_class_tree_are_refused(photographs):
    (photographs / "loose.png").write_bytes((photographs / "dog" / "00.png").read_bytes())
    with pytest.raises(StudyError, match="loose.png"):
        index(str(photographs), "folders")
    assert isinstance(index(str(photographs), "none"), pd.DataFrame)
