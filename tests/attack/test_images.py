"""Attempts on image files: no files, no images, programs in their place, damage, bombs, changes."""

import hashlib
import io
import os
import shutil
import struct
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from data import decode as decode_script
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from tokenscope.datasets.manifest import index
from tokenscope.datasets.sample import sample
from tokenscope.errors import StudyError
from tokenscope.images.damage import examine
from tokenscope.images.geometry import Geometry
from tokenscope.images.location import ImageLocation
from tokenscope.images.preprocess import decode, load_rgb
from tokenscope.images.readers import ImageInputs, StreamedImages

GEOMETRY = Geometry(32, 32)


def photograph(seed=0, side=96, kind="JPEG"):
    """Bytes of a smooth image of many colours."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
    image = Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC)
    noise = rng.integers(-20, 20, (side, side, 3))
    image = Image.fromarray((np.asarray(image) + noise).clip(0, 255).astype(np.uint8))
    out = io.BytesIO()
    image.save(out, kind, **({"quality": 92} if kind == "JPEG" else {}))
    return out.getvalue()


def png(width, height, data=b""):
    """A PNG of that size with almost nothing in it."""

    def part(kind, content):
        sum_ = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + sum_

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = part(b"IHDR", head) + part(b"IDAT", zlib.compress(data)) + part(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def of(image, kind, **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


JPEG, PNG = photograph(), photograph(kind="PNG")
POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/tmp/x) (w) file\nshowpage\n"
BYTES = {
    "empty": b"",
    "one byte": b"\xff",
    "text": b"no image at all",
    "half a JPEG": JPEG[: len(JPEG) // 2],
    "the head of a JPEG": JPEG[:200],
    "half a PNG": PNG[: len(PNG) // 2],
    "EPS by another name": POSTSCRIPT,
    "PDF by another name": b"%PDF-1.4\n%%EOF\n",
    "SVG by another name": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "WMF by another name": b"\xd7\xcd\xc6\x9a" + bytes(60),
    "FITS by another name": b"SIMPLE  =                    T" + b" " * 2850,
    "ICO by another name": of(Image.new("RGB", (16, 16)), "ICO"),
    "a bomb": png(60_000, 60_000),
    "a strip": png(40_000, 100, bytes(100 * (1 + 3 * 40_000))),
    "more pixels than bytes": png(500, 500, b"\0" * 100),
    "no pixels": png(0, 0),
    "float TIFF": of(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF"),
    "negative TIFF": of(Image.fromarray(np.full((4, 4), -5, np.int32)), "TIFF"),
    "HTML of an error": b"<html>404 Not Found</html>",
    "a pointer of Git LFS": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
    "an archive": b"PK\x03\x04" + bytes(100),
    "a pickle": b"cos\nsystem\n(S'touch x'\ntR.",
}


@pytest.mark.parametrize("name", BYTES)
def test_bytes_that_are_no_photograph(tmp_path, attempt, name):
    file = tmp_path / "image.jpg"
    file.write_bytes(BYTES[name])
    attempt(lambda: load_rgb(file))


PLACES = {
    "nothing": lambda f: None,
    "a folder": lambda f: f.mkdir(),
    "a pipe": os.mkfifo,
    "a device without end": lambda f: f.symlink_to("/dev/zero"),
    "a device without bytes": lambda f: f.symlink_to("/dev/null"),
    "a link to nothing": lambda f: f.symlink_to("nowhere"),
    "a link to itself": lambda f: f.symlink_to(f),
    "a link to its folder": lambda f: f.symlink_to(f.parent),
}


@pytest.mark.parametrize("name", PLACES)
def test_places_without_an_image(tmp_path, attempt, name):
    PLACES[name](tmp_path / "image.jpg")
    attempt(lambda: load_rgb(tmp_path / "image.jpg"))


@pytest.mark.parametrize("name", PLACES)
def test_a_data_set_with_one_place_without_an_image(tmp_path, attempt, name):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "a.jpg").write_bytes(JPEG)
    PLACES[name](tmp_path / "set" / "image.jpg")
    source = {"type": "imagefolder", "path": str(tmp_path / "set"), "labels": "none"}

    def sampled():
        return sample(index(source), source, "all", 0, "fail", tmp_path / "packed", 1)[0]

    # A folder, or nothing at all, is no image of the set.
    nothing = name in ("nothing", "a folder")
    attempt(sampled, lambda table: nothing and len(table) == 1)


DAMAGE = {
    "a hole": lambda b, at, n: b[:at] + bytes(n) + b[at + n :],
    "garbage": lambda b, at, n: b[:at] + np.random.default_rng(at).bytes(n) + b[at + n :],
    "bytes lost": lambda b, at, n: b[:at] + b[at + n :],
    "a marker": lambda b, at, n: b[:at] + b"\xff\xd9" + b[at + 2 :],
}


@pytest.mark.parametrize("size", [600, 2000])
@pytest.mark.parametrize("place", [0.3, 0.5, 0.7])
@pytest.mark.parametrize("kind", DAMAGE)
@pytest.mark.parametrize("original", ["JPEG", "PNG"])
def test_damage_inside(attempt, original, kind, place, size):
    """It is refused, or counted as suspicious: never taken without a word."""
    whole = JPEG if original == "JPEG" else PNG
    content = DAMAGE[kind](whole, int(place * len(whole)), size)

    def taken():
        load_rgb(io.BytesIO(content), "image")
        damaged, suspicious = examine(content)
        if damaged:
            raise StudyError(damaged)
        return suspicious

    attempt(taken, bool)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM", "JPEG2000"])
def test_whole_images_are_taken(attempt, kind):
    content = photograph(kind=kind)
    attempt(lambda: (load_rgb(io.BytesIO(content), "x").size, examine(content)),
            lambda found: found == ((96, 96), ("", "")))  # fmt: skip


@pytest.fixture
def sampled(tmp_path):
    """A folder of three images, and its sample."""
    folder = tmp_path / "set"
    folder.mkdir()
    for i in range(3):
        (folder / f"{i}.jpg").write_bytes(photograph(i))
    source = {"type": "imagefolder", "path": str(folder), "labels": "none"}
    table, _ = sample(index(source), source, "all", 0, "fail", tmp_path / "packed", 1)
    table.to_csv(tmp_path / "sample.csv", index=False)
    return tmp_path


ODD = ["a b", "$HOME", "`x`", "$(x)", "it's", '"q"', "[1]", "{a}", "{1..3}", "*", "a;b", "#", "%s",
       "-x", "~", "\u00e4\u4e2d", "a\\b", "!"]  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_folders_of_odd_names(tmp_path, attempt, name):
    folder = tmp_path / name
    (folder / name).mkdir(parents=True)
    for i in range(2):
        (folder / name / f"{name}{i}.jpg").write_bytes(photograph(i))
    source = {"type": "imagefolder", "path": str(folder), "labels": "folders"}

    def read():
        table, _ = sample(index(source), source, "all", 0, "fail", tmp_path / "packed", 1)
        table.to_csv(tmp_path / "sample.csv", index=False)
        images = ImageInputs(str(tmp_path / "sample.csv"), str(folder), GEOMETRY.key)
        return images.rows["label_name"].tolist(), len(images.open(1).read(0, 2))

    attempt(read, lambda found: found == ([name, name], 2))


@pytest.fixture
def decoded(sampled):
    """The sample decoded by the rule's script, as a job reads it."""
    images = ImageInputs(str(sampled / "sample.csv"), str(sampled / "set"), GEOMETRY.key)
    decode_script.main(images, 1, sampled / "store", sampled / "partial", sampled / "receipt.json")
    return replace(images, decoded=str(sampled / "store"), receipt=str(sampled / "receipt.json"))


