"""ImageNet in four layouts: the same manifest, labels and pixels, or a refusal that names why."""

import hashlib
import io
import json
import tarfile
from pathlib import Path

import layouts
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from timm.data import ImageNetInfo, create_transform

from tokenscope.datasets.label_space import lemma, numbered
from tokenscope.datasets.manifest import index
from tokenscope.datasets.sample import sample
from tokenscope.errors import StudyError
from tokenscope.images.geometry import Geometry
from tokenscope.images.location import folder_of
from tokenscope.images.readers import StreamedImages

IMAGENET = {"classes": "imagenet-1k", "subset": True}


@pytest.fixture(params=layouts.ALL)
def source(request, tmp_path):
    return layouts.ALL[request.param](tmp_path / "set") | IMAGENET


def drawn(source, tmp_path, images="all", seed=0, bad="fail"):
    table, skipped = sample(index(source), source, images, seed, bad, tmp_path / "packed", 2)
    root = tmp_path / "packed" if source["type"] == "parquet" else folder_of(source["path"])
    return table, str(root), skipped


def test_every_layout_gives_the_same_order_labels_and_pixels(source, tmp_path):
    table, root, _ = drawn(source, tmp_path)
    expected = sorted((wnid, name, content) for name, wnid, content in layouts.photographs())
    assert table["image_id"].tolist() == [f"{wnid}/{name}" for wnid, name, _ in expected]
    order = ImageNetInfo("imagenet-1k").label_names()
    assert table["label"].tolist() == [order.index(wnid) for wnid, _, _ in expected]
    assert table["label_name"].tolist() == [wnid for wnid, _, _ in expected]
    digests = [hashlib.sha256(content).hexdigest() for _, _, content in expected]
    assert table["sha256"].tolist() == digests
    geometry = Geometry.evaluation(32, 0.9, "bicubic")
    images = StreamedImages(root, table, geometry, workers=2)
    pixels = images.read(0, 12)
    images.close()
    transform = create_transform((3, 32, 32), interpolation="bicubic", crop_pct=0.9, mean=0, std=1)
    theirs = [transform(Image.open(io.BytesIO(content))) for _, _, content in expected]
    assert np.array_equal(pixels, [(255 * t).round().byte().permute(1, 2, 0) for t in theirs])


def test_a_sample_is_the_same_in_every_layout(tmp_path):
    chosen = []
    for name, make in layouts.ALL.items():
        table, _, _ = drawn(make(tmp_path / name) | IMAGENET, tmp_path / name, images=5, seed=3)
        chosen.append(table[["image_id", "label", "bytes", "sha256"]])
    assert len(chosen[0]) == 5
    for other in chosen[1:]:
        pd.testing.assert_frame_equal(other, chosen[0], check_dtype=False)


def test_names_are_timms():
    order = ImageNetInfo("imagenet-1k")
    names = order.label_names()
    assert numbered(names, "imagenet-1k", False, "x") == {n: (i, n) for i, n in enumerate(names)}
    assert lemma("n01440764") == "tench, Tinca tinca"
    with pytest.raises(StudyError, match="means several classes.*n02012849, n03126707"):
        numbered(["crane"], "imagenet-1k", True, "x")


@pytest.mark.parametrize("form", ["wnids", "pairs", "kaggle", "clsloc"])
def test_other_label_files_of_the_flat_folder(tmp_path, form):
    flat = layouts.flat(tmp_path / "set")
    before = index(flat | IMAGENET)
    rows = [(name, wnid) for name, wnid, _ in layouts.photographs()]
    file = tmp_path / "labels.txt"
    if form == "wnids":
        file.write_text("\n".join(wnid for _, wnid in rows))
    elif form == "pairs":
        file.write_text("\n".join(f"{name}.JPEG {wnid}" for name, wnid in reversed(rows)))
    elif form == "kaggle":
        file = tmp_path / "LOC_val_solution.csv"
        lines = [f"{name},{wnid} 85 1 499 272 {wnid} 1 2 3 4" for name, wnid in rows]
        file.write_text("\n".join(["ImageId,PredictionString", *lines]))
    else:
        mapping = tmp_path / "map_clsloc.txt"
        numbered_ = enumerate(layouts.WNIDS, start=1)
        mapping.write_text("\n".join(f"{wnid} {i} name" for i, wnid in numbered_))
        file, flat["synsets"] = Path(flat["labels"]), str(mapping)
    after = index(flat | IMAGENET | {"labels": str(file)})
    pd.testing.assert_frame_equal(before, after)


