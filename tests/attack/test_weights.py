"""Attempts on weights, published heads, model folders, and on what a pass makes of them."""

import json
import os
import pickle

import numpy as np
import pytest
import timm
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from tokenscope.backbones.loading import check_weights, open_backbone
from tokenscope.cards import model_folder
from tokenscope.cards.preprocessor_config import colours
from tokenscope.classification.published_heads import check_head
from tokenscope.extraction.loop import extract, variables
from tokenscope.extraction.token_bank import Draw
from tokenscope.stores.zarr_store import StoreWriter

SPEC = {
    "name": "my/tiny/r2", "timm_id": "vit_tiny_patch16_224", "registers": 2,
    "model": {"img_size": 32, "patch_size": 8, "embed_dim": 48, "depth": 2, "num_heads": 2,
              "num_classes": 3, "no_embed_class": True},
}  # fmt: skip
QKV = "blocks.0.attn.qkv.weight"


def state():
    torch.manual_seed(0)
    return timm.create_model("vit_tiny_patch16_224", **SPEC["model"], reg_tokens=2).state_dict()


def changed(key, change):
    weights = state()
    weights[key] = change(weights[key])
    return weights


def spoilt(number):
    def change(value):
        value = value.clone()
        value.view(-1)[-1] = number
        return value

    return change


STATES = {
    f"{number} in {key}": changed(key, spoilt(number))
    for key in ("head.weight", "head.bias", "norm.weight", "norm.bias", QKV, "pos_embed",
                "reg_token", "patch_embed.proj.bias")
    for number in (float("nan"), float("inf"), -float("inf"))
}  # fmt: skip
STATES |= {
    "beyond float32": changed("head.weight", lambda v: spoilt(1e300)(v.double())),
    "bytes": changed(QKV, lambda v: (v * 100).to(torch.int8)),
    "unsigned bytes": changed("head.weight", lambda v: (v.abs() * 100).to(torch.uint8)),
    "whole numbers": changed(QKV, lambda v: v.long()),
    "truths": changed(QKV, lambda v: v > 0),
    "complex": changed(QKV, lambda v: v.to(torch.complex64)),
    "8 bits": changed(QKV, lambda v: v.to(torch.float8_e4m3fn)),
    "sparse": changed(QKV, lambda v: v.to_sparse()),
    "twice, with and without module.": {
        **state(), **{f"module.{k}": v + 1 for k, v in state().items()},
    },
    "one of them twice": {**state(), "_orig_mod.head.bias": state()["head.bias"] + 1},
    "two networks without a first": {"online": state(), "target": state()},
    "student alone": {"student": state(), "epoch": 3},
    "no weights": {},
    "no weights in it": {"model": {}},
    "numbers for weights": {key: 1.0 for key in state()},
    "nested": {"model": {"model": state()}},
    "half of them": dict(list(state().items())[::2]),
    "another shape": changed("head.weight", lambda v: v[:, :-1]),
    "transposed": changed("blocks.0.mlp.fc1.weight", lambda v: v.T.contiguous()),
    "one too many": {**state(), "blocks.2.norm1.weight": torch.ones(48)},
    "keys that are numbers": dict(enumerate(state().values())),
    "a list": list(state().values()),
    "one tensor": torch.ones(3),
    "text": "weights",
    "nothing": None,
}  # fmt: skip


@pytest.mark.parametrize("name", STATES)
def test_states(tmp_path, attempt, name):
    torch.save(STATES[name], tmp_path / "model.pth")
    attempt(lambda: check_weights(SPEC, tmp_path / "model.pth"))


@pytest.mark.parametrize("kind", ["float16", "bfloat16", "float64"])
def test_other_precisions_are_the_same_weights(tmp_path, attempt, kind):
    weights = {key: value.to(getattr(torch, kind)) for key, value in state().items()}
    save_file(weights, tmp_path / "model.safetensors")

    def right(model):
        own = model.state_dict()
        return all(torch.equal(own[key], value.float()) for key, value in weights.items())

    attempt(lambda: open_backbone(SPEC, tmp_path / "model.safetensors"), right)