def resampled(images):
    rows = pd.read_csv(images.sample)
    rows.iloc[::-1].to_csv(images.sample, index=False)
    return images


OF_DECODED = {
    "a chunk removed": lambda i, f: next((f / "store/pixels/c").rglob("0")).rename(f / "x") and i,
    "no chunk at all": lambda i, f: shutil.rmtree(f / "store/pixels/c") or i,
    "no store": lambda i, f: shutil.rmtree(f / "store") or i,
    "no receipt": lambda i, f: (f / "receipt.json").unlink() or i,
    "half a receipt": lambda i, f: (f / "receipt.json").write_text("{") and i,
    "another sample": lambda i, f: resampled(i),
    "another geometry": lambda i, f: replace(i, geometry=Geometry(32, 40).key),
    "another folder": lambda i, f: shutil.copytree(f / "store", f / "t")
    and replace(i, decoded=str(f / "t")),
    "zeros": lambda i, f: next(p for p in (f / "store/pixels/c").rglob("0") if p.is_file())
    .write_bytes(bytes(3 * 32 * 32 * 3)) and i,
}  # fmt: skip


@pytest.mark.parametrize("name", OF_DECODED)
def test_decoded_images(decoded, attempt, name):
    folder = Path(decoded.sample).parent
    images = OF_DECODED[name](decoded, folder)
    attempt(lambda: images.open(1).read(0, 3))


def test_decoded_images_as_they_are(decoded, attempt):
    attempt(lambda: decoded.open(1).read(0, 3), lambda pixels: pixels.any((1, 2, 3)).all())


