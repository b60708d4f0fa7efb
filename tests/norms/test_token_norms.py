"""A token store of two shards reads as one, and only as far as it is asked."""

import json

import numpy as np
import pytest
import xarray as xr

from tokenscope.norms import token_norms
from tokenscope.norms.token_norms import PatchNorms

KINDS = ["cls", "reg0", *["patch"] * 6]


@pytest.fixture
def whole():
    """Arrays of seven images, three blocks, a grid of 2 x 3."""
    rng = np.random.default_rng(0)
    return {
        "norms": (("image", "block", "token"), rng.random((7, 3, 8), np.float32)),
        "tokens": (("image", "token", "feature"), rng.random((7, 8, 5), np.float32)),
        "attention": (("image", "query", "patch"), rng.random((7, 2, 6), np.float32)),
        "neighbour_cosine": (("image", "patch", "neighbour"), rng.random((7, 6, 4), np.float32)),
    }


@pytest.fixture
def receipts(whole, tmp_path):
    rows, columns = np.indices((2, 3)).reshape(2, -1)
    files = []
    for number, images in enumerate((slice(0, 4), slice(4, 7))):
        coords = {
            "image_id": ("image", ["a", "b", "c", "d", "long", "f", "g"][images]),
            "token_kind": ("token", KINDS), "query": ["cls", "reg0"],
            "patch_row": ("patch", rows), "patch_column": ("patch", columns),
        }  # fmt: skip
        shard = {name: (dims, values[images]) for name, (dims, values) in whole.items()}
        store = tmp_path / f"shard{number}"
        encoding = {"norms": {"chunks": (2, 3, 8)}}
        xr.Dataset(shard, coords).to_zarr(store, consolidated=False, encoding=encoding)
        files.append(tmp_path / f"shard{number}.json")
        files[-1].write_text(json.dumps({"store": str(store)}))
    return files


@pytest.mark.parametrize("piece", [1, 3, 4096])
def test_shards_read_as_one(receipts, whole, piece, monkeypatch):
    monkeypatch.setattr(token_norms, "PIECE", piece)
    tokens, norms = PatchNorms.open(receipts), whole["norms"][1]
    assert tokens.images == 7 and tokens.grid == (2, 3) and tokens.ranges == [(0, 4), (4, 7)]
    assert tokens.image_ids.tolist() == ["a", "b", "c", "d", "long", "f", "g"]
    assert np.array_equal(tokens.norms(), norms[:, :, 2:])
    assert np.array_equal(tokens.norms(-1), norms[:, -1, 2:])
    assert np.array_equal(tokens.norms(0), norms[:, 0, 2:])
    prefix = tokens.prefix_norms()
    assert list(prefix) == ["cls", "reg0"] and np.array_equal(prefix["reg0"], norms[:, -1, 1])
    assert np.array_equal(tokens.attention("reg0"), whole["attention"][1][:, 1])
    assert tokens.attention("reg1") is None
    assert np.array_equal(tokens.read("neighbour_cosine"), whole["neighbour_cosine"][1])
    assert "top5" not in tokens and "norms" in tokens


def test_one_image_of_each_shard(receipts, whole):
    tokens = PatchNorms.open(receipts)
    for image in (0, 3, 4, 6):
        assert np.array_equal(tokens.of_image("norms", image), whole["norms"][1][image, :, 2:])
        assert np.array_equal(tokens.of_image("tokens", image), whole["tokens"][1][image, 2:])


def test_nothing_read_stays_in_memory(receipts):
    tokens = PatchNorms.open(receipts)
    tokens.norms(), tokens.norms(-1), tokens.read("neighbour_cosine"), tokens.of_image("norms", 1)
    for shard in tokens.shards:
        for name in ("norms", "neighbour_cosine"):
            assert not shard[name].variable._in_memory
