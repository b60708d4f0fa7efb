"""Weights as they lie on a disk: in shards, half there, or no weights at all."""

import json

import pytest
import torch
from safetensors.torch import save_file

from tokenscope.backbones.weights_file import read_weights
from tokenscope.cards import model_folder, weights_files
from tokenscope.errors import StudyError
from tokenscope.stores.receipts import sha256_weights, weights_of

INDEX = "model.safetensors.index.json"


def in_shards(folder, **held):
    """Weights a, b, c in two shards, with their index; ``held`` replaces what a shard holds."""
    given = {"1": {"a": torch.ones(2), "b": torch.zeros(3)}, "2": {"c": torch.ones(4)}}
    for number, content in {**given, **held}.items():
        save_file(content, folder / f"model-{number}.safetensors")
    names = {k: f"model-{number}.safetensors" for number, held in given.items() for k in held}
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": names}))
    return folder / INDEX


def test_shards_are_one_set_of_weights(tmp_path):
    index = in_shards(tmp_path)
    assert model_folder.weights_file(tmp_path) == str(index)
    assert [file.name for file in weights_files.files_of(index)[1:]] == [
        "model-1.safetensors", "model-2.safetensors"
    ]  # fmt: skip
    state = read_weights("mine", index)
    assert {key: len(value) for key, value in state.items()} == {"a": 2, "b": 3, "c": 4}
    card = {"name": "mine", "weights": str(index), "sha256": sha256_weights(index)}
    assert weights_of(card) == str(index)
    save_file({"c": torch.zeros(4)}, tmp_path / "model-2.safetensors")
    with pytest.raises(StudyError, match="have changed"):
        weights_of(card)


def test_a_shard_that_is_missing_cut_short_or_of_others_is_named(tmp_path):
    index = in_shards(tmp_path, **{"1": {"a": torch.ones(2)}})
    with pytest.raises(StudyError, match="model-1.safetensors lacks 1 weights .*index.json.*b"):
        read_weights("mine", index)
    index = in_shards(tmp_path)
    shard = tmp_path / "model-2.safetensors"
    shard.write_bytes(shard.read_bytes()[:-4])
    with pytest.raises(StudyError, match="model-2.safetensors. is cut short: "):
        weights_files.check(index)
    shard.unlink()
    with pytest.raises(StudyError, match="of its 2 shards 1 are missing: model-2.safetensors"):
        read_weights("mine", index)
    assert weights_files.here(index) == [str(index), str(tmp_path / "model-1.safetensors")]
    card = {"name": "mine", "weights": str(index), "sha256": ""}
    with pytest.raises(StudyError, match="model-2.safetensors are gone"):
        weights_of(card)


@pytest.mark.parametrize(
    "text", ["", "[1]", "{}", '{"weight_map": {}}', '{"weight_map": {"a": "../other"}}',
             '{"weight_map": {"a": 3}}'],
)  # fmt: skip
def test_an_index_that_is_none(text, tmp_path):
    (tmp_path / INDEX).write_text(text)
    with pytest.raises(StudyError, match="is no index of shards|no file beside it"):
        weights_files.check(tmp_path / INDEX)
    assert weights_files.here(tmp_path / INDEX) == [str(tmp_path / INDEX)]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1", "pointer of git-LFS"),
        (b"\n<!DOCTYPE html><html>", "is a web page"),
        (b'{"error": "not found"}', "text of settings"),
    ],
)
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_what_is_no_weights_is_told_by_its_first_bytes(content, said, suffix, tmp_path):
    (tmp_path / f"net{suffix}").write_bytes(content)
    with pytest.raises(StudyError, match=said):
        weights_files.check(tmp_path / f"net{suffix}")
    with pytest.raises(StudyError, match=f"mine: .*{said}"):
        read_weights("mine", tmp_path / f"net{suffix}")


def test_which_weights_of_a_folder_are_meant(tmp_path):
    with pytest.raises(StudyError, match="has no weights file model.safetensors"):
        model_folder.weights_file(tmp_path)
    (tmp_path / "mine.pth").touch()
    assert model_folder.weights_file(tmp_path) == str(tmp_path / "mine.pth")
    (tmp_path / "other.ckpt").touch()
    with pytest.raises(StudyError, match="several weights files .mine.pth, other.ckpt.: name the"):
        model_folder.weights_file(tmp_path)
    (tmp_path / "pytorch_model.bin").touch()
    (tmp_path / "model.safetensors").touch()
    assert model_folder.weights_file(tmp_path) == str(tmp_path / "model.safetensors")