CHANGES = {
    "another image": lambda f: f.write_bytes(photograph(9)),
    "images swapped": lambda f: (
        f.rename(f.with_name("t")), f.with_name("0.jpg").rename(f),
        f.with_name("t").rename(f.with_name("0.jpg")),
    ),
    "saved again": lambda f: f.write_bytes(
        of(Image.open(f).convert("RGB"), "JPEG", quality=92)
    ),
    "one bit": lambda f: f.write_bytes(f.read_bytes()[:-30] + b"\x01" + f.read_bytes()[-29:]),
    "half": lambda f: f.write_bytes(f.read_bytes()[:900]),
    "bytes behind it": lambda f: f.write_bytes(f.read_bytes() + b"\0"),
    "gone": lambda f: f.unlink(),
    "a pipe": lambda f: (f.unlink(), os.mkfifo(f)),
    "a link to another": lambda f: (f.unlink(), f.symlink_to(f.with_name("0.jpg"))),
    "another kind": lambda f: f.write_bytes(photograph(1, kind="PNG")),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_an_image_changed_between_sampling_and_decoding(sampled, attempt, change):
    CHANGES[change](sampled / "set" / "1.jpg")
    images = ImageInputs(str(sampled / "sample.csv"), str(sampled / "set"), GEOMETRY.key)
    attempt(lambda: images.open(workers=1).read(0, 3))


@pytest.mark.parametrize(
    "place",
    [(-5, 10), (0, 0), (0, 10**9), (10**9, 10), (3, 100), (0, len(JPEG) - 40)],
)
def test_ranges_of_a_larger_file(tmp_path, attempt, place):
    (tmp_path / "shard.tar").write_bytes(JPEG)
    attempt(lambda: decode(ImageLocation(str(tmp_path / "shard.tar"), *place), GEOMETRY))


TABLES = {
    "empty": "",
    "no rows": "image_id,path,label\n",
    "a label that is no number": "image_id,path,label\na,a,x\n",
    "a label with a fraction": "image_id,path,label\na,a,1.5\n",
    "no label": "image_id,path,label\na,a,\n",
    "an image twice": "image_id,path,label\na,a,1\na,b,1\n",
    "more cells than columns": "image_id,path\na,b,c,d\nx,y\n",
    "an open quote": 'image_id,path\n"a,b\n',
    "a size that is no number": "image_id,path,width\na,b,wide\n",
    "an endless offset": "image_id,path,offset\na,b,inf\n",
}


@pytest.mark.parametrize("name", TABLES)
def test_tables_of_images(tmp_path, attempt, name):
    (tmp_path / "sample.csv").write_text(TABLES[name])
    attempt(lambda: ImageInputs(str(tmp_path / "sample.csv"), ".", GEOMETRY.key).rows)


NAMES = ["0012", "1e5", "NA", "nan", "True", "1.0", "-1", "inf", "", "null", "0x10", " a ", "None"]


@pytest.mark.parametrize("name", NAMES)
def test_names_stay_text(tmp_path, attempt, name):
    table = pd.DataFrame({"image_id": [name], "path": [f"{name}.jpg"], "sha256": ["1" * 64]})
    table.to_csv(tmp_path / "sample.csv", index=False)
    images = ImageInputs(str(tmp_path / "sample.csv"), ".", GEOMETRY.key)
    attempt(lambda: images.rows.iloc[0].tolist(), lambda row: row == table.iloc[0].tolist())


HEADS = [
    b"",
    JPEG[:400],
    PNG[:60],
    b"GIF89a",
    b"II*\0",
    b"RIFF\0\0\0\0WEBPVP8 ",
    b"BM",
    b"P6\n9 9\n",
]


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.binary(max_size=300), st.sampled_from(HEADS))
def test_any_bytes(attempt, content, head):
    def read():
        image = load_rgb(io.BytesIO(head + content), "image")
        return image.mode

    attempt(read, lambda mode: mode == "RGB")


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 2), st.integers(0, 10**6), st.binary(min_size=1, max_size=40))
def test_any_change_after_sampling(tmp_path_factory, attempt, number, at, patch):
    folder = tmp_path_factory.mktemp("set")
    original = photograph(number)
    at %= len(original)
    content = original[:at] + patch + original[at + len(patch) :]
    (folder / "a.jpg").write_bytes(content)
    rows = pd.DataFrame({"path": ["a.jpg"], "sha256": [hashlib.sha256(original).hexdigest()]})
    reader = StreamedImages(str(folder), rows, GEOMETRY, 1)
    attempt(lambda: reader.read(0, 1), lambda _: content == original)
