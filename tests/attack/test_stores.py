"""Attempts on stores, their receipts and unfinished work: missing, short, changed, another's."""

import json
import os
import shutil

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tokenscope.classification import features
from tokenscope.images.readers import DecodedImages
from tokenscope.norms.token_norms import PatchNorms
from tokenscope.stores.checkpoint import Checkpoint
from tokenscope.stores.receipts import read_receipt, weights_of, write_receipt
from tokenscope.stores.zarr_store import StoreWriter, Variable, open_store, read_shards, store_of

IMAGES, CHUNK = 10, 4
VARIABLES = {
    "pixels": Variable(("row", "column", "channel"), (4, 4, 3), "uint8"),
    "norms": Variable(("block", "token"), (2, 5), "float32"),
    "cls": Variable(("feature",), (6,), "float32"),
    "flat": Variable((), (), "int32", compress=True),
}


def arrays(seed):
    rng = np.random.default_rng(seed)
    return {
        "pixels": rng.integers(1, 255, (IMAGES, 4, 4, 3), dtype=np.uint8),
        "norms": rng.random((IMAGES, 2, 5), np.float32) + 1,
        "cls": rng.random((IMAGES, 6), np.float32),
        "flat": rng.integers(1, 99, IMAGES, dtype=np.int32),
    }


def coords():
    return {
        "image_id": (("image",), np.array([f"a/{i}" for i in range(IMAGES)])),
        "label": (("image",), np.arange(IMAGES, dtype=np.int32) % 3),
        "token_kind": (("token",), np.array(["cls", *["patch"] * 4])),
        "patch_row": (("patch",), np.array([0, 0, 1, 1], np.int16)),
        "patch_column": (("patch",), np.array([0, 1, 0, 1], np.int16)),
    }


def make(folder, seed=0):
    """A store with its receipt below ``folder``."""
    values = arrays(seed)
    writer = StoreWriter(folder / "store", folder / "partial", VARIABLES, IMAGES, CHUNK, "x")
    for start, stop in writer.ranges():
        writer.write(start, {name: value[start:stop] for name, value in values.items()})
    contents = writer.publish(coords(), {"title": "test"})
    write_receipt(folder / "receipt.json", store=str(folder / "store"), arrays=contents)
    return folder


READERS = {
    "open_store": lambda f: open_store(f / "store").load(),
    "read_shards": lambda f: read_shards([f / "store"], list(VARIABLES)),
    "receipt": lambda f: read_shards([store_of(f / "receipt.json")], [*VARIABLES, "label"]),
    "pixels": lambda f: DecodedImages(f / "store").read(0, IMAGES),
    "norms": lambda f: PatchNorms.open([f / "receipt.json"]).norms(),
    "cls": lambda f: features.read([f / "store"], ["cls"], 1.0),
}
# Which array a reader of one array reads.
OF = {"pixels": "pixels", "norms": "norms", "cls": "cls"}


def chunk(folder, array, at=1):
    tail = ["0"] * (len(VARIABLES[array].shape))
    return folder.joinpath("store", array, "c", str(at), *tail)


def fifo(file):
    file.unlink()
    os.mkfifo(file)


def of_another(file, folder):
    other = make(folder.with_name(f"{folder.name}-other"), seed=1)
    shutil.copyfile(other / file.relative_to(folder), file)


FILES = {
    "removed": lambda f, _: f.unlink(),
    "empty": lambda f, _: f.write_bytes(b""),
    "cut": lambda f, _: f.write_bytes(f.read_bytes()[:-7]),
    "longer": lambda f, _: f.write_bytes(f.read_bytes() + bytes(16)),
    "one bit": lambda f, _: f.write_bytes(bytes([f.read_bytes()[0] ^ 1]) + f.read_bytes()[1:]),
    "zeros": lambda f, _: f.write_bytes(bytes(f.stat().st_size)),
    "a folder": lambda f, _: (f.unlink(), f.mkdir()),
    "a pipe": lambda f, _: fifo(f),
    "a dangling link": lambda f, _: (f.unlink(), f.symlink_to("nowhere")),
    "a device": lambda f, _: (f.unlink(), f.symlink_to("/dev/zero")),
    "another store's": of_another,
}


