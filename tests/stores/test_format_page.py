"""Stores of every kind, opened by Zarr and xarray alone in another process: what the page says."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from projects import ROOT
from safetensors import safe_open

from tokenscope.backbones.loading import create
from tokenscope.discovery import sweep
from tokenscope.discovery.settings import every_setting
from tokenscope.extraction import loop, token_bank
from tokenscope.stores.receipts import write_receipt
from tokenscope.stores.zarr_store import StoreWriter, open_store

PAGE = ROOT / "config/stores.md"
IMAGES, CHUNK = 5, 2

# What a stranger would run: nothing of ours is on the path.
STRANGER = """
import json, sys, warnings
warnings.simplefilter("error", RuntimeWarning)
warnings.filterwarnings("error", message=".*does not have a Zarr V3 specification.*")
import xarray as xr, zarr
assert not any(name.startswith("tokenscope") for name in sys.modules)
found = {}
for kind, place in json.loads(sys.argv[1]).items():
    data = xr.open_zarr(place, chunks=None, consolidated=False).load()
    group = zarr.open_group(place, mode="r")
    found[kind] = {
        "attrs": dict(group.attrs),
        "arrays": {
            name: {
                "dims": list(data[name].dims), "units": data[name].attrs.get("units", ""),
                "type": str(array.metadata.to_dict()["data_type"]),
                "name": data[name].attrs.get("long_name", ""),
                "codecs": [codec["name"] for codec in array.metadata.to_dict()["codecs"]],
                "same": bool((data[name].values == array[:]).all()),
            }
            for name, array in group.arrays()
        },
    }
print(json.dumps(found))
"""


def written(folder, kind, arrays, coords, attrs):
    """A store with numbers counted up, and its receipt."""
    writer = StoreWriter(folder / kind, folder / "partial", arrays, IMAGES, CHUNK, "x")
    for start, stop in writer.ranges():
        shapes = {n: (stop - start, *v.shape) for n, v in arrays.items()}
        writer.write(start, {n: np.arange(np.prod(s)).reshape(s) % 7 for n, s in shapes.items()})
    contents = writer.publish(coords, attrs)
    write_receipt(folder / f"{kind}.json", store=str(folder / kind), arrays=contents)
    return str(folder / kind)


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """Folders by kind: all that a store of the kind can hold, of a ViT with two registers."""
    from data import decode, render

    folder = tmp_path_factory.mktemp("stores")
    size = {"img_size": 32, "depth": 2, "embed_dim": 12, "num_heads": 3, "num_classes": 7}
    model = create({"timm_id": "vit_tiny_patch16_224", "registers": 2, "model": size})
    names = [f"{i}.png" for i in range(IMAGES)]
    rows = pd.DataFrame({"image_id": names, "label": range(IMAGES), "width": 40, "height": 30})
    keep = {"tokens": True, "qkv": True, "logits": True}
    tokens = loop.variables(model, (2, 2), keep), loop.coordinates(rows, model)
    draw = token_bank.Draw(1.0, 1, 0)
    settings = every_setting(2, 1, ["k", "v"], [False], [0.0])
    render.main(IMAGES, 0, 32, 0.0, folder / "png", folder / "truth", folder / "labels.csv",
                folder / "partial-truth")  # fmt: skip
    return {
        "images": written(folder, "images", decode.variables(32), decode.coordinates(rows), {}),
        "truth": str(folder / "truth"),
        "tokens": written(folder, "tokens", *tokens, {}),
        "features": written(
            folder, "features", token_bank.variables(model, draw, True, 2),
            token_bank.coordinates(rows, model, draw), token_bank.attributes(model, draw),
        ),
        "discovery": written(
            folder, "discovery", sweep.variables(settings), sweep.coordinates(rows, settings), {}
        ),
    }  # fmt: skip


@pytest.fixture(scope="module")
def found(stores):
    """What the stranger sees."""
    done = subprocess.run(
        [sys.executable, "-c", STRANGER, json.dumps(stores)], capture_output=True, text=True,
        cwd="/", env={"PATH": ""},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def tables():
    """The page's tables by kind: array -> (dims, type, units)."""
    arrays, kind = {}, ""
    for line in PAGE.read_text().splitlines():
        if line.startswith("### "):
            kind = line.split("`")[1].split("/")[0].removesuffix(".zarr")
        row = [cell.strip() for cell in line.strip("|").split("|")]
        if kind and line.startswith("| `") and len(row) == 5:
            for name in re.findall(r"`(\w+)`", row[0]):
                arrays.setdefault(kind, {})[name] = row[1].split(", "), row[2], row[3]
    return arrays


KINDS = ("images", "truth", "tokens", "features", "discovery")


@pytest.mark.parametrize("kind", KINDS)
def test_the_page_says_what_a_stranger_finds(found, kind):
    said = tables()[kind]
    seen = {n: (a["dims"], a["type"], a["units"]) for n, a in found[kind]["arrays"].items()}
    assert seen == {name: row for name, row in said.items() if name in seen}
    only_without_cls = {"attention_received", "attention_pooling"}
    assert set(said) - set(seen) <= only_without_cls
    assert all(array["name"] and array["same"] for array in found[kind]["arrays"].values())
    assert found[kind]["attrs"]["Conventions"] == "tokenscope-store-1"


def test_what_was_measured_is_raw(found):
    for kind in KINDS:
        coordinates = {*found[kind]["attrs"]["coordinates"].split(), "block", "query", "neighbour"}
        coordinates |= {"corner"}  # named as their dimensions
        for name, array in found[kind]["arrays"].items():
            raw = kind != "truth" and name not in coordinates
            if kind != "truth" or name in ("instance", "segmentation", "depth"):
                assert (array["codecs"] == ["bytes"]) is raw, (kind, name)


@pytest.mark.parametrize("kind", KINDS)
def test_by_safetensors_and_back(stores, kind, tmp_path):
    import convert

    convert.main(stores[kind], tmp_path / "file.safetensors")
    convert.main(tmp_path / "file.safetensors", tmp_path / "store")
    before, after = (
        {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
        for folder in (Path(stores[kind]), tmp_path / "store")
    )
    assert before.pop("checksums.json") and after.pop("checksums.json")
    assert before == after
    with safe_open(tmp_path / "file.safetensors", "np") as file:
        name = sorted(file.keys())[0]
        assert np.array_equal(file.get_tensor(name), open_store(stores[kind])[name].values)


def test_checksums_are_those_that_the_page_defines(stores):
    """By the page's words alone: a chunk's file, the list, and the receipt."""
    import xxhash

    folder = Path(stores["tokens"])
    sums = json.loads((folder / "checksums.json").read_text())["files"]
    for name, taken in sums.items():
        assert xxhash.xxh3_128_hexdigest((folder / name).read_bytes()) == taken
    files = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    assert files - {"checksums.json"} == set(sums)
    receipt = json.loads(folder.with_name("tokens.json").read_text())
    for name, facts in receipt["arrays"].items():
        own = [sums[file] for file in sorted(sums) if file.startswith(f"{name}/")]
        assert xxhash.xxh3_128_hexdigest("".join(own).encode()) == facts["xxh3_128"]
    raw = np.fromfile(folder / "norms/c/1/0/0", "<f4").reshape(CHUNK, 2, 7)
    assert (raw.ravel() == np.arange(CHUNK * 14) % 7).all()
