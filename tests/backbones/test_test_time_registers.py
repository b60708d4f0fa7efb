"""Registers added without training: found, moved, and nothing else changed."""

import json

import numpy as np
import pytest
import timm
import torch
from registers import attach as attach_script

from tokenscope.backbones.registers import add_registers
from tokenscope.backbones.test_time_registers import (
    Scores,
    attach,
    overlap,
    random_neurons,
    rank,
    score,
    second_layer,
)
from tokenscope.errors import StudyError
from tokenscope.forward.hooks import TokenHooks
from tokenscope.study.register_names import base, kind


def vit(name="vit_tiny_patch16_224", **changes):
    """A small ViT whose tokens and positions are not zero, so that a wrong place shows."""
    torch.manual_seed(0)
    model = timm.create_model(
        name, img_size=48, depth=3, embed_dim=32, num_heads=2, num_classes=5, **changes
    )
    for p in model.parameters():
        p.data += 0.1 * torch.randn_like(p)
    return model.eval()


@pytest.fixture
def images():
    return torch.randn(8, 3, 48, 48, generator=torch.Generator().manual_seed(1))


def test_names():
    assert (
        kind("r1-content-10x-testtime") == "testtime"
        and base("r1-content-10x-testtime") == "r0-content-10x"
    )
    assert kind("r4") == "trained" and base("r4") == "r0" and kind("r0") == "none"
    assert kind("r2-random") == "random" and base("r2-random") == "r0"
    zeroed = "r1-content-10x-zeroed"
    assert kind(zeroed) == "zeroed" and base(zeroed) == "r0-content-10x"


@torch.inference_mode()
def test_nothing_attached_is_the_original_to_the_bit(images):
    before = vit()(images)
    assert torch.equal(attach(vit(), [], 4)(images), before)
    assert torch.equal(attach(vit(), [(2, 3)], 0)(images), before)
    assert torch.equal(add_registers(vit(), 0)(images), before)


@torch.inference_mode()
@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "deit3_small_patch16_224"])
def test_register_that_nothing_attends_to_changes_nothing(name, images):
    """CLS keeps its position, the patches keep theirs."""
    model = vit(name)
    with TokenHooks(model) as observe:
        before = observe(images)
    added = add_registers(vit(name), 2)
    for block in added.blocks:  # keys of the registers count for nothing: they are cut off
        block.attn.register_forward_pre_hook(lambda _m, a: (a[0][:, [0, *range(3, 12)]],))
        block.attn.register_forward_hook(
            lambda _m, _a, out: torch.cat([out[:, :1], torch.zeros_like(out[:, :2]), out[:, 1:]], 1)
        )
    tokens = added.forward_features(images)
    assert added.num_prefix_tokens == 3 and tokens.shape[1] == 12
    assert torch.allclose(tokens[:, 0], before["cls"], atol=1e-5)
    assert torch.allclose(tokens[:, 3:].mean(1), before["patch_mean"], atol=1e-5)


@torch.inference_mode()
@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("leaves", ["zero", "median"])
def test_activations_move_image_by_image(gated, leaves, images):
    layer = {"mlp_layer": timm.layers.SwiGLUPacked, "mlp_ratio": 2.0} if gated else {}
    model = attach(vit(**layer), [(2, 5), (2, 7)], 2, leaves)
    seen = []
    second_layer(model, 1).register_forward_pre_hook(lambda _m, args: seen.append(args[0]))
    moving = second_layer(model, 1)._forward_pre_hooks
    asked = []
    moving_hook = next(iter(moving.values()))
    model.forward_features(images)
    (after,) = seen
    for hook in list(moving):
        del moving[hook]
    second_layer(model, 1).register_forward_pre_hook(lambda _m, args: asked.append(args[0]))
    model.forward_features(images)
    (before,) = asked
    assert moving_hook.registers == 2
    patches = before[:, 3:, [5, 7]]
    largest = patches.gather(1, patches.abs().argmax(1, keepdim=True))
    assert torch.equal(after[:, 1:3, [5, 7]], (largest / 2).expand(-1, 2, -1))
    left = patches.median(1, keepdim=True).values if leaves == "median" else torch.zeros(1)
    assert torch.equal(after[:, 3:, [5, 7]], left.expand_as(patches))
    assert torch.equal(after[:, 0], before[:, 0])
    others = [n for n in range(before.shape[2]) if n not in (5, 7)]
    assert torch.equal(after[:, :, others], before[:, :, others])


@torch.inference_mode()
def test_zeroed_neurons_are_silent_at_the_patches_and_moved_nowhere(images):
    seen = {}
    for moves in (True, False):
        model = attach(vit(), [(2, 5), (2, 7)], 1, moves=moves)
        second_layer(model, 1).register_forward_pre_hook(
            lambda _m, args, moves=moves: seen.update({moves: args[0]})
        )
        model.forward_features(images)
    moved, zeroed = seen[True], seen[False]
    assert (zeroed[:, 2:, [5, 7]] == 0).all()
    others = [n for n in range(moved.shape[2]) if n not in (5, 7)]
    assert torch.equal(zeroed[:, 1, others], moved[:, 1, others])
    assert not torch.equal(zeroed[:, 1, [5, 7]], moved[:, 1, [5, 7]])
    assert torch.equal(zeroed[:, [0, *range(2, 11)]], moved[:, [0, *range(2, 11)]])


@torch.inference_mode()
def test_a_batch_equals_its_images_one_by_one(images):
    model = attach(vit(), [(1, 5), (3, 9)], 2)
    together = model(images)
    alone = torch.cat([model(image[None]) for image in images])
    assert torch.allclose(together, alone, atol=1e-5)


