"""Training: deterministic, refuses what does not fit, penalty and patch labels do their part."""

import numpy as np
import pytest
import timm
import torch

from tokenscope.errors import StudyError
from tokenscope.training import features_and_norm, patch_segments, train

RECIPE = {
    "epochs": 2, "batch_size": 8, "optimizer": "adamw", "lr": 1e-3, "weight_decay": 0.05,
    "warmup": 0.1, "label_smoothing": 0.0, "norm_penalty": 0.0, "token_labels": 0.0,
    "validation": 0.2, "seed": 0,
}  # fmt: skip
SCALE = ((0.5,) * 3, (0.5,) * 3)


def model(registers=1):
    torch.manual_seed(0)
    return timm.create_model(
        "vit_tiny_patch16_224", img_size=16, patch_size=8, embed_dim=24, depth=2, num_heads=2,
        num_classes=2, reg_tokens=registers, no_embed_class=True,
    )  # fmt: skip


def data(images=60):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, images)
    pixels = rng.integers(0, 80, (images, 16, 16, 3), dtype=np.uint8)
    pixels[labels == 1] += 120
    return pixels, labels


def test_learns_and_repeats():
    runs = []
    for _ in range(2):
        net = model()
        history = train(net, *data(), {**RECIPE, "epochs": 12}, *SCALE)
        runs.append((history, net.state_dict()))
    (first, weights), (second, again) = runs
    assert first == second
    assert all(torch.equal(weights[k], again[k]) for k in weights)
    assert first[-1]["loss"] < first[0]["loss"] and first[-1]["top1"] == 100


def test_norm_penalty_lowers_norms():
    free, held = model(), model()
    train(free, *data(), {**RECIPE, "epochs": 12, "lr": 5e-3}, *SCALE)
    train(held, *data(), {**RECIPE, "epochs": 12, "lr": 5e-3, "norm_penalty": 1.0}, *SCALE)
    x = torch.randn(4, 3, 16, 16)
    with torch.no_grad():
        assert features_and_norm(held, x)[1] < 0.8 * features_and_norm(free, x)[1]


def test_penalty_pulls_on_patches_only():
    net = model(registers=2)
    tokens = {}
    hook = net.blocks[-1].register_forward_hook(
        lambda _m, _i, out: (out.retain_grad(), tokens.update(out=out))[0]
    )
    _, norm = features_and_norm(net, torch.randn(2, 3, 16, 16))
    norm.backward()
    hook.remove()
    gradient = tokens["out"].grad
    assert torch.all(gradient[:, :3] == 0) and torch.all(gradient[:, 3:].norm(dim=-1) > 0)


def test_patch_segments_take_the_majority():
    segmentation = np.zeros((1, 4, 4), np.uint8)
    segmentation[0, :2, :2] = [[3, 3], [3, 1]]
    segmentation[0, 2:, 2:] = 2
    assert patch_segments(segmentation, (2, 2)).tolist() == [[3, 0, 0, 2]]
    with pytest.raises(StudyError, match="no whole cells"):
        patch_segments(segmentation, (3, 3))


def test_what_does_not_fit_is_refused():
    pixels, labels = data()
    with pytest.raises(StudyError, match="the model has 2 classes"):
        train(model(), pixels, labels + 1, RECIPE, *SCALE)
    with pytest.raises(StudyError, match="token_labels needs"):
        train(model(), pixels, labels, {**RECIPE, "token_labels": 1.0}, *SCALE)
    with pytest.raises(StudyError, match="fewer than one batch"):
        train(model(), pixels[:6], labels[:6], RECIPE, *SCALE)
    with pytest.raises(StudyError, match="lower the lr"):
        train(model(), pixels, labels, {**RECIPE, "lr": 1e30, "epochs": 3}, *SCALE)
