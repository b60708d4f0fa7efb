"""Files added, removed or replaced in a data set are noticed, and only those: each time, what the
jobs make again is what a fresh study makes."""

import importlib.util
import io
import json
import os
import shutil
import tarfile

import layouts
import numpy as np
import pytest
from PIL import Image
from projects import ROOT

from tokenscope.datasets import watched
from tokenscope.errors import StudyError


def script(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / f"workflow_scripts/data/{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


class Study:
    """The rules index and sample, as Snakemake runs them: where a parameter is another."""

    def __init__(self, folder, source, images="all", bad="fail"):
        self.folder, self.source = folder, source
        self.draw = {"images": images, "seed": 0, "on_bad_image": bad}
        self.params = {}
        folder.mkdir()

    def asked(self, rule):
        return watched.changes(self.folder / f"{rule}.json", self.source)

    def stale(self):
        """The jobs that a start would run."""
        index, sample = (self.params.get(r) != self.asked(r) for r in ("index", "sample"))
        return ["index", "sample"] if index else ["sample"] if sample else []

    def start(self):
        jobs = self.stale()
        if "index" in jobs:
            self.params.pop("index", None)
            changes = self.asked("index")
            script("index")(
                source=self.source, threads=1, changes=changes,
                output=self.folder / "manifest.csv", record=self.folder / "index.json",
            )  # fmt: skip
            self.params["index"] = changes
        if "sample" in jobs:
            self.params.pop("sample", None)
            changes = self.asked("sample")
            files = {"listed": self.folder / "index.json", "record": self.folder / "sample.json"}
            script("sample")(
                manifest=self.folder / "manifest.csv", source=self.source, draw=self.draw,
                threads=1, watch={**files, "changes": changes}, output=self.folder / "sample.csv",
                packed=self.folder / "packed", receipt=self.folder / "receipt.json",
            )  # fmt: skip
            self.params["sample"] = changes
        return jobs

    def result(self):
        packed = {f.name: f.read_bytes() for f in (self.folder / "packed").iterdir()}
        skipped = json.loads((self.folder / "receipt.json").read_text())["skipped"]
        return (self.folder / "sample.csv").read_text(), packed, skipped


def photograph(file, seed, old=True):
    """A photograph of one size in bytes, whatever is on it; an old file unless said otherwise."""
    pixels = np.random.default_rng(seed).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file, "BMP")
    if old:
        age(file)


def age(file, days=3.0):
    then = file.stat().st_mtime - 86400 * days
    os.utime(file, (then, then))


@pytest.fixture
def photographs(tmp_path):
    folder = tmp_path / "photographs"
    for i in range(12):
        (folder / f"class{i % 2}").mkdir(parents=True, exist_ok=True)
        photograph(folder / f"class{i % 2}" / f"{i:02d}.bmp", i)
    for place in (folder / "class0", folder / "class1", folder):
        age(place)
    return folder


def another_of_its_size(folder):
    file = folder / "class0" / "02.bmp"
    time = file.stat().st_mtime_ns
    photograph(file, 99)
    assert file.stat().st_mtime_ns != time and file.stat().st_size == 822


