"""Registers for any Vision Transformer of timm: weights kept, prefix right, no position."""

import pytest
import timm
import torch
from torch import nn

from tokenscope.backbones.registers import add_registers, freeze
from tokenscope.errors import StudyError

# CLS without position, CLS with position, no CLS, released registers, RoPE, pre-norm.
MODELS = {
    "deit3_small_patch16_224": {},
    "vit_tiny_patch16_224": {},
    "vit_base_patch16_clip_224": {},
    "vit_wee_patch16_reg1_gap_256": {},
    "vit_small_patch16_dinov3": {},
    "eva02_tiny_patch14_224": {},
}
SMALL = {"img_size": 64, "depth": 2, "num_classes": 5}


def shaken(name, **arguments):
    """A small model whose every weight matters: fresh layer scales would hide a wrong token."""
    torch.manual_seed(0)
    model = timm.create_model(name, **{**SMALL, **arguments}).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def image(model):
    torch.manual_seed(1)
    return torch.randn(2, 3, *model.patch_embed.img_size)


@pytest.mark.parametrize("name", MODELS)
def test_no_new_registers_is_the_same_to_the_bit(name):
    model = shaken(name)
    x = image(model)
    before = model(x)
    have = 0 if model.reg_token is None else model.reg_token.shape[1]
    assert torch.equal(add_registers(model, have)(x), before)


@pytest.mark.parametrize("name", MODELS)
def test_registers_nobody_looks_at_change_nothing(name):
    """With attention to the new tokens masked, every other token is the original's."""
    model = shaken(name)
    x = image(model)
    tokens = {}
    model.blocks[-1].register_forward_hook(lambda _m, _i, out: tokens.update(out=out))
    model.forward_features(x)
    original, prefix = tokens["out"], model.num_prefix_tokens
    weights = {k: v.clone() for k, v in model.state_dict().items()}
    have = 0 if model.reg_token is None else model.reg_token.shape[1]
    add_registers(model, have + 3)
    assert model.num_prefix_tokens == prefix + 3 and model.reg_token.shape[1] == have + 3
    moved = {"cls_token", "reg_token", "pos_embed"}
    now = model.state_dict()
    assert all(torch.equal(now[k], v) for k, v in weights.items() if k not in moved)
    total = original.shape[1] + 3
    mask = torch.zeros(total, total)
    mask[:, prefix : prefix + 3] = -torch.inf
    model.forward_features(x, attn_mask=mask) if _masks(model) else pytest.skip("no masks")
    out = tokens["out"]
    rest = torch.cat([out[:, :prefix], out[:, prefix + 3 :]], dim=1)
    torch.testing.assert_close(rest, original, rtol=1e-4, atol=1e-4)


def _masks(model):
    return "attn_mask" in type(model).forward_features.__code__.co_varnames


@pytest.mark.parametrize("name, option", [
    ("deit3_small_patch16_224", "reg_tokens"), ("vit_tiny_patch16_224", "reg_tokens"),
    ("eva02_tiny_patch14_224", "num_reg_tokens"),
])  # fmt: skip
def test_the_model_is_the_one_timm_builds(name, option):
    """timm's own registers with the same weights give the same output, at two sizes."""
    model = add_registers(shaken(name), 4)
    own = timm.create_model(name, **SMALL, **{option: 4}, no_embed_class=True).eval()
    own.load_state_dict(model.state_dict())
    for size in (None, (96, 96)) if option == "reg_tokens" else (None,):
        for m in (model, own):
            size and m.set_input_size(img_size=size)
        assert torch.equal(model(image(model)), own(image(model)))


def test_the_papers_parameter_counts():
    with torch.device("meta"):
        model = timm.create_model("deit3_small_patch16_224")
    count = lambda: sum(p.numel() for p in model.parameters())  # noqa: E731
    assert count() == 22_059_496
    add_registers(model, 4)
    assert count() == 22_061_032
    assert freeze(model, 10) == 4_013_416  # tmlr-4353


def test_what_cannot_have_registers_is_refused():
    with pytest.raises(StudyError, match="VisionTransformerDistilled"):
        add_registers(timm.create_model("deit_tiny_distilled_patch16_224", depth=1), 1)
    with pytest.raises(StudyError, match="cannot be reduced to 0"):
        add_registers(shaken("vit_wee_patch16_reg1_gap_256"), 0)
    with pytest.raises(StudyError, match="Beit"):
        add_registers(timm.create_model("beit_base_patch16_224", depth=1), 1)
    with pytest.raises(StudyError, match="has 2 blocks"):
        freeze(shaken("vit_tiny_patch16_224"), 3)
    assert isinstance(add_registers(shaken("vit_tiny_patch16_224"), 2).reg_token, nn.Parameter)