@torch.inference_mode()
def test_any_image_size_and_autocast():
    model = attach(vit(), [(2, 5)], 2)
    model.set_input_size(img_size=(64, 64))
    with TokenHooks(model) as observe, torch.autocast("cpu", torch.bfloat16):
        out = observe(torch.randn(2, 3, 64, 64))
    assert out["norms"].shape == (2, 3, 1 + 2 + 16)
    assert out["attention"].shape == (2, 3, 16)


def test_the_neuron_that_fires_at_outliers_ranks_first(images):
    model = vit()
    outlier = np.zeros((8, 9), bool)
    outlier[:, 4] = True

    def fire(_module, args):
        x = args[0].clone()
        x[:, 1:, 11] = 0.01
        x[:, 1 + 4, 11] = 50.0
        return (x,)

    second_layer(model, 1).register_forward_pre_hook(fire)
    half = np.arange(8) % 2
    scores = score(
        model, [(images[:5], outlier[:5], half[:5]), (images[5:], outlier[5:], half[5:])], 3
    )
    assert rank(scores, 2)[0] == (2, 11)
    assert np.allclose(scores[1].outlier[:, 11], 50) and np.allclose(scores[1].normal[:, 11], 0.01)
    length = second_layer(model, 1).weight[:, 11].norm().item()
    assert scores[1].contribution()[11] == pytest.approx(49.99 * length, rel=1e-4)
    drawn = random_neurons(model, [(2, 11), (2, 3)], seed=0)
    assert len(drawn) == 2 and not {(2, 11), (2, 3)} & set(drawn) and {b for b, _ in drawn} == {2}


def test_scores_are_summed_in_float32_within_a_pass_in_bfloat16(images, monkeypatch):
    """A GPU's passes are in bfloat16, in which a sum over all tokens keeps two digits."""
    reduced = lambda device: torch.autocast("cpu", torch.bfloat16)  # noqa: E731
    monkeypatch.setattr(f"{score.__module__}.autocast", reduced)
    model = vit()
    seen = []
    hook = second_layer(model, 0).register_forward_pre_hook(
        lambda _layer, inputs: seen.append(inputs[0][:, 1:].double().abs())
    )
    outlier = np.zeros((len(images), 9), bool)
    outlier[:, ::2] = True
    half = np.arange(len(images)) % 2
    (scores,) = score(model, [(images, outlier, half)], 1)
    hook.remove()
    exact = torch.stack([seen[0][half == h][:, ::2].mean((0, 1)) for h in (0, 1)]).numpy()
    assert scores.outlier == pytest.approx(exact, rel=1e-5)


def test_contrast_and_overlap():
    one = Scores(1, np.array([[9.0, 5], [9, 5]]), np.array([[8.0, 1], [8, 1]]), np.ones(2))
    assert rank([one], 2) == [(1, 1)]
    assert overlap([(1, 1)], [(1, 1), (1, 2)]) == 0.5
    assert np.isnan(overlap([], []))


def test_what_cannot_be_attached_is_refused():
    with pytest.raises(StudyError, match="without registers"):
        attach(vit(reg_tokens=1), [(1, 1)], 1)
    with pytest.raises(StudyError, match="no block 9"):
        attach(vit(), [(9, 1)], 1)
    with pytest.raises(StudyError, match="no neuron"):
        attach(vit(), [(1, 10**6)], 1)
    with pytest.raises(StudyError, match="none of zero"):
        attach(vit(), [(1, 1)], 1, "mean")


def test_random_weights_without_mlp_are_refused():
    model = vit()
    model.blocks[0].mlp = torch.nn.Identity()
    with pytest.raises(StudyError, match="no MLP"):
        second_layer(model, 0)


def test_attached_backbone_without_outliers_says_so(tmp_path):
    """What neurons.py found decides; the card of a backbone without outliers adds nothing."""
    search, base_card = tmp_path / "found.json", tmp_path / "base.json"
    content = {"name": "a/b/r0", "neurons": [], "random": [], "reason": "no outliers: nothing"}
    search.write_text(json.dumps(content))
    base_card.write_text(json.dumps({"weights": "w", "sha256": "s", "origin": "row"}))
    card, added = tmp_path / "card.json", tmp_path / "registers.json"
    spec = {"name": "a/b/r1-testtime", "timm_id": "vit"}
    attach_script.main(search, base_card, spec, 1, "testtime", "zero", card, added)
    assert json.loads(added.read_text())["registers"] == 0
    assert json.loads(card.read_text())["reason"].startswith("no outliers")


def test_controls_take_the_neurons_they_are_named_after(tmp_path):
    search, base_card = tmp_path / "found.json", tmp_path / "base.json"
    content = {"name": "a/b/r0", "neurons": [[1, 2]], "random": [[1, 7]], "reason": ""}
    search.write_text(json.dumps(content))
    base_card.write_text(json.dumps({"weights": "w", "sha256": "s", "origin": "row"}))
    expected = {"testtime": ([[1, 2]], True), "random": ([[1, 7]], True),
                "zeroed": ([[1, 2]], False)}  # fmt: skip
    for kind_, (neurons, moves) in expected.items():
        card, added = tmp_path / "card.json", tmp_path / "registers.json"
        spec = {"name": f"a/b/r1-{kind_}", "timm_id": "vit"}
        attach_script.main(search, base_card, spec, 1, kind_, "zero", card, added)
        written = json.loads(added.read_text())
        assert (written["neurons"], written["moves"]) == (neurons, moves)
