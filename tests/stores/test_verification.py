"""What a whole study is checked for: each kind of damage is named, with what to remove."""

import shutil
import subprocess
import sys

import numpy as np
import pytest
import yaml
from projects import ROOT

from tokenscope.errors import StudyError
from tokenscope.stores.mending import mend
from tokenscope.stores.receipts import read_receipt, sha256_file, weights_of, write_receipt
from tokenscope.stores.verification import verify
from tokenscope.stores.zarr_store import StoreWriter, Variable, store_of

VARIABLES = {"norms": Variable(("block",), (3,), "float32")}


@pytest.fixture
def results(tmp_path):
    """A study of stores with a receipt, without, and of two groups, and of one backbone."""
    for name in ("tokens.zarr/a", "truth.zarr", "gallery.zarr/a/native", "gallery.zarr/a/high"):
        writer = StoreWriter(tmp_path / name, tmp_path / "partial" / name, VARIABLES, 4, 2, name)
        for first in (0, 2):
            writer.write(first, {"norms": np.full((2, 3), first, np.float32)})
        arrays = writer.publish({}, {})
        if name.startswith("tokens"):
            receipt = tmp_path / "receipts/extract/a.json"
            write_receipt(receipt, store=str(tmp_path / name), arrays=arrays)
    (tmp_path / "gallery.zarr/a/zarr.json").write_text('{"node_type": "group"}')
    write_receipt(tmp_path / "receipts/gallery/a.json", store=str(tmp_path / "gallery.zarr/a"))
    weights = tmp_path / "backbones/a/model.safetensors"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(bytes(1000))
    write_receipt(
        weights.with_name("card.json"), name="a", weights=str(weights), sha256=sha256_file(weights)
    )
    return tmp_path


def chunk(results, store="tokens.zarr/a"):
    return next(p for p in (results / store / "norms/c").rglob("*") if p.is_file())


def flip(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def files_of(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_of_a_damaged_store_only_the_chunk_is_made_again(results):
    store = results / "tokens.zarr/a"
    before = files_of(store)
    flip(store / "norms/c/1/0")
    assert mend(verify(results).faults) and not store.exists()
    assert not (results / "receipts/extract/a.json").exists() and not verify(results).faults
    again = StoreWriter(store, results / "partial/tokens.zarr/a", VARIABLES, 4, 2, "tokens.zarr/a")
    assert again.missing() == [(2, 4)]
    again.write(2, {"norms": np.full((2, 3), 2, np.float32)})
    again.publish({}, {})
    assert files_of(store) == before


def test_a_store_of_other_work_is_made_anew(results):
    store = results / "tokens.zarr/a"
    flip(store / "norms/c/1/0"), flip(results / "gallery.zarr/a/high/norms/c/0/0")
    mend(verify(results).faults)
    again = StoreWriter(store, results / "partial/tokens.zarr/a", VARIABLES, 4, 2, "other")
    assert again.missing() == [(0, 2), (2, 4)]
    assert not (results / "gallery.zarr/a/high").exists()


def test_a_whole_study_is_whole(results):
    found = verify(results)
    assert found.faults == [] and found.stores == 4 and found.files > 4


@pytest.mark.parametrize(
    "damage, said, removed",
    [
        (lambda r: flip(chunk(r)), "is damaged", ["tokens.zarr/a", "receipts/extract/a.json"]),
        (lambda r: flip(chunk(r, "truth.zarr")), "truth.zarr: its file norms/", ["truth.zarr"]),
        (
            lambda r: flip(chunk(r, "gallery.zarr/a/high")), "high: its file norms/",
            ["gallery.zarr/a/high", "receipts/gallery/a.json"],
        ),
        (lambda r: chunk(r).unlink(), "is missing", ["tokens.zarr/a", "receipts/extract/a.json"]),
        (
            lambda r: (r / "tokens.zarr/a/checksums.json").unlink(), "checksums.json is missing",
            ["tokens.zarr/a", "receipts/extract/a.json"],
        ),
        (
            lambda r: (r / "receipts/extract/a.json").write_text("{"), "a.json: is damaged",
            ["receipts/extract/a.json"],
        ),
        (
            lambda r: flip(r / "backbones/a/model.safetensors"), "have changed",
            ["backbones/a/card.json"],
        ),
    ],
    ids=["bit", "no-receipt", "group", "chunk", "list", "receipt", "weights"],
)  # fmt: skip
def test_each_damage_is_named_with_what_to_remove(results, damage, said, removed):
    damage(results)
    faults = verify(results).faults
    assert any(said in fault.what for fault in faults)
    names = {path for fault in faults for path in fault.remove}
    assert names == {str(results / name) for name in removed}


def test_the_command_ends_with_what_to_type(results, tmp_path):
    config = tmp_path / "study.yaml"
    config.write_text(yaml.safe_dump({"study": "mine", "results": str(results)}))

    def run(*more):
        return subprocess.run(
            [sys.executable, "workflow_scripts/verify.py", str(config), *more], cwd=ROOT,
            text=True, capture_output=True, env={"PYTHONPATH": "workflow_scripts"},
        )  # fmt: skip

    assert run().returncode == 0
    flip(chunk(results))
    done = run()
    assert done.returncode == 1 and "1 fault in 4 stores" in done.stdout
    assert "MEND=yes" in done.stdout and str(results / "receipts/extract/a.json") in done.stdout
    assert run("--mend").returncode == 0 and run().returncode == 0
    with pytest.raises(StudyError, match="run the study first"):
        verify(tmp_path / "nothing")


def test_results_that_were_renamed_or_copied_are_their_own(results, tmp_path_factory):
    """What receipts and cards name is what lies beside them, and never in the place of before."""
    place = tmp_path_factory.mktemp("place")
    copied = shutil.copytree(results, place / "copied")
    flip(chunk(results))
    (results / "backbones/a/model.safetensors").write_bytes(b"another")
    assert not verify(copied).faults and verify(results).faults
    renamed = (place / "copied").rename(place / "renamed")
    assert not verify(renamed).faults
    assert store_of(renamed / "receipts/extract/a.json") == str(renamed / "tokens.zarr/a")
    flip(chunk(renamed))
    assert [f.remove[0] for f in verify(renamed).faults] == [str(renamed / "tokens.zarr/a")]


def test_weights_from_elsewhere_stay_where_they_are(results, tmp_path_factory):
    weights = tmp_path_factory.mktemp("weights") / "a.safetensors"
    weights.write_bytes(b"weights")
    card = results / "backbones/b/card.json"
    card.parent.mkdir()
    write_receipt(card, name="b", weights=str(weights), sha256=sha256_file(weights))
    assert weights_of(read_receipt(card)) == str(weights)
