"""Attention rows beside the fused attention: exact on every kind of attention, or refused."""

import pytest
import timm
import torch
import torch.nn.functional as F

from tokenscope.errors import StudyError
from tokenscope.forward.attention import AttentionInputs
from tokenscope.forward.tokens import refuse_unsupported, token_kinds


def seen(**options):
    """One call of torch's attention on random q, k, v, as it was noted, and its output."""
    generator = torch.Generator().manual_seed(0)
    heads = 2 if options.get("enable_gqa") else 4
    q = torch.randn(3, 4, 7, 8, generator=generator)
    k, v = (torch.randn(3, heads, 7, 8, generator=generator) for _ in "kv")
    with AttentionInputs() as inputs:
        out = F.scaled_dot_product_attention(q, k, v, **options)
    return inputs.calls[0], out


BIAS = torch.randn(1, 4, 7, 7, generator=torch.Generator().manual_seed(1)) * 3
SEEN = torch.rand(3, 1, 7, 7, generator=torch.Generator().manual_seed(2)) > 0.3
SEEN |= torch.eye(7, dtype=torch.bool)  # nobody is without a key


@pytest.mark.parametrize(
    "options",
    [
        {}, {"scale": 0.7}, {"attn_mask": BIAS}, {"attn_mask": SEEN}, {"attn_mask": BIAS[0, 0]},
        {"attn_mask": BIAS[:, :, :1]}, {"is_causal": True}, {"enable_gqa": True},
    ],
    ids=["plain", "scale", "bias", "mask", "2d-bias", "key-bias", "causal", "grouped"],
)  # fmt: skip
def test_rows_are_what_torch_attends_with(options):
    """With the identity in place of v, the output of the attention is its weights."""
    call, _ = seen(**options)
    eye = torch.eye(7).expand(3, call.k.shape[1], 7, 7)
    with_eye = {k: v for k, v in options.items() if k != "enable_gqa"}
    weights = F.scaled_dot_product_attention(call.q, call.k, eye, **with_eye).mean(1)
    torch.testing.assert_close(call.rows(7), weights, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(call.rows(2), weights[:, :2], atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(call.rows(2, slice(1, 3)), weights[1:, :2], atol=1e-6, rtol=1e-5)


REFUSED = {
    "vit_dwee_patch16_reg1_gap_256": "DiffAttention",
    "vit_pwee_patch16_reg1_gap_256": "no module of attention",
    "naflexvit_base_patch16_gap": "lists of patches",
    "vit_tiny_r_s16_p8_224": "hybrid",
    "vit_base_resnet26d_224": "hybrid",
    "vit_base_mci_224": "hybrid",
    "vitamin_small_224": "hybrid",
    "samvit_base_patch16": "within windows",
    "cait_xxs24_224": "talking heads",
    "xcit_nano_12_p16_224": "between channels",
    "swin_tiny_patch4_window7_224": "no Vision Transformer",
    "resnet10t": "no Vision Transformer",
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_read_exactly_is_refused_in_a_sentence(name):
    with torch.device("meta"):
        model = timm.create_model(name)
    with pytest.raises(StudyError, match=REFUSED[name]) as refused:
        refuse_unsupported(model, name)
    assert "\n" not in str(refused.value) and name in str(refused.value)


@pytest.mark.parametrize(
    "name, kinds",
    [
        ("deit_tiny_distilled_patch16_224", ["cls", "dist"]),
        ("vit_small_patch14_reg4_dinov2", ["cls", "reg0", "reg1", "reg2", "reg3"]),
        ("vit_wee_patch16_reg1_gap_256", ["reg0"]),
        ("vit_base_patch16_siglip_224", []),
        ("beit_base_patch16_224", ["cls"]),
        (
            "vit_base_patch16_radio_v3",
            ["cls", "cls2", "cls3", "cls4", "reg0", "reg1", "reg2", "reg3"],
        ),
        ("vit_so400m_patch16_radio_v4", ["cls", "cls2", "cls3", *(f"reg{i}" for i in range(7))]),
    ],
)
def test_prefix_tokens_have_their_own_names(name, kinds):
    with torch.device("meta"):
        assert token_kinds(timm.create_model(name)) == kinds
