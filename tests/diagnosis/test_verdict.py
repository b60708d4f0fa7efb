"""The verdict: what decides it, and that it does not hang on what it must not hang on."""

import json
from dataclasses import asdict, replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import xarray as xr
from diagnosis import diagnosis
from norms import norms
from PIL import Image

from tokenscope.backbones.loading import open_backbone
from tokenscope.diagnosis.page import headline, last_in_words, shares_in_words
from tokenscope.diagnosis.verdict import Evidence, contrast, place_share, places, verdict_of
from tokenscope.forward.hooks import TokenHooks
from tokenscope.forward.inputs import normalise
from tokenscope.stats.bootstrap import Bootstrap
from tokenscope.tables import tidy

RULES = {
    "percentile": 98, "absolute": 150, "times_median": 3, "min_share": 0.1
}  # fmt: skip
STATISTICS = {"resamples": 100, "seed": 0, "confidence": 0.95}
RNG = np.random.default_rng(0)
NAN = float("nan")


def at_corners(images, grid=14):
    mask = np.zeros((images, grid, grid), bool)
    mask[:, [0, 0, -1, -1], [0, -1, 0, -1]] = True
    return mask.reshape(images, -1)


def test_how_much_the_place_says():
    """Three images, two places, the first always an outlier: leave-one-out by hand."""
    outlier = np.array([[True, False]] * 3)
    point, *_ = place_share(outlier, Bootstrap(3, 20))
    assert point == pytest.approx(1 - np.log(2.5 / 3) / np.log(0.5))
    fixed, low, high = place_share(at_corners(50), Bootstrap(50))
    assert 0.97 < low <= fixed <= high <= 1
    anywhere = RNG.random((50, 196)) < 0.02
    assert place_share(anywhere, Bootstrap(50))[2] < 0.05
    assert np.isnan(place_share(np.zeros((50, 196), bool), Bootstrap(50))[0])


def test_whether_neighbours_are_more_alike():
    outlier = RNG.random((40, 30)) < 0.1
    cosine = RNG.random((40, 30)) - 1.0 + 1.5 * outlier
    point, low, high = contrast(cosine, outlier, Bootstrap(40))
    assert point == pytest.approx(1, abs=0.02) and low > 0.9
    same = contrast(np.ones((40, 30)), outlier, Bootstrap(40))
    assert same[0] == 0.5
    # A place that is always alike and always an outlier: the contrast is the place's.
    cosine = RNG.random((40, 30)) * 0.5
    cosine[:, 0] += 0.5
    outlier = np.zeros((40, 30), bool)
    outlier[:, 0] = True
    assert contrast(cosine, outlier, Bootstrap(40))[1] > 0.95
    point, low, high = contrast(cosine, outlier, Bootstrap(40), same_place=True)
    assert low < 0.5 < high


def test_places_in_words():
    assert places(at_corners(3), (14, 14)) == "the four corners"
    two = at_corners(3).reshape(3, 14, 14)
    two[:, -1] = False
    assert places(two.reshape(3, -1), (14, 14)) == "the top left and top right corners"
    border = np.zeros((3, 14, 14), bool)
    border[:, 0], border[:, :, -1] = True, True
    assert places(border.reshape(3, -1), (14, 14)) == "the border of the image"
    middle = np.zeros((3, 14, 14), bool)
    middle[:, 5, 5] = True
    assert places(middle.reshape(3, -1), (14, 14)) == "1 fixed place"


EVIDENCE = Evidence(
    images=50, artifacts="yes", why="a mode of its own", last="yes", block=12, blocks=12, onset=8.0,
    share=(2.0, 1.9, 2.1), ratio=25.0, cutoff=3.0, smallest_ratio=NAN, tokens=200,
    place=(0.98, 0.97, 0.99), contrast=(0.6, 0.55, 0.65), same_place=(0.5, 0.45, 0.55),
    where="the four corners",
)  # fmt: skip


