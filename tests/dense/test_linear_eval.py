"""Dense tasks: metrics against scikit-learn, layouts, windows, and features of any block."""

from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import scipy.io
import timm
import torch
from dense import fig_dense
from PIL import Image
from scipy.ndimage import gaussian_filter
from sklearn import metrics
from torch.utils._python_dispatch import TorchDispatchMode

from tokenscope.backbones.position_embedding import AnySize
from tokenscope.dense.crops import FrozenBackbone, windows
from tokenscope.dense.heads import DepthHead, SegmentationHead, expected_depth, scale_invariant
from tokenscope.dense.linear_eval import Cached, predict, train
from tokenscope.dense.map_datasets import IGNORE, Maps
from tokenscope.dense.metrics import areas, depth_errors, eigen_crop
from tokenscope.dense.smoothness import roughness
from tokenscope.errors import StudyError
from tokenscope.forward.inputs import batch, on_host
from tokenscope.forward.qkv_hooks import QkvHooks
from tokenscope.jobs.job import Interrupted
from tokenscope.stats.iou import class_iou
from tokenscope.stores.checkpoint import Checkpoint

RNG = np.random.default_rng(0)


def vit():
    torch.manual_seed(0)
    model = timm.create_model(
        "vit_tiny_patch16_224", img_size=32, patch_size=8, embed_dim=48, depth=5, num_heads=3,
        reg_tokens=2,
    )  # fmt: skip
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return model.eval().requires_grad_(False)


def test_iou_and_accuracy_equal_scikit_learn():
    true, predicted = RNG.integers(0, 6, (2, 40, 50)).astype(np.uint8)
    true[:5] = IGNORE
    both, _, real = counted = areas(predicted, true, 7)
    valid = true != IGNORE
    expected = metrics.jaccard_score(true[valid], predicted[valid], labels=range(6), average=None)
    np.testing.assert_allclose(class_iou(counted)[:6], expected)
    assert both.sum() / real.sum() == metrics.accuracy_score(true[valid], predicted[valid])
    assert np.isnan(class_iou(counted)[6])


def test_depth_errors_equal_scikit_learn():
    true, predicted = RNG.uniform(0.5, 9, (2, 30, 40))
    true[:3] = 0
    t, p = true[3:].ravel(), predicted[3:].ravel()
    out = depth_errors(predicted, true)
    assert out["rmse"] == pytest.approx(metrics.root_mean_squared_error(t, p))
    assert out["abs_rel"] == pytest.approx(metrics.mean_absolute_percentage_error(t, p))
    assert out["delta1"] == pytest.approx(100 * np.mean(np.maximum(t / p, p / t) < 1.25))
    assert out["squared"] / out["pixels"] == pytest.approx(metrics.mean_squared_error(t, p))


def test_depth_head_and_loss_have_known_values():
    bins = torch.linspace(0, 10, 11)
    weight = torch.zeros(1, 11, 1, 2)
    weight[0, 3, 0, 0], weight[0, [2, 6], 0, 1] = 5, 1
    assert expected_depth(weight, bins).flatten().tolist() == [3, 4]
    target = torch.tensor([[1.0, 2.0, 0.0]])
    scaled = scale_invariant(target * 2 + 0.001, target)  # a common factor costs its mean only
    assert scaled.item() == pytest.approx(0.15**0.5 * np.log(2), abs=2e-3)
    torch.manual_seed(0)
    depth, target = (torch.rand(2, 5, 7) * 9 for _ in range(2))
    target[:, :2], target[1, 3] = 0, torch.nan  # no number is no depth either
    depth.requires_grad_()
    for warm_up in (False, True):
        valid = target > 0
        g = torch.log(depth[valid] + 1e-3) - torch.log(target[valid] + 1e-3)
        plain = torch.sqrt(g.var() * (not warm_up) + 0.15 * g.mean() ** 2 + 1e-12)
        ours = scale_invariant(depth, target, warm_up)
        torch.testing.assert_close(ours, plain)
        expected, slope = (torch.autograd.grad(v, depth)[0] for v in (plain, ours))
        torch.testing.assert_close(slope, expected)
    for few in (0, 1):  # say nothing
        nothing = scale_invariant(depth, torch.arange(70.0).view(2, 5, 7) - 69 + few)
        assert nothing == 0 and not torch.autograd.grad(nothing, depth)[0].any()
    head = DepthHead(6, {"nearest": 0.1, "farthest": 4, "upsample": 4, "bins": 8})
    assert head(torch.randn(2, 6, 3, 5)).shape == (2, 1, 12, 20)


