"""The bank: what it keeps is exactly what the backbone and the image showed at that place."""

import numpy as np
import pandas as pd
import pytest
import timm
import torch

from tokenscope.errors import StudyError
from tokenscope.extraction.loop import extract
from tokenscope.extraction.token_bank import (
    BankReducer,
    Draw,
    attributes,
    coordinates,
    patch_pixels,
    variables,
)
from tokenscope.forward.hooks import TokenHooks
from tokenscope.forward.inputs import normalise
from tokenscope.jobs.job import Interrupted
from tokenscope.norms.outlier_rule import image_medians, judged_mask
from tokenscope.norms.places import outlier_odds
from tokenscope.norms.token_norms import Bulk
from tokenscope.stores.zarr_store import StoreWriter, open_store

HALVES = (0.5, 0.5, 0.5)
PIXELS = np.random.default_rng(0).integers(0, 256, (12, 36, 36, 3), dtype=np.uint8)
IDS = [f"image{i}" for i in range(12)]


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return timm.create_model(
        "vit_tiny_patch16_224", img_size=36, patch_size=8, embed_dim=48, depth=2, num_heads=2,
        num_classes=7, reg_tokens=2,
    ).eval()  # fmt: skip


@pytest.fixture(scope="module")
def seen(model):
    x = normalise(torch.from_numpy(PIXELS), torch.tensor(HALVES), torch.tensor(HALVES))
    with torch.inference_mode(), TokenHooks(model) as observe:
        return {name: value.numpy() for name, value in observe(x).items()}


def run(model, folder, cutoff, images=range(12), batch=4, draw=None, **options):
    """A feature store of some of the images."""
    draw = draw or Draw(cutoff, 2, 5, odds=(1.0,) * 16)
    ids = [IDS[i] for i in images]
    rows = pd.DataFrame({"image_id": ids, "label": 0})
    writer = StoreWriter(
        folder / "store", folder / "partial", variables(model, draw, True), len(ids), 4, "x"
    )
    extract(
        model, lambda a, b: PIXELS[list(images)[a:b]], writer, HALVES, HALVES, batch, "cpu",
        reduce=BankReducer(model, ids, draw), **options,
    )  # fmt: skip
    writer.publish(coordinates(rows, model, draw), attributes(model, draw))
    return open_store(folder / "store").load()


def test_slots_hold_tokens_norms_and_pixels_of_their_patch(model, seen, tmp_path):
    patches, norms = seen["tokens"][:, 3:], seen["norms"][:, -1, 3:]
    cutoff = float(np.quantile(norms, 0.95))
    bank = run(model, tmp_path, cutoff)
    assert bank["slot_kind"].values.tolist() == [
        *["normal"] * 2, *["outlier"] * 2, *["normal_same_places"] * 2, "lowest",
    ]  # fmt: skip
    outliers = 0
    for i in range(12):
        for slot, kind in enumerate(bank["slot_kind"].values):
            at = int(bank["patch_index"][i, slot])
            if at < 0:
                assert kind == "outlier" and (norms[i] > cutoff).sum() <= slot - 2
                assert np.isnan(bank["norm"][i, slot]) and np.isnan(bank["tokens"][i, slot]).all()
                continue
            outliers += kind == "outlier"
            row, column = int(bank["patch_row"][at]), int(bank["patch_column"][at])
            source = PIXELS[i, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8]
            np.testing.assert_array_equal(bank["pixels"][i, slot].values.reshape(8, 8, 3), source)
            np.testing.assert_allclose(bank["norm"][i, slot], norms[i, at], rtol=1e-5)
            np.testing.assert_allclose(
                bank["tokens"][i, slot], patches[i, at], rtol=2e-3, atol=1e-3
            )
            if kind == "lowest":
                assert at == norms[i].argmin()
            else:
                assert (norms[i, at] > cutoff) == (kind == "outlier")
    assert outliers == sum(min(2, n) for n in (norms > cutoff).sum(1)) > 0


