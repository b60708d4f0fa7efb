"""A store is complete or absent, whatever happens to the jobs that write it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from tokenscope.errors import StudyError, Superseded
from tokenscope.stores.hierarchy import consolidated
from tokenscope.stores.receipts import sha256_file, weights_of, write_text
from tokenscope.stores.zarr_store import (
    StoreWriter,
    Variable,
    open_store,
    read_shards,
)

VARIABLES = {"norms": Variable(("token",), (5,), "float32"), "ids": Variable((), (), "int32")}


def writer(folder, images=10, fingerprint="same"):
    return StoreWriter(folder / "final", folder / "partial", VARIABLES, images, 4, fingerprint)


def values(start, stop):
    ids = np.arange(start, stop, dtype=np.int32)
    return {"norms": np.outer(ids, np.arange(5)).astype(np.float32), "ids": ids}


def fill(store, stop=None):
    for first, last in store.missing()[:stop]:
        store.write(first, values(first, last))


def contents(folder):
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }


def test_written_store_reads_back(tmp_path):
    store = writer(tmp_path)
    fill(store)
    receipt = store.publish({"label": (("image",), np.arange(10))}, {"title": "test"})
    data = open_store(tmp_path / "final")
    assert data["norms"].dims == ("image", "token")
    assert np.array_equal(data["norms"].values, values(0, 10)["norms"])
    assert data.attrs["title"] == "test" and data["label"].values[9] == 9
    assert receipt["norms"]["shape"] == [10, 5]
    assert not list(tmp_path.glob("partial*"))


def test_chunks_of_zeros_exist(tmp_path):
    store = writer(tmp_path)
    for first, last in store.missing():
        blank = {name: np.zeros_like(v) for name, v in values(first, last).items()}
        store.write(first, blank)
    store.publish({}, {})


def test_unfinished_store_is_not_published(tmp_path):
    store = writer(tmp_path)
    fill(store, 2)
    with pytest.raises(StudyError, match="1 chunks were never written"):
        store.publish({}, {})
    assert not (tmp_path / "final").exists()


def test_a_lost_chunk_is_noticed(tmp_path):
    store = writer(tmp_path)
    fill(store)
    next(p for p in (store.group_path / "norms" / "c").rglob("*") if p.is_file()).unlink()
    with pytest.raises(StudyError, match="'norms' has"):
        store.publish({}, {})


def test_resume_gives_identical_bytes(tmp_path):
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    store = writer(whole)
    fill(store)
    first = store.publish({}, {})
    fill(writer(halves), 1)
    store = writer(halves)
    assert len(store.missing()) == 2
    fill(store)
    assert store.publish({}, {}) == first
    assert contents(whole / "final") == contents(halves / "final")


def test_a_torn_chunk_of_a_killed_job_is_no_chunk(tmp_path):
    killed = writer(tmp_path)
    fill(killed, 1)
    (killed.group_path / "norms" / "c" / "1.0123abcd.partial").write_bytes(b"torn")
    store = writer(tmp_path)
    fill(store)
    store.publish({}, {})
    assert not list((tmp_path / "final").rglob("*.partial"))


def test_other_fingerprint_starts_anew(tmp_path):
    fill(writer(tmp_path), 2)
    assert len(writer(tmp_path, fingerprint="other").missing()) == 3


def test_a_lost_job_is_shut_out_by_its_successor(tmp_path):
    lost = writer(tmp_path)
    fill(lost, 1)
    successor = writer(tmp_path)
    assert len(successor.missing()) == 2
    with pytest.raises(Superseded, match="another job has taken over"):
        lost.write(4, values(4, 8))
    with pytest.raises(Superseded):
        lost.publish({}, {})
    fill(successor)
    successor.publish({}, {})
    assert np.array_equal(open_store(tmp_path / "final")["ids"].values, np.arange(10))
    with pytest.raises(Superseded):
        lost.write(8, values(8, 10))
    assert not list(tmp_path.glob("partial*"))


def test_a_lost_job_moves_nothing_of_its_successor(tmp_path, monkeypatch):
    """It wakes up between the question who owns the store and the rename."""
    lost = writer(tmp_path)
    fill(lost)
    check, looks = lost._check_owner, []

    def taken_over_after_the_first_look():
        check()
        if not looks:
            looks.append(True)
            writer(tmp_path).publish({}, {})

    monkeypatch.setattr(lost, "_check_owner", taken_over_after_the_first_look)
    with pytest.raises(Superseded):
        lost.publish({}, {})
    assert np.array_equal(open_store(tmp_path / "final")["ids"].values, np.arange(10))
    assert not list(tmp_path.glob("partial*"))


@pytest.mark.slow
def test_killed_extraction_resumes_to_identical_bytes(tmp_path):
    """kill -9 in the middle of a real extraction, then again without: same bytes."""
    script = Path("tests/helpers/slow_extraction.py").resolve()

    def run(folder, delay):
        path = {**os.environ, "PYTHONPATH": str(script.parents[2] / "workflow_scripts")}
        return subprocess.Popen([sys.executable, script, folder, str(delay)], env=path)

    victim = run(tmp_path / "killed", 0.2)
    journal = tmp_path / "killed"
    deadline = time.monotonic() + 120
    while len(list(journal.glob("partial*/journal/*.json"))) < 2:
        assert victim.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(victim.pid, signal.SIGKILL)
    victim.wait()
    assert not (journal / "store").exists() and not (journal / "receipt.json").exists()
    assert run(journal, 0).wait() == 0
    assert run(tmp_path / "whole", 0).wait() == 0
    assert contents(journal / "store") == contents(tmp_path / "whole" / "store")
    resumed = json.loads((journal / "receipt.json").read_text())
    whole = json.loads((tmp_path / "whole" / "receipt.json").read_text())
    ends = [[a["how"] for a in receipt.pop("attempts")] for receipt in (resumed, whole)]
    assert ends == [["killed", "finished"], ["finished"]]
    assert (
        0 < resumed.pop("resumed_images") < resumed["images"] and whole.pop("resumed_images") == 0
    )
    assert resumed == whole


def test_weights_are_checked_against_their_card(tmp_path):
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"weights")
    card = {"name": "my/tiny/r0", "weights": str(file), "sha256": sha256_file(file)}
    assert weights_of(card) == str(file)
    file.write_bytes(b"Weights")
    with pytest.raises(StudyError, match="have changed"):
        weights_of(card)
    file.unlink()
    with pytest.raises(StudyError, match="are gone"):
        weights_of(card)


def test_shards_join_and_hierarchy_opens(tmp_path):
    root = tmp_path / "tokens.zarr"
    for name, start in (("0000", 0), ("0001", 10)):
        store = StoreWriter(
            root / "scenes" / "a" / name, tmp_path / "p" / name, VARIABLES, 10, 4, "x"
        )
        for first, last in store.missing():
            store.write(first, values(start + first, start + last))
        store.publish({"label": (("image",), np.zeros(10))}, {})
    groups = sorted((root / "scenes" / "a").iterdir())
    joined = read_shards(groups, ["ids"])
    assert np.array_equal(joined["ids"].values, np.arange(20))
    write_text(root / "zarr.json", json.dumps(consolidated(root, groups)))
    tree = xr.open_datatree(root, engine="zarr", chunks=None)
    assert np.array_equal(tree["scenes/a/0001"]["ids"].values, np.arange(10, 20))