CHANGES = {
    "one added": (lambda f: photograph(f / "class1" / "new.bmp", 50), ["index", "sample"]),
    "one added in a folder of its own": (
        lambda f: ((f / "class2").mkdir(), photograph(f / "class2" / "a.bmp", 50)),
        ["index", "sample"],
    ),
    "one removed": (lambda f: (f / "class1" / "01.bmp").unlink(), ["index", "sample"]),
    "a class removed": (lambda f: shutil.rmtree(f / "class1"), ["index", "sample"]),
    "one renamed": (
        lambda f: (f / "class1" / "01.bmp").rename(f / "class1" / "1.bmp"), ["index", "sample"],
    ),
    "one replaced in place": (another_of_its_size, ["sample"]),
    "one replaced by a longer file": (
        lambda f: (f / "class0" / "02.bmp").write_bytes((ROOT / "README.md").read_bytes()),
        ["sample"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", CHANGES)
def test_a_changed_folder_gives_what_a_fresh_study_gives(photographs, tmp_path, what):
    source = {"type": "imagefolder", "path": str(photographs), "labels": "folders"}
    study = Study(tmp_path / "study", source, bad="skip")
    assert study.start() == ["index", "sample"] and study.start() == []
    change, expected = CHANGES[what]
    change(photographs)
    before = study.result()
    assert study.start() == expected and study.start() == []
    fresh = Study(tmp_path / "fresh", source, bad="skip")
    fresh.start()
    assert study.result() == fresh.result() != before


def test_a_bad_file_that_is_mended_or_removed_is_not_named_again(photographs, tmp_path):
    bad = photographs / "class0" / "04.bmp"
    bad.write_bytes(bad.read_bytes()[:60])
    source = {"type": "imagefolder", "path": str(photographs), "labels": "folders"}
    strict, lenient = Study(tmp_path / "a", source), Study(tmp_path / "b", source, bad="skip")
    lenient.start()
    assert "04" in lenient.result()[2][0]["image_id"] and lenient.start() == []
    with pytest.raises(StudyError, match="04"):
        strict.start()
    photograph(bad, 4)
    assert strict.start() == lenient.start() == ["sample"]
    assert strict.result() == lenient.result() and not lenient.result()[2]
    other = Study(tmp_path / "c", source)
    bad.write_bytes(b"no image")
    with pytest.raises(StudyError, match="04"):
        other.start()
    bad.unlink()
    assert other.start() == ["index", "sample"]


def test_images_that_were_not_drawn_may_change(photographs, tmp_path):
    source = {"type": "imagefolder", "path": str(photographs), "labels": "folders"}
    study = Study(tmp_path / "study", source, images=4)
    study.start()
    drawn = study.result()[0]
    others = [file for file in photographs.rglob("*.bmp") if file.name not in drawn]
    assert len(others) == 8
    for i, file in enumerate(others):
        photograph(file, 70 + i)
    assert study.start() == []
    (photographs / "class0" / "notes.txt").write_text("not an image")
    assert study.start() == []


def test_a_copy_with_other_times_is_the_same_set(photographs, tmp_path):
    source = {"type": "imagefolder", "path": str(photographs), "labels": "folders"}
    study = Study(tmp_path / "study", source)
    study.start()
    shutil.copytree(photographs, tmp_path / "copy", copy_function=shutil.copyfile)
    shutil.rmtree(photographs)
    assert study.start() == []  # a study without its images is left alone
    photographs.mkdir()
    assert study.start() == []  # and so is one whose disk is not mounted
    photographs.rmdir()
    (tmp_path / "copy").rename(photographs)
    assert study.start() == []
    photograph(photographs / "class1" / "03.bmp", 98)
    assert study.start() == ["sample"]


@pytest.fixture(params=["tars", "parquet"])
def shards(request, tmp_path):
    return layouts.ALL[request.param](tmp_path / "set") | {
        "classes": "imagenet-1k", "subset": True,
    }  # fmt: skip


def rewritten(source, brighter=40):
    """The same shard with one image replaced: another size, as it happens."""
    file = sorted((ROOT / source["path"]).parent.glob("*"))[0]
    if source["type"] == "parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        table = pq.read_table(file)
        cells = table["image"].to_pylist()
        cells[0]["bytes"] = made(Image.open(io.BytesIO(cells[0]["bytes"])), brighter)
        column = pa.array(cells, table.schema.field("image").type)
        pq.write_table(table.set_column(0, table.schema.field("image"), column), file)
        return file
    with tarfile.open(file) as tar:
        members = [(m, tar.extractfile(m).read()) for m in tar]
    with tarfile.open(file, "w") as tar:
        for i, (member, content) in enumerate(members):
            if i == 0:
                content = made(Image.open(io.BytesIO(content)), brighter)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return file


def made(image, brighter):
    out = io.BytesIO()
    image.point(lambda value: min(255, value + brighter)).save(out, "JPEG", quality=90)
    return out.getvalue()


def test_shards_that_change_give_what_a_fresh_study_gives(shards, tmp_path):
    study = Study(tmp_path / "study", shards)
    study.start()
    assert study.start() == []
    for file in (tmp_path / "set").iterdir():
        os.utime(file)  # of another time alone
    assert study.start() == []
    rewritten(shards)
    before = study.result()
    assert study.start() == ["index", "sample"] and study.start() == []
    fresh = Study(tmp_path / "fresh", shards)
    fresh.start()
    assert study.result() == fresh.result() != before


def test_a_shard_replaced_between_index_and_sample_is_named(shards, tmp_path, monkeypatch):
    study = Study(tmp_path / "study", shards)
    study.start()
    rewritten(shards)
    study.params["index"] = study.asked("index")  # planned before the shard was replaced
    study.params.pop("sample")
    name = sorted(f.name for f in (tmp_path / "set").iterdir())[0]
    with pytest.raises(StudyError, match=rf"{name}' was replaced.*run again"):
        study.start()
    study.params["index"] = 0
    assert study.start() == ["index", "sample"]


def test_one_shard_more_or_less_of_a_pattern(shards, tmp_path):
    shards["path"] = str(tmp_path / "set" / "*")
    study = Study(tmp_path / "study", shards)
    study.start()
    last = sorted((tmp_path / "set").iterdir())[-1]
    aside = last.rename(tmp_path / last.name)
    assert study.start() == ["index", "sample"]
    aside.rename(last)
    assert study.start() == ["index", "sample"] and study.start() == []


def test_labels_that_change(tmp_path):
    source = layouts.flat(tmp_path / "set") | {"classes": "imagenet-1k", "subset": True}
    study = Study(tmp_path / "study", source)
    study.start()
    file = tmp_path / "set" / "ground_truth.txt"
    numbers = file.read_text().split()
    numbers[0], numbers[1] = numbers[1], numbers[0]
    file.write_text("\n".join(numbers) + "\n")
    assert study.start() == ["index", "sample"]
    fresh = Study(tmp_path / "fresh", source)
    fresh.start()
    assert study.result() == fresh.result()


def test_a_record_that_is_damaged_or_gone(photographs, tmp_path):
    source = {"type": "imagefolder", "path": str(photographs), "labels": "none"}
    study = Study(tmp_path / "study", source)
    study.start()
    for damage in ("", "{", "[]", '{"changes": 0}'):
        (study.folder / "index.json").write_text(damage)
        assert study.start() == ["index", "sample"] and study.start() == []
    (study.folder / "index.json").unlink()
    study.params.pop("sample")
    study.params["index"] = 0
    with pytest.raises(StudyError, match=r"index.json: the record.*manifest.csv"):
        study.start()


def test_a_large_set_costs_a_look_at_its_folders(tmp_path, monkeypatch):
    """Of 3,000 images in 30 folders no file is looked at when nothing changed, all being old."""
    folder = tmp_path / "set"
    for i in range(3000):
        (folder / f"{i % 30}").mkdir(parents=True, exist_ok=True)
        (folder / f"{i % 30}" / f"{i}.png").touch()
    for place in [*folder.iterdir(), folder]:
        age(place)
    record = watched.of_listing({"type": "imagefolder", "path": str(folder), "labels": "folders"})
    looked = []
    stat = os.stat
    monkeypatch.setattr(os, "stat", lambda path, **k: (looked.append(path), stat(path, **k))[1])
    assert watched.changed(record) == "" and 31 <= len(looked) <= 40
    monkeypatch.setattr(watched, "listed", lambda *_: pytest.fail("a folder was listed"))
    assert watched.changed(record) == ""


def test_of_a_large_file_blocks_are_compared(tmp_path, monkeypatch):
    monkeypatch.setattr(watched, "WHOLE", 1 << 16)
    monkeypatch.setattr(watched, "BLOCK", 1 << 10)
    file = tmp_path / "a.tar"
    content = bytearray(os.urandom(1 << 18))
    content[-1] = 1  # which is overwritten by 0 below
    file.write_bytes(content)
    first = watched._digest(str(file))
    for at in (0, -1, 1 << 17):
        other = bytearray(content)
        other[at : at + 5000 if at >= 0 else None] = bytes(5000 if at >= 0 else 1)
        file.write_bytes(other)
        assert watched._digest(str(file)) != first