def test_wrong_label_files_are_refused(tmp_path):
    flat = layouts.flat(tmp_path / "set") | IMAGENET
    truth = Path(flat["labels"])
    lines = truth.read_text().split()

    def refused(match, content=lines, **changed):
        truth.write_text("\n".join(content))
        with pytest.raises(StudyError, match=match):
            index(flat | changed)

    refused("11 labels for 12 images", lines[:-1])
    refused(r"class numbers \[0\] are not in", ["0", *lines[1:]])
    refused("mean nothing without the list", synsets=None)
    alphabetical = tmp_path / "synsets.txt"
    alphabetical.write_text("\n".join(sorted(layouts.WNIDS)))
    refused("alphabetical order", synsets=str(alphabetical))
    refused("some labels are numbers", ["n02119789", *lines[1:]])
    refused("have no image: n01443537", subset=False)
    (tmp_path / "set/val/ILSVRC2012_val_00000012.JPEG").rename(tmp_path / "set/val/extra.JPEG")
    refused("must be numbered from 1 to 12")


def test_listed_numbers_are_checked_by_their_names(photographs, tmp_path):
    listing = tmp_path / "index.csv"
    source = {"type": "imagefolder", "path": str(photographs), "labels": str(listing)} | IMAGENET
    listing.write_text("file,label,label_name\ndog/00.png,0,n01440764\n")
    assert index(source)["label"].tolist() == [0]
    listing.write_text("file,label,label_name\ndog/00.png,1,n01440764\n")
    with pytest.raises(StudyError, match="class 1 is called 'n01440764'.*another order"):
        index(source)
    listing.write_text("file,label\ndog/00.png,0\n")
    with pytest.raises(StudyError, match="without names"):
        index(source)
    listing.write_text("file,label\ndog/00.png,n01440764\n")
    assert index(source)["label"].tolist() == [0]


def test_strange_and_missing_classes_are_named(tmp_path):
    folders = layouts.class_folders(tmp_path / "set")
    with pytest.raises(StudyError, match="997 of the 1000 classes.*goldfish"):
        index(folders | {"classes": "imagenet-1k"})
    (tmp_path / "set/n02119789").rename(tmp_path / "set/n02119788")
    with pytest.raises(StudyError, match="'n02119788' is no class of imagenet-1k"):
        index(folders | IMAGENET)
    assert index(folders)["label"].tolist() == sorted(index(folders)["label"])


def test_damaged_tars_are_refused(tmp_path):
    source = layouts.tars(tmp_path / "set") | IMAGENET
    shard = tmp_path / "set/val-001.tar"
    whole = shard.read_bytes()

    def refused(content, match):
        shard.write_bytes(content)
        with pytest.raises(StudyError, match=match):
            index(source)

    with tarfile.open(shard) as tar:
        second, last = tar.getmembers()[3], tar.getmembers()[-1]
    header = second.offset
    refused(whole[:header] + b"\xff" * 64 + whole[header + 64 :], f"val-001.tar.*byte {header}")
    refused(whole[: last.offset_data + 5], "val-001.tar: cut off within")
    refused(whole[: last.offset_data + 512], "val-001.tar.*cut off at byte")
    refused(b"", "val-001.tar")
    shard.unlink()
    with pytest.raises(StudyError, match="1 of 3 files are missing.*val-001.tar"):
        index(source)