@pytest.mark.parametrize("damage", FILES)
@pytest.mark.parametrize("reader", READERS)
def test_a_chunk(tmp_path, attempt, reader, damage):
    folder = make(tmp_path / "a")
    file = chunk(folder, OF.get(reader, "norms"))
    FILES[damage](file, folder)
    attempt(lambda: READERS[reader](folder))


@pytest.mark.parametrize("array", VARIABLES)
def test_chunks_of_one_array_in_another_order(tmp_path, attempt, array):
    folder = make(tmp_path / "a")
    first, second = chunk(folder, array, 0), chunk(folder, array, 1)
    a, b = first.read_bytes(), second.read_bytes()
    first.write_bytes(b), second.write_bytes(a)
    attempt(lambda: READERS["open_store"](folder))


def edited(file, old, new):
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new, 1))


STORES = {
    "no list of checksums": lambda s, _: (s / "checksums.json").unlink(),
    "empty list": lambda s, _: (s / "checksums.json").write_text(""),
    "half a list": lambda s, _: (s / "checksums.json").write_text(
        (s / "checksums.json").read_text()[:200]
    ),
    "a list of numbers": lambda s, _: (s / "checksums.json").write_text('{"files": {"a": 1}}'),
    "a list without files": lambda s, _: (s / "checksums.json").write_text('{"files": {}}'),
    "another store's list": lambda s, o: shutil.copy(o / "checksums.json", s),
    "another store's arrays": lambda s, o: (
        shutil.rmtree(s / "norms"), shutil.copytree(o / "norms", s / "norms"),
    ),
    "another store": lambda s, o: (shutil.rmtree(s), shutil.copytree(o, s)),
    "no store": lambda s, _: shutil.rmtree(s),
    "a file for a store": lambda s, _: (shutil.rmtree(s), s.write_text("store")),
    "no group": lambda s, _: (s / "zarr.json").unlink(),
    "no list, no group": lambda s, _: (
        (s / "checksums.json").unlink(), (s / "zarr.json").unlink(),
    ),
    "damaged group": lambda s, _: (s / "zarr.json").write_text("{"),
    "no array": lambda s, _: shutil.rmtree(s / "norms"),
    "no chunks": lambda s, _: shutil.rmtree(s / "norms" / "c"),
    "no metadata": lambda s, _: (s / "norms" / "zarr.json").unlink(),
    "fewer images": lambda s, _: edited(s / "norms" / "zarr.json", "10", "8"),
    "other numbers": lambda s, _: edited(s / "norms" / "zarr.json", "float32", "int32"),
    "no labels": lambda s, _: shutil.rmtree(s / "label" / "c"),
    "no names": lambda s, _: shutil.rmtree(s / "image_id" / "c"),
    "labels of another": lambda s, _: (s / "label" / "c" / "0").write_bytes(bytes(40)),
}  # fmt: skip


@pytest.mark.parametrize("damage", STORES)
def test_a_store(tmp_path, attempt, damage):
    folder, other = make(tmp_path / "a"), make(tmp_path / "b", seed=1)
    STORES[damage](folder / "store", other / "store")
    attempt(lambda: READERS["receipt"](folder))


RECEIPTS = {
    "none": lambda f: f.unlink(),
    "empty": lambda f: f.write_text(""),
    "half": lambda f: f.write_text(f.read_text()[:100]),
    "a list": lambda f: f.write_text("[1]"),
    "null": lambda f: f.write_text("null"),
    "no UTF-8": lambda f: f.write_bytes(b'{"a": "\xff"}'),
    "binary": lambda f: f.write_bytes(bytes(range(256))),
    "deep": lambda f: f.write_text("[" * 100_000),
    "without store": lambda f: f.write_text('{"arrays": {}}'),
    "a number for the store": lambda f: f.write_text('{"store": 1, "arrays": {}}'),
    "a list for arrays": lambda f: f.write_text('{"store": "x", "arrays": []}'),
    "store elsewhere": lambda f: edited(f, '/a/store"', '/nowhere"'),
    "store of another": lambda f: edited(f, '/a/store"', '/b/store"'),
    "a folder": lambda f: (f.unlink(), f.mkdir()),
}


@pytest.mark.parametrize("damage", RECEIPTS)
def test_a_receipt(tmp_path, attempt, damage):
    folder = make(tmp_path / "a")
    make(tmp_path / "b", seed=1)
    RECEIPTS[damage](folder / "receipt.json")
    attempt(lambda: READERS["norms"](folder))