@pytest.mark.parametrize(
    "change, artifacts, about, words",
    [
        ({}, "yes", "position",
         "has artifacts: yes; position, not content: the four corners; from block 8; "
         "2 % of tokens, at 25 x the median norm"),
        ({"artifacts": "no", "why": "a tail"}, "no", "", "has artifacts: no: a tail"),
        ({"artifacts": "cannot tell", "why": "few"}, "cannot tell", "", "cannot tell: few"),
        ({"last": "cannot tell", "block": 11}, "yes", "position", "after block 11, not surely"),
        ({"last": "no", "block": 11}, "yes", "position", "after block 11, not after the last (12)"),
        ({"contrast": (0.9, 0.8, 0.95)}, "yes", "", "these images tie together"),
        ({"place": (0.2, 0.1, 0.3), "same_place": (0.8, 0.7, 0.9)}, "yes", "content",
         "content, not position: where neighbouring patches are alike"),
        ({"place": (0.2, 0.1, 0.3)}, "yes", "content", "content, not position: the four corners"),
        ({"place": (0.5, 0.4, 0.6)}, "yes", "", "not decided by these images"),
        ({"tokens": 10}, "yes", "", "too few to say where"),
    ],
)  # fmt: skip
def test_each_verdict(change, artifacts, about, words):
    verdict = verdict_of(replace(EVIDENCE, **change))
    assert (verdict.artifacts, verdict.about) == (artifacts, about)
    assert words in verdict.sentence


@pytest.mark.parametrize(
    "change, told",
    [
        ({}, "Yes: 2.00 % [1.90, 2.10] of its patch tokens are outliers after block 12 of 12, at "
         "25 x the median norm; they begin in block 8. They sit at fixed positions (the four "
         "corners), whatever the image shows."),
        ({"artifacts": "no", "why": "a tail"}, "No: a tail."),
        ({"artifacts": "cannot tell", "why": "few"}, "Cannot tell: few."),
        ({"last": "cannot tell", "block": 11},
         "The last block cannot be said to have any with 95 % confidence."),
        ({"last": "no", "block": 11}, "The last block has none."),
        ({"contrast": (0.9, 0.8, 0.95)}, "cannot be told apart, as these images tie them"),
        ({"place": (0.2, 0.1, 0.3), "same_place": (0.8, 0.7, 0.9)},
         "They follow what the image shows, not the position: where neighbouring patches are "
         "alike."),
        ({"place": (0.2, 0.1, 0.3), "same_place": (0.3, 0.2, 0.4)},
         "where neighbouring patches are unlike each other."),
        ({"place": (0.5, 0.4, 0.6)}, "these images leave open"),
        ({"tokens": 10}, "These are 10 tokens, too few"),
    ],
)  # fmt: skip
def test_the_page_tells_each_in_plain_words(change, told):
    evidence = replace(EVIDENCE, **change)
    verdict = verdict_of(evidence)
    said = {"artifacts": verdict.artifacts, "about": verdict.about, "evidence": asdict(evidence)}
    assert told in headline(said, 0.95)


def diagnose(folder, seen, order):
    """The two rules on a store of these images; the sentence."""
    folder.mkdir(exist_ok=True)
    grid = round((seen["norms"].shape[2] - 1) ** 0.5)
    rows, columns = np.indices((grid, grid)).reshape(2, -1)
    variables = {
        "norms": (("image", "block", "token"), seen["norms"][order]),
        "neighbour_cosine": (("image", "patch", "neighbour"), seen["neighbour_cosine"][order]),
        "attention": (("image", "query", "patch"), seen["attention"][order]),
    }
    coords = {
        "image_id": ("image", [f"{i:03d}" for i in order]), "query": ["cls"],
        "token_kind": ("token", ["cls", *["patch"] * grid**2]),
        "patch_row": ("patch", rows), "patch_column": ("patch", columns),
    }  # fmt: skip
    xr.Dataset(variables, coords).to_zarr(folder / "store", mode="w", consolidated=False)
    (folder / "receipt.json").write_text(json.dumps({"store": str(folder / "store")}))
    who = {"family": "f", "size": "s", "registers": "r0", "kind": "none", "dataset": "d"}
    outputs = {n: folder / n for n in ("rows", "cutoffs", "curves", "places", "joint", "tails")}
    norms.main([folder / "receipt.json"], who, RULES, STATISTICS, outputs)
    made = {n: folder / f"diagnosis-{n}" for n in ("rows", "verdict", "images")}
    diagnosis.main([folder / "receipt.json"], who, RULES, STATISTICS, made)
    return json.loads(made["verdict"].read_text())["sentence"]