def test_legend_names_the_classes_of_the_pictures(tmp_path, monkeypatch):
    truth = np.array([[5, 5, 5], [7, 7, IGNORE]], np.uint8)
    predicted = np.array([[5, 9, 9], [9, 9, 2]], np.uint8)
    assert fig_dense.present([truth], [predicted]) == [5, 7, 9, 2]  # truth first, whatever is found
    parts = {"image0": np.zeros((2, 3, 3), np.uint8), "target0": truth, "found0": predicted}
    file = tmp_path / "a.npz"
    np.savez(file, backbone=np.array("a/b/r0"), image_ids=np.array(["x"]), **parts)
    drawn = []
    monkeypatch.setattr(fig_dense.style, "save", lambda figure, _: drawn.append(figure))
    fig_dense.main([file], False, [f"c{i}" for i in range(10)], [])
    monkeypatch.setattr(fig_dense, "COLOURS", fig_dense.COLOURS[:2])
    fig_dense.main([file], False, [], [])
    named, numbered = ([t.get_text() for t in f.legends[0].get_texts()] for f in drawn)
    assert named == ["c5", "c7", "c9", "c2"]
    assert numbered == ["class 5", "class 7", "2 others"]
    shown = drawn[1].axes[2].images[0].get_array()
    assert shown.tolist() == [[0, 2, 2], [2, 2, 2]]
    assert drawn[1].axes[1].images[0].get_array().mask.sum() == 1


def test_eigen_crop_is_for_nyud_only():
    inside = eigen_crop(np.ones((480, 640)))
    assert inside.sum() == 426 * 560 and inside[45, 41] and not inside[44, 41]
    with pytest.raises(ValueError, match="320 x 240"):
        eigen_crop(np.ones((240, 320)))


def test_windows_cover_an_image_and_stay_inside():
    assert windows(512, 683, (512, 512), 341) == [(0, 0), (0, 171)]
    seen = np.zeros((50, 70), int)
    for top, left in windows(50, 70, (32, 32), 20):
        assert top + 32 <= 50 and left + 32 <= 70
        seen[top : top + 32, left : left + 32] += 1
    assert seen.min() >= 1


@pytest.mark.parametrize("size", [(32, 32), (24, 40)])
def test_features_of_any_block_equal_the_model(size):
    model = vit()
    AnySize(model).set(*size)
    x = torch.randn(2, 3, *size)
    seen = {}
    hooks = [
        block.attn.qkv.register_forward_hook(lambda _m, _i, y, b=b: seen.update({b: y}))
        for b, block in enumerate(model.blocks, 1)
    ]
    with torch.no_grad(), QkvHooks(model, 4) as observe:
        features = observe(x)
        plain = model.forward_intermediates(
            x, norm=False, output_fmt="NLC", intermediates_only=True
        )
    for hook in hooks:
        hook.remove()
    assert {b for b, _ in features} == {2, 3, 4, 5}
    for (block, facet), value in features.items():
        qkv = seen[block].chunk(3, -1)
        expected = plain[block - 1] if facet == "output" else qkv["qkv".index(facet)][:, 3:]
        assert torch.equal(value, expected)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_sizes_come_from_the_trained_position_embedding():
    direct, wandered = vit(), vit()
    AnySize(direct).set(24, 40)
    sizes = AnySize(wandered)
    for size in ((64, 64), (8, 16), (24, 40)):
        sizes.set(*size)
    assert torch.equal(direct.pos_embed, wandered.pos_embed)