@pytest.mark.parametrize(
    ("first", "second"), [("state_dict_ema", "state_dict"), ("teacher", "student")]
)
def test_of_two_the_average_is_taken_and_named(tmp_path, attempt, caplog, first, second):
    average = changed("head.bias", lambda v: v + 1)
    torch.save({second: state(), first: average}, tmp_path / "model.pth")
    with caplog.at_level("INFO", "tokenscope"):
        attempt(lambda: open_backbone(SPEC, tmp_path / "model.pth"),
                lambda model: torch.equal(model.head.bias, average["head.bias"]))  # fmt: skip
    assert f"'{first}' are taken" in caplog.text


def test_equal_weights_twice_are_no_matter(tmp_path, attempt):
    twice = {**state(), **{f"module.{k}": v for k, v in state().items()}}
    torch.save(twice, tmp_path / "model.pth")
    attempt(lambda: open_backbone(SPEC, tmp_path / "model.pth"), bool)


class Payload:
    """A pickle that would make a file."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return os.system, (f"touch '{self.file}'",)


def file_of(tmp_path, name):
    save_file(state(), tmp_path / "whole.safetensors")
    whole = (tmp_path / "whole.safetensors").read_bytes()
    return {
        "empty": b"", "text": b"weights", "half": whole[: len(whole) // 2], "head": whole[:100],
        "an endless head": b"\xff" * 8 + whole[8:], "no head": whole[8:], "JSON": b"{}",
        "zeros": bytes(10_000), "longer": whole + b"\0",
    }[name]  # fmt: skip


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("name", ["empty", "text", "half", "head", "an endless head", "no head",
                                  "JSON", "zeros", "longer"])  # fmt: skip
def test_files(tmp_path, attempt, name, suffix):
    file = tmp_path / f"model{suffix}"
    file.write_bytes(file_of(tmp_path, name))
    attempt(lambda: check_weights(SPEC, file))


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".bin", ".json"])
@pytest.mark.parametrize("place", ["pipe", "folder", "device", "nothing", "loop"])
def test_places(tmp_path, attempt, place, suffix):
    file = tmp_path / f"model{suffix}"
    {
        "pipe": os.mkfifo, "folder": lambda f: f.mkdir(), "nothing": lambda f: None,
        "device": lambda f: f.symlink_to("/dev/zero"), "loop": lambda f: f.symlink_to(f),
    }[place](file)  # fmt: skip
    attempt(lambda: open_backbone(SPEC, file))


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_no_pickle_runs(tmp_path, attempt, protocol, wrapped):
    bad = Payload(tmp_path / "ran")
    content = {"state_dict": state(), "hook": bad} if wrapped else bad
    if wrapped:
        torch.save(content, tmp_path / "model.pth")
    else:
        (tmp_path / "model.pth").write_bytes(pickle.dumps(content, protocol))
    attempt(lambda: check_weights(SPEC, tmp_path / "model.pth"))
    assert not (tmp_path / "ran").exists()


HEADS = {
    "no number in it": {"weight": torch.full((3, 96), float("nan")), "bias": torch.zeros(3)},
    "an infinite bias": {"weight": torch.ones(3, 96), "bias": torch.full((3,), float("inf"))},
    "bytes": {"weight": torch.ones(3, 96, dtype=torch.int8), "bias": torch.zeros(3)},
    "no bias": {"weight": torch.ones(3, 96)},
    "two layers": {"0.weight": torch.ones(3, 96), "0.bias": torch.ones(3),
                   "2.weight": torch.ones(3, 96), "2.bias": torch.ones(3)},
    "another width": {"weight": torch.ones(3, 97), "bias": torch.zeros(3)},
    "a bias of other classes": {"weight": torch.ones(3, 96), "bias": torch.zeros(4)},
    "three dimensions": {"weight": torch.ones(3, 96, 1), "bias": torch.zeros(3)},
    "a list": [torch.ones(3, 96), torch.zeros(3)],
    "a pickle": Payload("/tmp/never"),
}  # fmt: skip


@pytest.mark.parametrize("name", HEADS)
def test_published_heads(tmp_path, attempt, name):
    torch.save(HEADS[name], tmp_path / "head.pth")
    attempt(lambda: check_head({"key": "a/b/r0", "layers": 1}, tmp_path / "head.pth", 48))


CONFIGS = {
    "nothing": "", "half": '{"model_type": "din', "a list": "[]", "null": "null", "a number": "3",
    "no type": "{}", "another type": '{"model_type": "bert"}', "a list for a type":
    '{"model_type": ["dinov2"]}', "text for a size": '{"model_type": "dinov2", "hidden_size": "x"}',
    "null for a size": '{"model_type": "dinov2", "hidden_size": null}',
    "a fraction for a size": '{"model_type": "dinov2", "num_hidden_layers": 12.5}',
    "a truth for a count": '{"model_type": "dinov2_with_registers", "num_register_tokens": true}',
    "no UTF-8": b"\xff\xfe", "deep": "[" * 100_000,
    "vision that is none": '{"model_type": "clip", "vision_config": 3}',
}  # fmt: skip


@pytest.mark.parametrize("name", CONFIGS)
def test_model_folders(tmp_path, attempt, name):
    content = CONFIGS[name]
    content = content if isinstance(content, bytes) else content.encode()
    (tmp_path / "config.json").write_bytes(content)
    attempt(lambda: model_folder.read(tmp_path))


MEAN, STD = [0.4, 0.5, 0.6], [0.2, 0.3, 0.4]
GIVEN = {"image_mean": MEAN, "image_std": STD}
COLOURS = {
    "NaN": {"image_mean": [float("nan")] * 3}, "infinite": {"image_std": [float("inf")] * 3},
    "zero": {"image_std": [0.2, 0, 0.2]}, "minus": {"image_std": [-1, 1, 1]},
    "two numbers": {"image_mean": [0.5, 0.5]}, "four": {"image_mean": [0.5] * 4},
    "text": {"image_mean": "imagenet"}, "texts": {"image_mean": ["0.5"] * 3},
    "lists": {"image_mean": [[0.5]] * 3}, "truths": {"image_std": [True] * 3},
    "a truth that is text": {**GIVEN, "do_rescale": "false"},
    "a truth that is a number": {**GIVEN, "do_normalize": 0},
    "a factor of zero": {**GIVEN, "rescale_factor": 0},
    "a factor that is text": {**GIVEN, "rescale_factor": "1/255"},
    "a factor without a mean": {"rescale_factor": 0.00784},
    "not rescaled, without a mean": {"do_rescale": False},
    "huge": {"image_mean": [10**400] * 3},
}  # fmt: skip


@pytest.mark.parametrize("name", COLOURS)
def test_colours_that_cannot_be_scaled(tmp_path, attempt, name):
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(COLOURS[name]))
    attempt(lambda: colours(tmp_path))


@pytest.mark.parametrize("content", ["", "{", "[]", "null", b"\xff"], ids=str)
def test_colours_that_cannot_be_read(tmp_path, attempt, content):
    content = content if isinstance(content, bytes) else content.encode()
    (tmp_path / "preprocessor_config.json").write_bytes(content)
    attempt(lambda: colours(tmp_path))


RECIPES = [
    {}, GIVEN, {**GIVEN, "do_rescale": True, "rescale_factor": 1 / 255},
    {**GIVEN, "do_rescale": False}, {**GIVEN, "do_normalize": False},
    {**GIVEN, "rescale_factor": 1 / 127.5}, {"do_rescale": False, "do_normalize": False},
    {**GIVEN, "rescale_factor": 0.003921569},
]  # fmt: skip


@pytest.mark.parametrize("recipe", RECIPES, ids=str)
def test_colours_are_scaled_as_transformers_does(tmp_path, attempt, recipe):
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(recipe))
    x = np.arange(256)[:, None] * np.ones(3)
    expected = x
    if recipe.get("do_rescale", True):
        expected = expected * recipe.get("rescale_factor", 1 / 255)
    if recipe.get("do_normalize", True) and recipe:
        expected = (expected - MEAN) / STD

    def right(found):
        if not recipe:
            return found == {}
        return np.allclose((x / 255 - found["mean"]) / found["std"], expected, 1e-5, 1e-5)

    attempt(lambda: colours(tmp_path), right)


def spoil(model, where):
    with torch.no_grad():
        parts = {
            "final norm": model.norm.weight, "final norm, infinite": model.norm.bias,
            "own head": model.head.weight, "last block": model.blocks[-1].mlp.fc2.weight,
            "first block": model.blocks[0].norm1.weight, "patches": model.patch_embed.proj.weight,
            "registers": model.reg_token, "CLS": model.cls_token,
            "attention": model.blocks[-1].attn.qkv.bias,
        }  # fmt: skip
        parts[where].view(-1)[0] = float("inf") if "infinite" in where else float("nan")
    return model


def run(tmp_path, model, mean=(0.5,) * 3, std=(0.5,) * 3, **keep):
    arrays = variables(model, (4, 4), keep)
    writer = StoreWriter(tmp_path / "s", tmp_path / "p", arrays, 4, 2, "x")
    pixels = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    return extract(model, lambda a, b: pixels[a:b], writer, mean, std, 2, "cpu")


def backbone():
    model = timm.create_model("vit_tiny_patch16_224", **SPEC["model"], reg_tokens=2)
    return model.eval().requires_grad_(False)


@pytest.mark.parametrize("where", ["final norm", "final norm, infinite", "own head", "last block",
                                   "first block", "patches", "registers", "CLS",
                                   "attention"])  # fmt: skip
def test_passes_that_give_no_numbers(tmp_path, attempt, where):
    attempt(lambda: run(tmp_path, spoil(backbone(), where), logits=True, tokens=True))


def grown(name):
    model = backbone()
    with torch.no_grad():
        if name == "tokens":
            model.blocks[-1].mlp.fc2.bias[0] = 1e6
        else:
            model.blocks[-1].attn.qkv.bias[{"q": 0, "k": 48, "v": 96}[name]] = 1e6
    return model


@pytest.mark.parametrize("name", ["tokens", "q", "k", "v"])
def test_numbers_beyond_16_bits(tmp_path, attempt, name):
    attempt(lambda: run(tmp_path, grown(name), tokens=True, qkv=True))


@pytest.mark.parametrize("mean, std", [((float("nan"),) * 3, (1.0,) * 3), ((0.0,) * 3, (0.0,) * 3),
                                       ((0.0,) * 3, (float("inf"),) * 3)])  # fmt: skip
def test_colours_of_a_pass(tmp_path, attempt, mean, std):
    attempt(lambda: run(tmp_path, backbone(), mean, std))


@pytest.mark.parametrize("cutoff", [float("nan"), float("inf"), -float("inf")])
def test_cutoffs_of_a_draw(attempt, cutoff):
    attempt(lambda: Draw(cutoff, 2, 0))


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 10**7), st.integers(1, 255), st.booleans())
def test_any_change_of_the_head_of_a_file(tmp_path_factory, attempt, at, flip, cut):
    """The same weights, or a sentence; nothing else."""
    folder = tmp_path_factory.mktemp("weights")
    save_file(state(), folder / "model.safetensors")
    content = bytearray((folder / "model.safetensors").read_bytes())
    head = 8 + int.from_bytes(content[:8], "little")
    if cut:
        content = content[: at % len(content)]
    else:
        content[at % head] ^= flip
    (folder / "model.safetensors").write_bytes(content)

    def right(model):
        own = model.state_dict()
        return {k: v.shape for k, v in own.items()} == {k: v.shape for k, v in state().items()}

    attempt(lambda: open_backbone(SPEC, folder / "model.safetensors"), right)
