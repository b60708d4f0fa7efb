"""Opening backbones: weights in several forms, and refusals that say why."""

import pickle

import pytest
import timm
import torch
from safetensors.torch import save_file

from tokenscope.backbones.loading import check_weights, open_backbone
from tokenscope.errors import StudyError
from tokenscope.forward.device import pick_device

SPEC = {
    "name": "my/tiny/r2-scratch",
    "timm_id": "vit_tiny_patch16_224",
    "model": {"img_size": 32, "patch_size": 8, "embed_dim": 48, "depth": 2, "num_heads": 2,
              "num_classes": 3, "no_embed_class": True},
    "registers": 2,
    "mean": (0.5,) * 3,
    "std": (0.5,) * 3,
}  # fmt: skip


def state(**changes):
    torch.manual_seed(0)
    return timm.create_model("vit_tiny_patch16_224", **SPEC["model"], reg_tokens=2).state_dict()


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "model.safetensors"
    save_file(state(), path)
    return path


def test_safetensors_and_state_dicts_open_alike(weights, tmp_path):
    torch.save({"state_dict": state()}, tmp_path / "model.pth")
    a, b = open_backbone(SPEC, weights), open_backbone(SPEC, tmp_path / "model.pth")
    x = torch.randn(1, 3, 32, 32)
    assert torch.equal(a.forward_features(x), b.forward_features(x))
    assert a.num_prefix_tokens == 3 and not a.training
    check_weights(SPEC, weights)


def test_other_sizes_resample_the_position_embedding(weights):
    model = open_backbone(SPEC, weights, size=64)
    assert model.forward_features(torch.randn(1, 3, 64, 64)).shape == (1, 3 + 64, 48)


def test_original_dinov2_keys_are_converted(tmp_path):
    """Official files name things differently; timm's filter for the architecture is used."""
    name, arguments = "vit_small_patch14_dinov2", {"img_size": 28, "depth": 1}
    torch.manual_seed(0)
    model = timm.create_model(name, **arguments)
    official = {k.replace("ls1.gamma", "ls1.gamma"): v for k, v in model.state_dict().items()}
    official["mask_token"] = torch.zeros(1, 384)  # only the official files have it
    torch.save(official, tmp_path / "dinov2.pth")
    spec = {**SPEC, "timm_id": name, "model": arguments, "registers": 0}
    opened = open_backbone(spec, tmp_path / "dinov2.pth").state_dict()
    assert all(torch.equal(opened[k], v) for k, v in model.state_dict().items())


def test_what_does_not_fit_is_refused_with_its_keys(weights, tmp_path):
    wider = {**SPEC, "model": {**SPEC["model"], "embed_dim": 96}}
    with pytest.raises(StudyError, match=r"shapes differ, first .*file \[.*model \["):
        check_weights(wider, weights)
    lacking = state()
    del lacking["norm.weight"]
    save_file(lacking, tmp_path / "lacking.safetensors")
    with pytest.raises(StudyError, match="1 keys are missing from it .norm.weight"):
        open_backbone(SPEC, tmp_path / "lacking.safetensors")
    coarser = {**SPEC, "model": {**SPEC["model"], "patch_size": 16}}
    with pytest.raises(StudyError, match="its patches have 8 x 8 pixels, not 16 x 16"):
        check_weights(coarser, weights)
    torch.save({"state_dict": {"model": state()}}, tmp_path / "other.pth")
    with pytest.raises(StudyError, match="no weights of a backbone by name; save its state"):
        check_weights(SPEC, tmp_path / "other.pth")


def test_unreadable_and_unsafe_files_are_refused(tmp_path):
    with pytest.raises(StudyError, match="does not exist"):
        open_backbone(SPEC, tmp_path / "absent.safetensors")
    (tmp_path / "text.safetensors").write_text("no weights")
    with pytest.raises(StudyError, match="cannot be read as weights"):
        open_backbone(SPEC, tmp_path / "text.safetensors")

    class Payload:
        def __reduce__(self):
            return (open, (str(tmp_path / "touched"), "w"))

    with open(tmp_path / "unsafe.pth", "wb") as handle:
        pickle.dump(Payload(), handle)
    with pytest.raises(StudyError, match="refused as unsafe"):
        open_backbone(SPEC, tmp_path / "unsafe.pth")
    assert not (tmp_path / "touched").exists()


def test_a_gpu_that_is_not_there():
    assert pick_device("cpu") == "cpu"
    if not torch.cuda.is_available():
        assert pick_device("auto") == "cpu"
        with pytest.raises(StudyError, match="sees no GPU"):
            pick_device("cuda")


@pytest.mark.parametrize(
    ("parts", "taken"),
    [
        (["backbone."], "backbone"),
        (["student.backbone.", "teacher.backbone."], "teacher.backbone"),
        (["backbone.", "model_ema.module."], "model_ema.module"),
        (["module.teacher."], "teacher"),
    ],
)
def test_a_backbone_among_other_parts_is_taken_and_named(parts, taken, tmp_path, caplog):
    own = state()
    last = {key: value + 1 for key, value in own.items()}
    weights = {
        part + key: value
        for part, values in zip(parts, [own, last], strict=False)
        for key, value in values.items()
    }
    weights |= {"decoder.weight": torch.ones(3), "teacher.head.weight": torch.ones(3)}
    if parts == ["module.teacher."]:
        del weights["teacher.head.weight"]
    torch.save({"state_dict": weights, "epoch": 3}, tmp_path / "training.pth")
    with caplog.at_level("INFO", "tokenscope"):
        opened = open_backbone(SPEC, tmp_path / "training.pth").state_dict()
    expected = last if len(parts) > 1 else own
    assert all(torch.equal(opened[key], value) for key, value in expected.items())
    others = len(weights) - len(own)
    assert f"{len(own)} weights below '{taken}' are taken, {others} others" in caplog.text
