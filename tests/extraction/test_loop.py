"""The extraction loop: memory, small devices, and tokens that are no numbers."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import timm
import torch

from tokenscope.errors import StudyError
from tokenscope.extraction import loop
from tokenscope.extraction.batches import BatchedForward
from tokenscope.extraction.loop import extract, variables
from tokenscope.forward.attention import agreement
from tokenscope.forward.cuda_graph import GraphedPass
from tokenscope.jobs.job import Interrupted
from tokenscope.stores.zarr_store import StoreWriter, open_store

HALVES = (0.5, 0.5, 0.5)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return timm.create_model(
        "vit_tiny_patch16_224", img_size=32, patch_size=8, embed_dim=48, depth=2, num_heads=2,
        num_classes=0,
    ).eval()  # fmt: skip


def run(model, folder, images=12, batch=4, **options):
    pixels = np.random.default_rng(0).integers(0, 256, (images, 32, 32, 3), dtype=np.uint8)
    arrays = variables(model, model.patch_embed.grid_size, {"tokens": True})
    writer = StoreWriter(folder / "store", folder / "partial", arrays, images, 4, "x")
    facts = extract(
        model, lambda a, b: pixels[a:b], writer, HALVES, HALVES, batch, "cpu", **options
    )
    writer.publish({}, {})
    return facts


def test_batches_shrink_when_memory_runs_out(model, tmp_path, monkeypatch):
    forward = model.forward_features

    def small_device(x):
        if len(x) > 1:
            raise torch.OutOfMemoryError("out of memory")
        return forward(x)

    run(model, tmp_path / "large")
    monkeypatch.setattr(model, "forward_features", small_device)
    assert run(model, tmp_path / "small")["batch"] == 1
    large, small = (open_store(tmp_path / f / "store")["norms"].values for f in ("large", "small"))
    np.testing.assert_allclose(large, small, rtol=1e-5)


def test_tokens_that_are_not_finite_are_refused_by_row(model, tmp_path):
    with torch.no_grad():
        model.blocks[1].mlp.fc2.bias[3] = torch.nan
    with pytest.raises(StudyError, match=r"not finite for sample rows \[0, 1"):
        run(model, tmp_path)
    assert not (tmp_path / "store").exists()


def test_tokens_beyond_half_precision_are_refused(model, tmp_path):
    with torch.no_grad():
        model.blocks[1].mlp.fc2.bias[3] = 1e5
    with pytest.raises(StudyError, match="beyond float16"):
        run(model, tmp_path)


def test_a_stop_request_ends_after_whole_chunks(model, tmp_path):
    reasons = iter(["", "", "SIGTERM"])
    with pytest.raises(Interrupted, match="SIGTERM: ended after 8 of 12 images"):
        run(model, tmp_path, stop=lambda: next(reasons))
    facts = run(model, tmp_path)
    assert facts["resumed_images"] == 8
    assert [a["how"] for a in facts["attempts"]] == ["SIGTERM", "finished"]
    assert [a["from_image"] for a in facts["attempts"]] == [0, 8]


@pytest.mark.slow
def test_memory_does_not_grow_with_images(tmp_path):
    script = Path("tests/helpers/slow_extraction.py").resolve()
    path = {**os.environ, "PYTHONPATH": str(script.parents[2] / "workflow_scripts")}
    peaks = []
    for images in (80, 1600):
        folder = tmp_path / str(images)
        subprocess.run([sys.executable, script, folder, "0", str(images)], env=path, check=True)
        peaks.append(int((folder / "peak").read_text()))
    assert peaks[1] < 1.05 * peaks[0]


def test_attention_and_norms_of_every_block_are_compared(model, tmp_path, monkeypatch):
    """In every third image, whatever the batches; in the last block as from the stored arrays."""
    run(model, tmp_path / "all")
    monkeypatch.setattr(loop, "LOOKED_AT", 4)
    run(model, tmp_path / "some", batch=2)
    whole, some = (open_store(tmp_path / f / "store").load() for f in ("all", "some"))
    auc, overlap = agreement(
        torch.from_numpy(whole["attention"].values[:, 0]),
        torch.from_numpy(whole["norms"].values[:, -1, 1:]),
    )
    np.testing.assert_allclose(whole["attention_norm_auc"][:, -1], auc, atol=1e-6)
    np.testing.assert_allclose(whole["attention_norm_overlap"][:, -1], overlap, atol=1e-6)
    assert np.isfinite(whole["attention_norm_auc_elsewhere"]).all()
    looked_at = np.isfinite(some["attention_norm_auc"]).all("block")
    assert looked_at.values.tolist() == [True, False, False] * 4
    np.testing.assert_allclose(
        some["attention_norm_auc"][::3], whole["attention_norm_auc"][::3], atol=1e-6
    )


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("vit_base_patch32_siglip_256", {"attention_received", "attention_pooling"}),
        ("vit_wee_patch16_reg1_gap_256", {"attention", "attention_received", "registers"}),
        ("deit_tiny_distilled_patch16_224", {"attention", "cls"}),
    ],
)
def test_attention_without_cls_has_its_own_name(name, kept, tmp_path):
    torch.manual_seed(0)
    small = {"img_size": 32, "patch_size": 8, "embed_dim": 48, "depth": 2, "num_heads": 2}
    model = timm.create_model(name, **small, num_classes=0).eval()
    run(model, tmp_path)
    store = open_store(tmp_path / "store")
    names = {"attention", "attention_received", "attention_pooling", "cls", "registers"}
    assert names & set(store) == kept
    for array in kept & {"attention_received", "attention_pooling"}:
        values = store[array].values
        assert values.shape == (12, 16) and (values > 0).all()
        if array == "attention_pooling" or "registers" not in kept:
            np.testing.assert_allclose(values.sum(1), 1, rtol=1e-5)  # nothing but patches
        else:
            assert (values.sum(1) < 1).all()  # the register gets its own


def test_batches_are_filled_by_chunks_that_stand_together():
    ranges = [(0, 3), (3, 6), (6, 9), (9, 12), (12, 13)]
    assert loop.batched(ranges, ranges, 7) == [ranges[:2], ranges[2:4], ranges[4:]]
    assert loop.batched(ranges, [(6, 9)], 7) == [ranges[2:4]]  # beside the same others
    assert loop.batched(ranges, ranges[1:3], 1) == [[(3, 6)], [(6, 9)]]
    assert loop.batched([], [], 8) == []


def test_chunks_computed_together_are_those_of_one_after_the_other(model, tmp_path, monkeypatch):
    """As on a GPU, whose batch is larger than a chunk; interrupted, it ends with the same bytes."""
    seen, forward, whole = [], model.forward_features, loop.batched
    monkeypatch.setattr(model, "forward_features", lambda x: seen.append(len(x)) or forward(x))
    run(model, tmp_path / "apart", images=14, batch=8)
    assert seen == [4, 4, 4, 2]
    monkeypatch.setattr(loop, "batched", lambda ranges, missing, _: whole(ranges, missing, 8))
    seen.clear()
    run(model, tmp_path / "together", images=14, batch=8)
    assert seen == [8, 6]
    reasons = iter(["", "SIGTERM"])
    with pytest.raises(Interrupted, match="ended after 8 of 14"):
        run(model, tmp_path / "again", images=14, batch=8, stop=lambda: next(reasons))
    seen.clear()
    run(model, tmp_path / "again", images=14, batch=8)
    assert seen == [6]
    apart, together, again = (
        open_store(tmp_path / name / "store").load() for name in ("apart", "together", "again")
    )
    for name in set(apart) - {"attention_norm_auc_elsewhere"}:  # of the image before in the batch
        np.testing.assert_allclose(apart[name], together[name], rtol=1e-4, atol=1e-4)
    for name in together:
        np.testing.assert_array_equal(again[name], together[name])


@pytest.mark.parametrize("every", [1, 3, 50])
def test_batches_of_a_graph_give_what_others_give(model, every):
    """With the images that are looked at as indices, of which a batch may have none."""

    def record(work, pixels, images):
        outputs = {name: value.clone() for name, value in work(pixels, images).items()}
        again = lambda: [outputs[n].copy_(v) for n, v in work(pixels, images).items()]  # noqa: E731
        return again, outputs

    arrays = variables(model, model.patch_embed.grid_size, {"tokens": True})
    pixels = torch.randint(0, 256, (14, 32, 32, 3), dtype=torch.uint8)
    scale, seen = [torch.full((3,), 0.5)] * 2, []
    for graphs in (False, True):
        forward = BatchedForward(
            model, scale, 4, "cpu", arrays, None, (2, every), None, graphs=False
        )
        if graphs:
            forward.graphed = GraphedPass(forward._observe, 4, record)
        with forward:
            seen.append(forward(pixels, 0, lambda done: None)[0])
    assert forward.graphed.outcome == "used" and len(forward.graphed.recorded) <= 2
    for name, right in seen[0].items():
        torch.testing.assert_close(seen[1][name], right, rtol=0, atol=0, equal_nan=True)