def test_nothing_waits_for_copies_to_a_device(monkeypatch):
    """Pixels, masks and stored tokens go to a device from pinned memory while the host goes on."""
    asked = []

    class Copies(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            if function is torch.ops.aten._to_copy.default and "device" in (kwargs or {}):
                asked.append(kwargs.get("non_blocking", False))
            return function(*args, **(kwargs or {}))

    meta = torch.zeros(3, device="meta")
    with Copies():
        batch([np.zeros((5, 6, 3), np.uint8)], (8, 8), meta, meta)
        source = object.__new__(Cached)
        source.task = SimpleNamespace(device="meta", batch=4, lay=lambda tokens, cls: tokens)
        source.tokens, source.cls = RNG.normal(size=(9, 3, 2)).astype(np.float16), None
        source.targets = np.arange(9, dtype=np.uint8)[:, None]
        drawn = source.draw(np.random.default_rng(0))
        source.features(drawn)
    assert asked == [True] * 4
    pick = np.sort(np.random.default_rng(0).integers(9, size=4))
    assert np.array_equal(drawn[0], source.tokens[pick]) and drawn[1] is None
    assert np.array_equal(drawn[2], source.targets[pick])
    pinned = []
    monkeypatch.setattr(torch, "empty", lambda *_, pin_memory, **__: pinned.append(pin_memory))
    for device in ("cpu", "cuda", "cuda:1"):
        on_host((2,), torch.uint8, device)
    assert pinned == [False, True, True]


def test_padding_is_the_mean_colour():
    image = RNG.integers(0, 256, (5, 6, 3)).astype(np.uint8)
    x = batch([image], (8, 8), torch.tensor([0.5, 0.4, 0.3]), torch.tensor([0.2, 0.2, 0.1]))
    assert x.shape == (1, 3, 8, 8) and not x[:, :, 5:].any() and not x[:, :, :, 6:].any()
    assert x[0, 1, 2, 3] == pytest.approx((image[2, 3, 1] / 255 - 0.4) / 0.2, rel=1e-5)


@pytest.fixture
def pairs(tmp_path):
    """Eight images whose left half is class 0 and dark, the right one class 1 and bright."""
    for i in range(8):
        image = np.full((40, 56, 3), 30, np.uint8) + RNG.integers(0, 9, (40, 56, 3), np.uint8)
        target = np.zeros((40, 56), np.uint8)
        image[:, 20 + i :], target[:, 20 + i :] = 220, 1
        Image.fromarray(image).save(tmp_path / f"{i}.png")
        Image.fromarray(target).save(tmp_path / f"map_{i}.png")
    return {
        "task": "segmentation", "layout": "pairs", "path": str(tmp_path), "classes": 2,
        "images": r"{id,\d}.png", "targets": "map_{id}.png",
    }  # fmt: skip


def test_a_head_learns_what_is_there(pairs, tmp_path):
    maps = Maps(pairs)
    table, constant = maps.index()
    assert table["split"].tolist() == ["train"] * 6 + ["test"] * 2
    assert np.argmax(constant["pixels"]) == 1
    settings = {"crop": [32, 32], "stride": 20, "batch": 4, "supervise": 3, "steps": 60,
                "lr": 1e-2, "weight_decay": 0}  # fmt: skip
    frozen = FrozenBackbone(vit(), (0.5,) * 3, (0.5,) * 3, settings, False, False, "cpu")
    assert frozen.every == 1  # a divisor of the patch
    rows = table.to_dict("records")
    quiet = lambda *_: None  # noqa: E731
    cached = Cached(frozen, maps, rows[:6], 1, tmp_path / "cache", "name", quiet)
    reused = Cached(frozen, None, rows[:6], 1, tmp_path / "cache", "name", quiet)
    assert np.array_equal(cached.tokens, reused.tokens)  # nothing was read for them

    def fit(source, path, stop=lambda: ""):
        torch.manual_seed(0)
        head = SegmentationHead(frozen.width, settings, 2)
        return head, train(head, source, settings, 0, quiet, Checkpoint(path, "name"), stop)

    head, losses = fit(cached, None)
    assert losses[-1] < losses[0] / 3
    steps = iter(range(100))
    with pytest.raises(Interrupted, match="ended after 26 of 60 steps"):
        fit(cached, tmp_path / "head.pt", lambda: "SIGTERM" if next(steps) == 25 else "")
    resumed, others = fit(reused, tmp_path / "head.pt")
    assert others == losses
    for name, value in head.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name])
    file = tmp_path / "cache" / "tokens.npy"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(StudyError, match="tokens.npy: the tokens of unfinished work are damaged"):
        Cached(frozen, None, rows[:6], 1, tmp_path / "cache", "name", quiet)
    pair = maps.read(rows[7])
    heads, others = [head.eval(), resumed.eval()], [maps.read(row) for row in rows[5:8]]
    ((predicted, again),) = predict(heads, frozen, [pair])
    assert np.array_equal(predicted, again)
    by_image = predict(heads, frozen, others)  # windows of several images in one batch
    for row, image in zip(others, by_image, strict=True):
        assert (image[0] == predict(heads[:1], frozen, [row])[0][0]).mean() > 0.999
    assert predicted.shape == (40, 56) and (predicted == pair[1]).mean() > 0.9


def test_bad_maps_are_named_and_refused(pairs, tmp_path):
    Image.fromarray(np.full((40, 56), 7, np.uint8)).save(tmp_path / "map_3.png")
    with pytest.raises(StudyError, match=r"map_3.png: the ids \[7\] are no class"):
        Maps(pairs).index()
    Image.fromarray(np.zeros((40, 57), np.uint8)).save(tmp_path / "map_3.png")
    with pytest.raises(StudyError, match="map_3.png: the map has 57 x 40 pixels"):
        Maps(pairs).index()
    (tmp_path / "map_3.png").unlink()
    with pytest.raises(StudyError, match="has no map"):
        Maps(pairs).index()