def test_everything_else_is_what_the_model_shows(model, seen, tmp_path):
    bank = run(model, tmp_path, 1e9)
    for name in ("cls", "registers", "patch_mean"):
        np.testing.assert_allclose(bank[name], seen[name], atol=1e-5)
    np.testing.assert_allclose(bank["patch_norms"], seen["norms"][:, -1, 3:], rtol=1e-5)
    np.testing.assert_allclose(bank["prefix"], seen["tokens"][:, :3], rtol=2e-3, atol=1e-3)
    assert bank["prefix_kind"].values.tolist() == ["cls", "reg0", "reg1"]
    assert (bank["patch_index"].values[:, 2:4] == -1).all()  # no token is above such a cutoff
    normed = torch.nn.functional.layer_norm(
        torch.from_numpy(bank["prefix"].values).float(), (48,),
        torch.from_numpy(bank["final_norm_weight"].values),
        torch.from_numpy(bank["final_norm_bias"].values), bank.attrs["final_norm_eps"],
    )  # fmt: skip
    np.testing.assert_allclose(normed[:, 0], bank["cls"], atol=5e-3)


def test_tokens_of_the_block_that_was_judged_by_its_own_cutoff(model, tmp_path):
    """A multiple of each image's own median there; norms and tokens are that block's."""
    x = normalise(torch.from_numpy(PIXELS), torch.tensor(HALVES), torch.tensor(HALVES))
    with torch.inference_mode(), TokenHooks(model, tokens_after=1) as observe:
        out = observe(x)
    norms = out["norms"][:, 0, 3:].numpy()
    ratio = float(np.quantile(norms / np.median(norms, axis=1, keepdims=True), 0.9))
    decision = {
        "percentile": 1.0, "judged": {"verdict": "yes", "block": 1, "ratio_cutoff": ratio},
        "places": [10.0] * 16, "bulk": Bulk.of(norms)._asdict(),
    }  # fmt: skip
    draw = Draw.of(decision, tokens=2, seed=5)
    assert (draw.block, draw.relative) == (1, True) and draw.odds[0] == pytest.approx(1 / 9)
    bank = run(model, tmp_path, None, draw=draw, tokens_after=1)
    outlier = judged_mask(norms, ratio)
    assert outlier.sum() > 5
    for i, slot in np.ndindex(12, 7):
        at, kind = int(bank["patch_index"][i, slot]), str(bank["slot_kind"].values[slot])
        if at >= 0 and kind != "lowest":
            assert outlier[i, at] == (kind == "outlier")
        if at >= 0:
            token = out["tokens"][i, 3 + at]
            np.testing.assert_allclose(bank["tokens"][i, slot], token, rtol=2e-3, atol=1e-3)
            expected = norms[i, at] / np.median(norms[i])
            assert bank["norm_over_median"][i, slot].item() == pytest.approx(expected, rel=1e-5)
    assert (bank["patch_index"][:, 2:4] >= 0).sum() == np.minimum(outlier.sum(1), 2).sum()
    assert bank.attrs["block"] == 1 and bank.attrs["cutoff_in_medians"]


def test_images_that_are_mostly_outliers_are_drawn_from_as_they_are_judged():
    """Of 300 images 30 have outliers in two patches of three, ten thrice the norm of others:
    the same tokens are outliers as in the decision, whatever stands beside an image."""
    generator = np.random.default_rng(3)
    norms = (30 + 2 * generator.standard_normal((300, 60))).astype(np.float32)
    norms[:, :3] *= 8
    norms[:30, :40] = 240
    norms[30:40] *= 3  # another scale as a whole: not corrected
    decision = {
        "judged": {"verdict": "yes", "block": 1, "ratio_cutoff": 3.0},
        "places": [5.0] * 60, "bulk": Bulk.of(norms)._asdict(),
    }  # fmt: skip
    draw = Draw.of(decision, tokens=5, seed=0)
    alone = [draw.medians(torch.from_numpy(norms[i : i + 1])).item() for i in range(300)]
    np.testing.assert_allclose(alone, image_medians(norms), rtol=1e-5)
    assert max(alone[:30]) < 40 and min(alone[30:40]) > 80
    outlier = judged_mask(norms, 3.0)
    assert outlier[:30].mean() > 0.6
    scores = torch.from_numpy(generator.random((300, 60), np.float32))
    index = draw(torch.from_numpy(norms), scores).numpy()
    for i, slot in np.ndindex(300, 10):
        if (at := index[i, slot]) >= 0:
            assert outlier[i, at] == (slot >= 5)
    assert (index[:30, 5:10] >= 0).all()