def test_a_corrupt_tar_member_is_named_or_skipped(tmp_path):
    source = layouts.tars(tmp_path / "set") | IMAGENET
    table = index(source)
    row = table[table["path"] == "val-002.tar"].iloc[0]
    with open(tmp_path / "set/val-002.tar", "r+b") as handle:
        handle.seek(row["offset"])
        handle.write(b"\0" * 64)
    with pytest.raises(StudyError, match=f"{row['image_id']}: .*val-002.tar at byte .*damaged"):
        drawn(source, tmp_path)
    sampled, _, skipped = drawn(source, tmp_path, bad="skip")
    assert len(sampled) == 11 and [bad["image_id"] for bad in skipped] == [row["image_id"]]


def test_labels_of_tars_that_contradict_are_refused(tmp_path):
    source = layouts.tars(tmp_path / "set") | IMAGENET
    order = tmp_path / "order.txt"
    order.write_text("\n".join(layouts.WNIDS))  # not the order its numbers have
    with pytest.raises(StudyError, match="class number 0 goes with"):
        index(source | {"synsets": str(order)})
    order.write_text("\n".join(sorted(layouts.WNIDS)))
    assert len(index(source | {"synsets": str(order)})) == 12


@pytest.mark.parametrize("label_in", ["name", "folder", "json", "nothing"])
def test_tars_whose_labels_are_numbers_need_a_name_from_somewhere(tmp_path, label_in):
    """WordNet ids in file names, folders, or timm's JSON; numbers alone say nothing."""
    for i, (name, wnid, content) in enumerate(layouts.photographs()):
        key = {"name": f"{wnid}_{i}", "folder": f"{wnid}/{name}"}.get(label_in, f"{i:08d}")
        facts = {"label": sorted(layouts.WNIDS).index(wnid)}
        facts |= {"filename": f"{wnid}/{name}.JPEG"} if label_in == "json" else {}
        with tarfile.open(tmp_path / "val.tar", "a") as tar:
            for suffix, part in (("jpg", content), ("json", json.dumps(facts).encode())):
                member = tarfile.TarInfo(f"{key}.{suffix}")
                member.size = len(part)
                tar.addfile(member, io.BytesIO(part))
    source = {"type": "webdataset", "path": str(tmp_path / "val.tar")} | IMAGENET
    if label_in == "nothing":
        with pytest.raises(StudyError, match="numbers of imagenet-1k without names.*synsets"):
            index(source)
    else:
        names = sorted(wnid for _, wnid, _ in layouts.photographs())
        assert index(source)["label_name"].tolist() == names


def test_damaged_parquet_is_refused(tmp_path):
    source = layouts.parquet(tmp_path / "set") | IMAGENET
    file = tmp_path / "set/validation-00001-of-00002.parquet"
    whole = file.read_bytes()
    table = index(source)
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(StudyError, match="validation-00001-of-00002.parquet: damaged"):
        index(source)
    # Damage behind an intact footer shows when the images are read.
    with pytest.raises(StudyError, match="validation-00001-of-00002.parquet"):
        sample(table, source, "all", 0, "fail", tmp_path / "packed", 2)
    with pytest.raises(StudyError, match="no column .*'image'"):
        file.write_bytes(whole)
        index(source | {"columns": {"file": "picture"}})


def test_parquet_of_other_hands(tmp_path):
    """Plain bytes, names as labels, and a column of a type that `datasets` has no word for."""
    _, wnids, contents = zip(*layouts.photographs(), strict=True)
    extra = pa.array([[("a", 1)]] * 12, type=pa.map_(pa.string(), pa.int64()))
    columns = {"jpeg": list(contents), "wnid": list(wnids), "extra": extra}
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    source = {"type": "parquet", "path": str(tmp_path)} | IMAGENET
    table = index(source | {"columns": {"file": "jpeg", "label": "wnid"}})
    assert table["label_name"].tolist() == sorted(wnids)


def test_an_overlapping_set_is_refused(tmp_path):
    source = layouts.tars(tmp_path / "set") | IMAGENET
    (tmp_path / "set/val-001.tar").write_bytes((tmp_path / "set/val-002.tar").read_bytes())
    with pytest.raises(StudyError, match="share a name.*val-001.tar and val-002.tar"):
        index(source)
