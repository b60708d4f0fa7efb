"""The precision of forward passes: one rule for every way in which a device is named."""

import pytest
import timm
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tokenscope.forward.hooks import TokenHooks
from tokenscope.forward.precision import autocast, cast_once, exact, precision_name


@pytest.mark.parametrize("device", ["cuda", "cuda:1", torch.device("cuda", 1)])
def test_a_gpu_computes_in_bfloat16(device, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *_, **__: True)
    context = autocast(device)
    assert context.device == "cuda" and context.fast_dtype == torch.bfloat16
    assert precision_name(device) == "bfloat16 autocast"


@pytest.mark.parametrize("device", ["cpu", torch.device("cpu")])
def test_a_cpu_computes_in_float32(device):
    a = torch.ones(2, 2)
    with autocast(device):
        assert (a @ a).dtype == torch.float32
    assert precision_name(device) == "float32"


def test_sums_within_a_pass_keep_float32():
    a = torch.ones(2, 2)
    with torch.autocast("cpu", torch.bfloat16):
        assert (a @ a).dtype == torch.bfloat16
        with exact("cpu"):
            assert (a @ a).dtype == torch.float32


class Casts(TorchDispatchMode):
    """How many elements were brought from float32 to bfloat16."""

    def __init__(self):
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is torch.ops.aten._to_copy.default and kwargs.get("dtype") is torch.bfloat16:
            self.elements += args[0].numel()
        return func(*args, **kwargs)


@pytest.mark.parametrize(
    "name",
    ["vit_tiny_patch16_224", "vit_small_patch16_dinov3", "eva02_tiny_patch14_224",
     "beit_base_patch16_224", "vit_base_patch16_siglip_224"],
)  # fmt: skip
def test_weights_are_cast_once_and_nothing_changes(name):
    torch.manual_seed(0)
    model = timm.create_model(name, depth=2, img_size=64 if "14" not in name else 56)
    model.eval().requires_grad_(False)
    weights = sum(p.numel() for p in model.blocks.parameters())
    x, seen, casts = torch.randn(2, 3, *model.patch_embed.img_size), [], []
    for prepare in (lambda model: model, cast_once):
        prepare(model)
        with (
            TokenHooks(model, qkv=True, block_attention=True) as observe,
            torch.no_grad(),
            torch.autocast("cpu", torch.bfloat16),
            Casts() as counter,
        ):
            seen.append(observe(x))
        casts.append(counter.elements)
    assert seen[0].keys() == seen[1].keys()
    for key, value in seen[0].items():
        assert torch.equal(value.nan_to_num(9), seen[1][key].nan_to_num(9)), key
    assert casts[0] - casts[1] > 0.9 * weights
