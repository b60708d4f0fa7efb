"""Raw chunks: whatever is asked of an array is what numpy gives; each file is looked at once."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr

from tokenscope.errors import StudyError
from tokenscope.stores import raw_chunks
from tokenscope.stores.zarr_store import StoreWriter, Variable, open_array, open_store

IMAGES, CHUNK = 11, 4
VALUES = np.arange(IMAGES * 5 * 3, dtype=np.float16).reshape(IMAGES, 5, 3)


@pytest.fixture
def store(tmp_path):
    """Eleven images in chunks of four: tokens raw, classes with a codec, flags one a chunk."""
    variables = {
        "tokens": Variable(("token", "feature"), (5, 3), "float16"),
        "classes": Variable(("token",), (5,), "uint8", compress=True),
        "flag": Variable((), (), "bool"),
    }
    writer = StoreWriter(tmp_path / "store", tmp_path / "partial", variables, IMAGES, CHUNK, "x")
    for a, b in writer.ranges():
        values = {"tokens": VALUES[a:b].astype(np.float64), "flag": np.arange(a, b) % 3 == 0}
        writer.write(a, values | {"classes": VALUES[a:b, :, 0].astype(np.uint8)})
    writer.publish({}, {})
    return tmp_path / "store"


def test_zarr_alone_reads_what_was_written(store):
    group = zarr.open_group(store, mode="r")
    assert np.array_equal(group["tokens"][:], VALUES) and group["tokens"].chunks == (CHUNK, 5, 3)
    assert np.array_equal(group["flag"][:], np.arange(IMAGES) % 3 == 0)
    last = np.fromfile(store / "tokens/c/2/0/0", "<f2").reshape(CHUNK, 5, 3)
    assert np.array_equal(last[:3], VALUES[8:]) and np.isnan(last[3]).all()


PAIRS = xr.DataArray([9, 0, 4, 4], dims="at"), xr.DataArray([1, 4, 0, 2], dims="at")
ASKED = {
    "all": {},
    "one image": {"image": 6},
    "the last": {"image": -1},
    "across chunks": {"image": slice(2, 9)},
    "within one": {"image": slice(5, 7)},
    "none": {"image": slice(4, 4)},
    "every third": {"image": slice(1, None, 3)},
    "backwards": {"image": slice(None, None, -1)},
    "in any order": {"image": [10, 3, 3, 0]},
    "one token": {"token": 2},
    "of one image": {"image": 7, "token": -1},
    "some of some": {"image": [8, 1], "token": [4, 0], "feature": slice(1, None)},
    "lists behind": {"token": [3, 1], "feature": [2, 0]},
    "marked": {"token": np.array([True, False, True, False, True])},
    "token by token": dict(zip(("image", "token"), PAIRS, strict=True)),
}


@pytest.mark.parametrize("asked", ASKED)
@pytest.mark.parametrize("twice", [False, True])
def test_what_is_asked_is_what_numpy_gives(store, asked, twice):
    tokens = open_store(store)["tokens"]
    expected = xr.DataArray(VALUES, dims=tokens.dims).isel(ASKED[asked])
    for _ in range(1 + twice):
        found = tokens.isel(ASKED[asked])
        xr.testing.assert_equal(found, expected)
    found.values[...] = 0  # a copy: what the file holds stays
    xr.testing.assert_equal(open_store(store)["tokens"].isel(ASKED[asked]), expected)


@pytest.mark.parametrize("name", ["tokens", "classes"])
def test_single_tokens(store, name):
    rng = np.random.default_rng(0)
    images, tokens = rng.integers(0, IMAGES, 200), rng.integers(0, 5, 200)
    array = open_array(store, name)
    whole = array.read(0, IMAGES)
    assert np.array_equal(array.points(images, tokens), whole[images, tokens])
    assert np.array_equal(array.points(images), whole[images])
    assert len(array.points(np.array([], int), np.array([], int))) == 0


def flip(file: Path):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


ROADS = {
    "whole": lambda a: a.read(0, IMAGES),
    "a part": lambda a: a.read(5, 6),
    "tokens": lambda a: a.points(np.array([1, 5]), np.array([0, 0])),
}


@pytest.mark.parametrize("road", ROADS)
@pytest.mark.parametrize("name", ["tokens", "classes"])
def test_a_bit_is_named_with_its_images_where_it_is_read(store, name, road):
    ROADS[road](open_array(store, name))
    file = next(p for p in (store / name / "c/1").rglob("*") if p.is_file())
    flip(file)
    with pytest.raises(StudyError, match=rf"{name}/c/1/0(/0)? \(images 4 to 7\) is damaged"):
        ROADS[road](open_array(store, name))
    assert np.array_equal(open_array(store, name).read(8, 11), VALUES[8:] if name == "tokens" else
                          VALUES[8:, :, 0].astype(np.uint8))  # fmt: skip


def test_a_chunk_is_looked_at_once(store, monkeypatch):
    taken = []
    hashed = raw_chunks.xxhash.xxh3_128
    monkeypatch.setattr(raw_chunks.xxhash, "xxh3_128", lambda: taken.append(1) or hashed())
    tokens = open_array(store, "tokens")
    monkeypatch.setattr(raw_chunks, "MAPPED", 1)
    for _ in range(3):
        tokens.read(0, 2), tokens.points(np.array([1, 2, 6]), np.array([0, 1, 2]))
    assert len(taken) == 2


def test_an_array_of_another_shape_is_no_chunk(tmp_path):
    variables = {"tokens": Variable(("token",), (5,), "float16")}
    writer = StoreWriter(tmp_path / "store", tmp_path / "partial", variables, 4, 4, "x")
    with pytest.raises(ValueError, match="tokens"):
        writer.write(0, {"tokens": np.zeros((4, 1), np.float16)})