def test_depth_of_zero_and_65535_does_not_count(pairs, tmp_path):
    raw = np.full((40, 56), 2000, np.uint16)
    raw[0, :3] = 0, 65535, 30000  # none, none, beyond the farthest
    for i in range(8):
        Image.fromarray(raw).save(tmp_path / f"map_{i}.png")
    source = {**pairs, "task": "depth", "scale": 1000}
    _, depth = Maps(source).read({"image": "3.png", "target": "map_3.png", "image_id": "3"})
    assert depth[0, :4].tolist() == [0, 0, 0, 2] and Maps(source).index()[1]["mean"] == 2
    Image.fromarray(np.zeros_like(raw)).save(tmp_path / "map_5.png")
    with pytest.raises(StudyError, match="map_5.png: not one pixel counts"):
        Maps(source).index()


def test_nyu_file_is_turned_upright(tmp_path):
    depths = RNG.uniform(1, 5, (3, 6, 4)).astype(np.float32)  # image, column, row
    images = RNG.integers(0, 256, (3, 3, 6, 4)).astype(np.uint8)
    with h5py.File(tmp_path / "nyu.mat", "w") as file:
        file["depths"], file["images"] = depths, images
    scipy.io.savemat(tmp_path / "s.mat", {"trainNdxs": [[1], [3]], "testNdxs": [[2]]})
    maps = Maps({
        "task": "depth", "layout": "nyu-mat", "path": tmp_path / "nyu.mat",
        "splits": str(tmp_path / "s.mat"),
    })  # fmt: skip
    table, _ = maps.index()
    assert table.set_index("image_id")["split"].to_dict() == {
        "0001": "train", "0003": "train", "0002": "test",
    }  # fmt: skip
    image, depth = maps.read(table.iloc[1].to_dict())
    assert image.shape == (4, 6, 3) and depth.shape == (4, 6)
    assert image[3, 2, 1] == images[2, 1, 2, 3] and depth[3, 2] == depths[2, 2, 3]


def test_real_layouts_have_the_right_offsets_and_units(real_data):
    data = real_data / "data"
    ade = Maps({
        "task": "segmentation", "layout": "ade20k", "path": data / "ade20k-samples/sampleData",
        "images": "images/{id}.jpg", "targets": "annotations/{id}.png", "train": {
            "images": r"images/{id,.*[12]}.jpg", "targets": "annotations/{id}.png"}, "test": {
            "images": r"images/{id,.*3}.jpg", "targets": "annotations/{id}.png"},
    })  # fmt: skip
    table, _ = ade.index()
    name = "annotations/ADE_val_00000001.png"
    row = table[table["target"] == name].iloc[0].to_dict()
    raw = np.asarray(Image.open(data / "ade20k-samples/sampleData" / name)).astype(int)
    labels = ade.read(row)[1].astype(int)
    assert (labels[raw > 0] == raw[raw > 0] - 1).all() and (labels[raw == 0] == IGNORE).all()
    nyu = Maps({
        "task": "depth", "layout": "pairs", "path": data / "nyu-samples", "scale": 5000,
        "images": r"examples/ExpNYUD_{set}/{id,\d+}.png", "test_share": 0.5,
        "targets": "examples/ExpNYUD_{set}/depth_gt_{id}.png",
    })  # fmt: skip
    table, constant = nyu.index()
    assert len(table) == 2 and 1 < constant["mean"] < 5
    assert eigen_crop(nyu.read(table.iloc[0].to_dict())[1]).max() < 10


def test_roughness_of_known_maps():
    ramp = np.broadcast_to(np.arange(12.0)[:, None, None], (12, 12, 1))
    spike = np.zeros((12, 12, 1))
    spike[5, 5] = 1
    # Of a ramp only the first and last row differ from their neighbours, by a quarter of a step.
    assert roughness(ramp) == pytest.approx(2 / 12 * 0.25 / 3)
    assert roughness(np.ones((4, 4, 2))) == 0
    assert np.isnan(roughness(spike))  # all others are the same: nothing to measure by
    assert roughness(ramp + 20 * spike) > 5 * roughness(ramp)
    assert roughness(7 * ramp + 5) == pytest.approx(roughness(ramp))


@pytest.mark.parametrize("rows, columns", [(1, 1), (3, 4), (5, 5)])
def test_roughness_falls_when_outliers_vanish(rows, columns):
    """Alone or in a cluster, which inflates a variance; in norms as in tokens."""
    generator = np.random.default_rng(0)
    for _ in range(10):
        clean = gaussian_filter(generator.normal(size=(14, 14, 16)), (1.5, 1.5, 0))
        clean += 0.1 * generator.normal(size=clean.shape)
        planted = clean.copy()
        planted[2 : 2 + rows, 2 : 2 + columns] += 10 * np.linalg.norm(clean, axis=2).mean() / 4
        assert roughness(clean) < roughness(planted)
        norms = [np.linalg.norm(maps, axis=2, keepdims=True) for maps in (clean, planted)]
        assert roughness(norms[0]) < roughness(norms[1])