def test_without_a_decision_the_percentile_of_the_last_block_draws():
    none = {"verdict": "no", "block": None, "ratio_cutoff": None}
    draw = Draw.of({"percentile": 7.0, "judged": none, "places": [50.0, 0.0]}, tokens=1, seed=0)
    assert draw == Draw(7.0, 1, 0, odds=(1.0, 0.0))


def test_normal_tokens_are_drawn_where_outliers_use_to_be():
    """In half of 20,000 images place 0 is an outlier, in a tenth place 1: so lie the normal ones
    that are drawn for them, and not one elsewhere."""
    generator = np.random.default_rng(0)
    norms = np.full((20000, 5), 0.5, np.float32)
    norms[:, 0][generator.random(20000) < 0.5] = 2
    norms[:, 1][generator.random(20000) < 0.1] = 2
    odds = outlier_odds(100 * (norms > 1).mean(0))
    draw = Draw(1.0, 1, 0, odds=tuple(odds))
    scores = generator.random((20000, 5), np.float32)
    index = draw(torch.from_numpy(norms), torch.from_numpy(scores)).numpy()
    normal, same = index[:, 0], index[:, 2]
    assert (same[norms[:, :2].min(1) > 1] == -1).all()  # no normal token at any such place
    assert set(np.unique(same)) == {-1, 0, 1}
    drawn = np.bincount(same[same >= 0], minlength=5)
    # Where both are normal they compete: 0.45 images, odds 1 to 1/9; else the one that is normal.
    expected = 20000 * np.array([0.45 * 0.9 + 0.05, 0.45 * 0.1 + 0.45])
    assert drawn[:2] == pytest.approx(expected, rel=0.05)
    assert (normal[same >= 0] != same[same >= 0]).mean() > 0.5


def test_the_draw_knows_nothing_of_shards_batches_and_interruptions(model, tmp_path):
    whole = run(model, tmp_path / "whole", 6.5)
    part = run(model, tmp_path / "part", 6.5, images=range(6, 12), batch=1)
    reasons = iter(["", "SIGTERM"])
    with pytest.raises(Interrupted):
        run(model, tmp_path / "resumed", 6.5, stop=lambda: next(reasons))
    resumed = run(model, tmp_path / "resumed", 6.5)
    for name in ("patch_index", "pixels"):
        np.testing.assert_array_equal(whole[name][6:], part[name])
        np.testing.assert_array_equal(whole[name], resumed[name])


def test_tokens_are_drawn_at_random():
    draw = Draw(1.0, 1, 0)
    norms = torch.full((4000, 5), 0.5)
    norms[:, 3:] = 2
    index = draw(norms, torch.from_numpy(draw.scores([str(i) for i in range(4000)], 5)))
    normal, outlier = index[:, 0].bincount(minlength=5), index[:, 1].bincount(minlength=5)
    assert (normal[:3] - 4000 / 3).abs().max() < 120 and normal[3:].sum() == 0
    assert (outlier[3:] - 2000).abs().max() < 130 and outlier[:3].sum() == 0


def test_patches_leave_out_what_the_embedding_leaves_out():
    cut = patch_pixels(torch.from_numpy(PIXELS), 8)
    assert cut.shape == (12, 16, 192)
    np.testing.assert_array_equal(cut[3, 6].reshape(8, 8, 3), PIXELS[3, 8:16, 16:24])


def test_more_tokens_than_patches_are_refused(model):
    with pytest.raises(StudyError, match="an image has only 16 patches"):
        variables(model, Draw(1.0, 17, 0), False)
