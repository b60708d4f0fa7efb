"""One bit flipped in a store of each kind: the next job that reads it names store, chunk, images.

A checkpoint's bits are flipped in tests/attack/test_stores.py.
"""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from banks import World

from tokenscope.classification import features
from tokenscope.errors import StudyError
from tokenscope.images.readers import ImageInputs
from tokenscope.norms.token_norms import PatchNorms
from tokenscope.probes.token_rows import Bank, Tokens, choose, split
from tokenscope.stores import maps_file
from tokenscope.stores.receipts import fingerprint, write_receipt
from tokenscope.stores.zarr_store import StoreWriter, Variable, open_store

ARRAYS = {
    "pixels": Variable(("row", "column", "channel"), (4, 4, 3), "uint8"),
    "norms": Variable(("block", "token"), (2, 5), "float32"),
    "tokens": Variable(("token", "feature"), (5, 6), "float16"),
    "cls": Variable(("feature",), (6,), "float32"),
    "instance": Variable(("row", "column"), (4, 4), "uint8", compress=True),
}
SUMS = [f"{i:064d}" for i in range(6)]


@pytest.fixture
def study(tmp_path):
    """Six images in chunks of two, with the sample and the receipt."""
    rng = np.random.default_rng(0)
    writer = StoreWriter(tmp_path / "store", tmp_path / "partial", ARRAYS, 6, 2, "x")
    for start, stop in writer.ranges():
        shapes = {name: (stop - start, *array.shape) for name, array in ARRAYS.items()}
        writer.write(start, {name: rng.integers(1, 200, shape) for name, shape in shapes.items()})
    kinds = np.array(["cls", *["patch"] * 4])
    label = (("image",), np.arange(6, dtype=np.int32))
    ids = (("image",), np.array([f"{i}.png" for i in range(6)]))
    coords = {"token_kind": (("token",), kinds), "label": label, "image_id": ids}
    of = fingerprint(images=SUMS, geometry="4px")
    arrays = writer.publish(coords, {})
    write_receipt(tmp_path / "receipt", store=str(tmp_path / "store"), arrays=arrays, of=of)
    rows = [f"{i}.png,{i}.png,{i},{SUMS[i]}" for i in range(6)]
    (tmp_path / "sample.csv").write_text("\n".join(["image_id,path,label,sha256", *rows]))
    return tmp_path


def images(study):
    place = {"sample": study / "sample.csv", "root": "", "geometry": "4px"}
    inputs = ImageInputs(**place, decoded=str(study / "store"), receipt=study / "receipt")
    return inputs.open(1).read(1, 5)


def probed(bank, target):
    """The rows that probes are trained on."""
    choice = choose(bank, ["normal", "outlier"], 1)
    rows = Tokens(bank, choice, target, split(300, [0.6, 0.2, 0.2], 1, 0))
    return next(rows.windows())


READERS = {
    "images": ("pixels", images),
    "tokens": ("norms", lambda study: PatchNorms.open([study / "receipt"]).norms(-1)),
    "maps of one image": (
        "tokens",
        lambda study: PatchNorms.open([study / "receipt"]).of_image("tokens", 2),
    ),
    "features": ("cls", lambda study: features.read([study / "store"], ["cls"], 1.0)),
    "truth": ("instance", lambda study: open_store(study / "store")["instance"].values[[3, 1]]),
}


def flip(file: Path, at=0.5):
    content = bytearray(file.read_bytes())
    content[int(at * len(content))] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize("kind", READERS)
def test_the_reader_names_store_chunk_and_images(study, kind):
    name, read = READERS[kind]
    read(study)
    flip(next(p for p in (study / "store" / name / "c/1").rglob("*") if p.is_file()))
    with pytest.raises(StudyError, match=rf"store: its file {name}/c/1.* \(images 2 to 3\) is dam"):
        read(study)


@pytest.mark.parametrize("target, name", [("position", "tokens"), ("pixels", "pixels")])
def test_probes_name_the_shard_of_their_bank(tmp_path, target, name):
    world = World(300)
    bank = world.bank(tmp_path, world.local(), world.image_level())
    assert probed(bank, target).tokens.shape[1] == 300
    flip(tmp_path / "0150" / name / "c/0/0/0")
    with pytest.raises(StudyError, match=rf"0150: its file {name}/c/0/0/0 \(images 0 to 149\) is"):
        probed(Bank(bank.stores), target)


MAPS = xr.Dataset(
    {
        "norms": (("image", "block", "row"), np.arange(24, dtype=np.float32).reshape(2, 3, 4)),
        "pixels": (("image", "y"), np.arange(8, dtype=np.int16).reshape(2, 4)),
    },
    attrs={"queries": "cls,reg0", "patch": 16, "share": 0.1, "grid": (2, 2)},
)


@pytest.mark.parametrize("at", [0.1, 0.5, 0.7, 0.98])
def test_maps_of_the_gallery(tmp_path, at):
    file = tmp_path / "maps.nc"
    maps_file.save(MAPS, file)
    found = maps_file.load(file)
    xr.testing.assert_equal(found, MAPS)
    assert found.attrs["queries"] == "cls,reg0" and found.attrs["grid"] == "(2, 2)"
    with xr.open_dataset(file, engine="scipy") as plain:  # without us
        xr.testing.assert_equal(plain.load(), MAPS)
    flip(file, at)
    with pytest.raises(StudyError, match=r"maps.nc: these maps are damaged.*run again"):
        maps_file.load(file)


def test_maps_of_an_earlier_version_are_read(tmp_path):
    maps = MAPS.assign_attrs(grid="2")
    maps.to_netcdf(tmp_path / "maps.nc", engine="scipy")
    xr.testing.assert_equal(maps_file.load(tmp_path / "maps.nc"), maps)