def synthetic(images, outlier, blocks=4, onset=3):
    """Log-normal norms, ten times as long at outliers from a block on; similarities at random."""
    patches = outlier.shape[1]
    lengths = np.exp(RNG.normal(3, 0.1, (images, blocks, patches + 1)))
    lengths[:, onset - 1 :, 1:] *= np.where(outlier, 10, 1)[:, None]
    cosine = np.where(outlier, 0.99, RNG.uniform(0, 0.9, outlier.shape))
    return {
        "norms": lengths.astype(np.float32),
        "neighbour_cosine": np.repeat(cosine[:, :, None], 4, 2).astype(np.float32),
        "attention": np.full((images, 1, patches), 1 / patches, np.float32),
    }


def test_content_is_told_from_nothing(tmp_path):
    outlier = RNG.random((160, 64)) < 0.05
    planted = diagnose(tmp_path, synthetic(160, outlier), np.arange(160))
    assert planted.startswith(
        "has artifacts: yes; content, not position: where neighbouring patches are alike; "
        "from block 3;"
    )
    clean = diagnose(tmp_path, synthetic(160, np.zeros_like(outlier)), np.arange(160))
    assert clean.startswith("has artifacts: no") and "fewer than 1.9 % of images" in clean
    few = diagnose(tmp_path, synthetic(160, outlier), np.arange(3))
    assert few.startswith("has artifacts: cannot tell") and "so few images" in few


@pytest.mark.slow
def test_verdict_of_a_real_vit_is_stable(tmp_path, real_data):
    """Order, batch size, half of the images: the same words."""
    files = sorted((real_data / "data" / "imagenet-sample").glob("*.JPEG"))[::8]
    name = "vit_tiny_patch16_224.augreg_in21k_ft_in1k"
    spec = {"name": "tiny", "timm_id": name, "model": {}, "registers": 0}
    model = open_backbone(spec, real_data / "weights" / name / "model.safetensors")
    pixels = torch.from_numpy(
        np.stack([np.asarray(Image.open(f).convert("RGB").resize((224, 224))) for f in files])
    )

    def seen(batch):
        parts, half = [], torch.tensor([0.5] * 3)
        with torch.inference_mode(), TokenHooks(model) as observe:
            for piece in pixels.split(batch):
                parts.append(observe(normalise(piece, half, half)))
        names = ("norms", "neighbour_cosine", "attention")
        return {n: torch.cat([p[n] for p in parts]).numpy() for n in names}

    whole, every = seen(25), np.arange(len(files))
    expected = "has artifacts: yes; position, not content: the four corners; from block 8; "
    sentence = diagnose(tmp_path, whole, every)
    assert sentence == expected + "2 % of tokens, at 26 x the median norm"
    for other, order in (
        (whole, RNG.permutation(every)), (seen(7), every), (whole, every[::2]), (whole, every[1::2])
    ):  # fmt: skip
        assert diagnose(tmp_path, other, order).startswith(expected)
    assert "cannot tell" in diagnose(tmp_path, whole, every[:3])


def test_charts_are_said_in_their_own_numbers():
    rows = tidy.TidyRows(tidy.columns_of("a/b/r0") | {"kind": "none", "dataset": "d"}, 9, 0)
    for block, share in enumerate((0, 2, 5, 4), 1):
        metric = "share_norm_over_3x_median"
        rows.add("claim2", f"block{block:02d}", metric, share, share - 1, share + 1, "percent")
    rows.add("claim1", "last_block", "norm_median", 10)
    rows.add("claim1", "last_block", "norm_max", 42)
    rows.add("claim1", "last_block", "share_norm_over_3x_median", 4, 3, 5, "percent")
    one = SimpleNamespace(name="a/b/r0", rows=rows.frame())
    assert shares_in_words(one, 3) == (
        "a/b/r0: tokens over 3 x median from block 2 of 4 on, most after block 3, 5.00 % "
        "[4.00, 6.00]; after the last 4.00 % [3.00, 5.00]."
    )
    assert last_in_words(one, 3) == (
        "a/b/r0: median 10, largest 42, which is 4.2 x median; over 3 x median 4.00 % "
        "[3.00, 5.00] of the tokens."
    )
    one.rows.loc[one.rows["claim"] == "claim2", "value"] = 0
    assert shares_in_words(one, 3) == "a/b/r0: no tokens over 3 x median after any of 4 blocks."
