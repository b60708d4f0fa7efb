"""The precision of forward passes: one rule for every way in which a device is named."""

import pytest
import torch

from tokenscope.forward.precision import autocast, exact, precision_name


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