CARDS = {
    "without weights": {"name": "a", "sha256": "b"},
    "without checksum": {"name": "a", "weights": "b"},
    "without name": {"weights": "a", "sha256": "b"},
    "weights gone": {"name": "a", "weights": "/nowhere", "sha256": "b"},
    "weights are a device": {"name": "a", "weights": "/dev/zero", "sha256": "b"},
    "weights are a folder": {"name": "a", "weights": "/tmp", "sha256": "b"},
}


@pytest.mark.parametrize("card", CARDS)
def test_a_card(attempt, card):
    attempt(lambda: weights_of(CARDS[card]))


UNFINISHED = {
    "half a note": lambda p: next((p / "journal").glob("*.json")).write_text('{"norms/c'),
    "an empty note": lambda p: next((p / "journal").glob("*.json")).write_text(""),
    "half the attempts": lambda p: (p / "attempts.json").write_text("[{"),
    "a chunk gone": lambda p: (p / "group" / "cls" / "c" / "0" / "0").unlink(),
}


@pytest.mark.parametrize("damage", UNFINISHED)
def test_unfinished_work(tmp_path, attempt, damage):
    values = arrays(0)

    def writer():
        return StoreWriter(tmp_path / "s", tmp_path / "partial", VARIABLES, IMAGES, CHUNK, "x")

    begun = writer()
    begun.write(0, {name: value[:CHUNK] for name, value in values.items()})
    UNFINISHED[damage](begun.partial)

    def go_on():
        successor = writer()
        for start, stop in successor.missing():
            successor.write(start, {name: value[start:stop] for name, value in values.items()})
        successor.end_attempt("finished")
        successor.publish(coords(), {})

    attempt(go_on)


CHECKPOINTS = {
    "empty": b"", "text": b"checkpoint", "half": None, "an old pickle": b"cos\nsystem\n(S'x'\ntR.",
}  # fmt: skip


@pytest.mark.parametrize("damage", CHECKPOINTS)
def test_a_checkpoint(tmp_path, attempt, damage):
    file = tmp_path / "state"
    kept = Checkpoint(file, "name")
    kept.write({"weights": torch.ones(1000)}, now=True)
    content = CHECKPOINTS[damage]
    file.write_bytes(file.read_bytes()[:1000] if content is None else content)
    attempt(kept.read)


@pytest.mark.parametrize("at", [0.3, 0.5, 0.9])
def test_one_bit_of_a_checkpoint(tmp_path, attempt, at):
    """torch reads a weight with a bit flipped like any other."""
    file = tmp_path / "state"
    kept = Checkpoint(file, "name")
    for value in (1, 2):
        kept.write({"weights": torch.full((10000,), value)}, now=True)
    assert (kept.read()["weights"] == 2).all()
    content = bytearray(file.read_bytes())
    content[int(at * len(content))] ^= 1
    file.write_bytes(content)
    attempt(kept.read)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return make(tmp_path_factory.mktemp("whole"))


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_file_changed_anywhere(whole, tmp_path_factory, attempt, data):
    """A sentence, or the arrays that were written: whatever is done to whichever file."""
    folder = tmp_path_factory.mktemp("copy")
    shutil.copytree(whole / "store", folder / "store")
    receipt = read_receipt(whole / "receipt.json") | {"store": str(folder / "store")}
    (folder / "receipt.json").write_text(json.dumps(receipt))
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    file = data.draw(st.sampled_from(files), label=str(files[0]))
    content = bytearray(file.read_bytes())
    # As a share: a receipt is as long as the name of its folder.
    at = int(data.draw(st.floats(0, 0.999)) * len(content))
    if data.draw(st.booleans()) and content:
        content[at] ^= data.draw(st.integers(1, 255))
    else:
        content = content[:at] + data.draw(st.binary(max_size=8))
    file.write_bytes(content)
    expected = open_store(whole / "store").load()

    def right(found):
        same = all(np.array_equal(found[n].values, expected[n].values) for n in VARIABLES)
        return same and np.array_equal(found["label"].values, expected["label"].values)

    attempt(lambda: READERS["receipt"](folder), right)
    shutil.rmtree(folder)
