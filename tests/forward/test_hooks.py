"""One forward pass must show exactly what the model does, on every kind of architecture."""

import numpy as np
import pytest
import timm
import torch
from sklearn.metrics import roc_auc_score

from tokenscope.errors import StudyError
from tokenscope.forward.attention import agreement, attention_rows
from tokenscope.forward.hooks import TokenHooks
from tokenscope.forward.inputs import normalise
from tokenscope.forward.neighbour_cosine import neighbour_cosine
from tokenscope.forward.tokens import refuse_unsupported, token_kinds

# One of each class of the zoo, at reduced depth: CLS with and without position, LayerScale,
# registers, SwiGLU, norm before the blocks, no CLS with norm after pooling, rotary embedding.
MODELS = {
    "dino": ("vit_small_patch16_224", {}),
    "dinov2": ("vit_small_patch14_dinov2", {"img_size": 56}),
    "dinov2-reg4": ("vit_small_patch14_reg4_dinov2", {"img_size": 56}),
    "dinov2-giant": ("vit_giant_patch14_reg4_dinov2", {"img_size": 28, "depth": 1}),
    "deit3": ("deit3_small_patch16_224", {}),
    "openclip": ("vit_base_patch32_clip_224", {}),
    "sbb": ("vit_wee_patch16_reg1_gap_256", {"img_size": 64}),
    "tipsv2": ("vit_base_patch14_reg1_tipsv2", {"img_size": 56, "depth": 1}),
    "dinov3": ("vit_small_patch16_dinov3", {"img_size": 64}),
}


def shaken(name):
    """A model whose LayerScale, tokens and positions are far from their tiny initial values."""
    torch.manual_seed(0)
    arch, arguments = MODELS[name]
    model = timm.create_model(arch, **{"depth": 2, **arguments}).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return model


@pytest.mark.parametrize("name", MODELS)
def test_pass_equals_model(name):
    model = shaken(name)
    size = model.patch_embed.img_size[0]
    x = torch.randn(2, 3, size, size)
    prefix = model.num_prefix_tokens
    softmax = {}

    with torch.no_grad():
        plain = model.forward_features(x)
        with TokenHooks(model, qkv=True) as observe:
            out = observe(x)
        states = model.forward_intermediates(
            x, indices=len(model.blocks), norm=False, return_prefix_tokens=True,
            output_fmt="NLC", intermediates_only=True,
        )  # fmt: skip
        last = model.blocks[-1].attn
        last.fused_attn = False
        hook = last.attn_drop.register_forward_hook(lambda _m, _i, y: softmax.update(rows=y))
        model.forward_features(x)
        hook.remove()

    for block, (patches, prefixes) in enumerate(states):
        tokens = torch.cat([prefixes, patches], 1)
        assert torch.equal(out["norms"][:, block], tokens.norm(dim=-1))
    assert torch.equal(out["tokens"], tokens)
    if type(model.norm) is not torch.nn.Identity:
        with torch.no_grad():
            assert torch.equal(model.norm(out["tokens"]), plain)
    eager = softmax["rows"].mean(1)[:, :prefix, prefix:]
    torch.testing.assert_close(out["attention"], eager, atol=2e-5, rtol=1e-4)
    assert torch.equal(out["patch_mean"], plain[:, prefix:].mean(1))
    kinds = token_kinds(model)
    assert ("cls" in out) == ("cls" in kinds) and len(kinds) == prefix
    if "cls" in out:
        assert torch.equal(out["cls"], plain[:, 0])
    if "registers" in out:
        assert torch.equal(out["registers"], plain[:, "cls" in kinds : prefix])
    assert out["q"].shape == out["tokens"].shape


def test_hooks_leave_nothing_behind():
    model = shaken("deit3")
    x = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        before = model.forward_features(x)
        with TokenHooks(model) as observe:
            observe(x)
        assert torch.equal(model.forward_features(x), before)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_constant_grid_has_cosine_one_and_checkerboard_minus_one():
    constant = torch.ones(1, 16, 5)
    cosine = neighbour_cosine(constant, (4, 4))
    inside = cosine[torch.isfinite(cosine)]
    torch.testing.assert_close(inside, torch.ones(48), atol=1e-6, rtol=0)
    sign = torch.tensor([[(-1.0) ** (r + c) for c in range(4)] for r in range(4)])
    board = sign.reshape(1, 16, 1) * torch.tensor([1.0, 2.0, 3.0])
    cosine = neighbour_cosine(board, (4, 4))
    torch.testing.assert_close(
        cosine[torch.isfinite(cosine)], torch.full((48,), -1.0), atol=1e-6, rtol=0
    )


def test_neighbours_do_not_wrap():
    grid = torch.randn(1, 12, 8)
    cosine = neighbour_cosine(grid, (3, 4)).unflatten(1, (3, 4))[0]
    assert cosine[0, :, 0].isnan().all() and cosine[2, :, 2].isnan().all()
    assert cosine[:, 3, 1].isnan().all() and cosine[:, 0, 3].isnan().all()
    assert torch.isfinite(cosine).sum() == 2 * (2 * 4 + 3 * 3)
    by_hand = torch.nn.functional.cosine_similarity(grid[0, 1], grid[0, 5], dim=0)
    torch.testing.assert_close(cosine[0, 1, 2], by_hand)
    torch.testing.assert_close(cosine[1, 1, 0], by_hand)


def test_attention_rows_of_equal_keys_are_uniform():
    q, k = torch.randn(1, 2, 5, 4), torch.ones(1, 2, 5, 4)
    torch.testing.assert_close(attention_rows(q, k, 1), torch.full((1, 1, 5), 0.2))


def test_normalise_matches_a_tensor_transform():
    pixels = torch.randint(0, 256, (2, 4, 4, 3), dtype=torch.uint8)
    out = normalise(pixels, torch.tensor([0.5, 0.4, 0.3]), torch.tensor([0.2, 0.2, 0.1]))
    assert out.shape == (2, 3, 4, 4)
    assert out[1, 2, 3, 0] == pytest.approx((pixels[1, 3, 0, 2].item() / 255 - 0.3) / 0.1, rel=1e-5)


def test_models_that_cannot_be_tapped_are_refused():
    with pytest.raises(StudyError, match="ResNet"):
        refuse_unsupported(timm.create_model("resnet10t"), "resnet10t")
    with pytest.raises(StudyError, match="DiffAttention"):
        model = timm.create_model("vit_dwee_patch16_reg1_gap_256", depth=1)
        refuse_unsupported(model, "dwee")


@pytest.mark.parametrize("name", ["dino", "dinov2-reg4", "dinov3", "openclip"])
def test_attention_of_cls_in_every_block_equals_eager_attention(name):
    model = shaken(name)
    size, prefix = model.patch_embed.img_size[0], model.num_prefix_tokens
    x = torch.randn(3, 3, size, size)
    with torch.no_grad():
        with TokenHooks(model, block_attention=True) as observe:
            out, some = observe(x), observe(x, slice(1, None, 2))
        rows = []
        for block in model.blocks:
            block.attn.fused_attn = False
            block.attn.attn_drop.register_forward_hook(
                lambda _m, _i, y: rows.append(y.mean(1)[:, 0, prefix:])
            )
        model.forward_features(x)
    eager = torch.stack(rows, 1)
    torch.testing.assert_close(out["block_attention"], eager, atol=2e-5, rtol=1e-4)
    torch.testing.assert_close(out["block_attention"][:, -1], out["attention"][:, 0])
    torch.testing.assert_close(some["block_attention"], out["block_attention"][1::2])


def test_tokens_after_another_block():
    model = shaken("dino")
    x = torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        with TokenHooks(model, tokens_after=1) as observe:
            out = observe(x)
        first, _ = model.forward_intermediates(
            x, indices=2, norm=False, return_prefix_tokens=True, output_fmt="NLC",
            intermediates_only=True,
        )  # fmt: skip
    assert torch.equal(out["tokens"][:, model.num_prefix_tokens :], first[0])
    assert torch.equal(out["tokens"].norm(dim=-1), out["norms"][:, 0])
    with pytest.raises(StudyError, match="block 3 are asked for"):
        TokenHooks(model, tokens_after=3)


def test_agreement_of_attention_and_norms_by_hand():
    norms = torch.ones(3, 100)
    norms[:, [7, 8]] = torch.tensor([5.0, 6.0])  # 2 % of the patches
    attention = torch.arange(100.0).repeat(3, 1)
    attention[0, [7, 8]] = 200.0  # both get most
    attention[1, [7, 8]] = torch.tensor([200.0, -1.0])  # one most, the other least
    attention[2] = 1.0  # all the same: nothing is known
    auc, overlap = agreement(attention, norms)
    assert auc.tolist() == pytest.approx([1, 0.5, 0.5])
    assert overlap.tolist() == pytest.approx([1, 0.5, 0.02])


def test_agreement_against_a_library():
    generator = torch.Generator().manual_seed(0)
    norms = torch.rand(4, 2, 196, generator=generator)
    attention = torch.rand(4, 2, 196, generator=generator).mul(20).round()  # many ties
    auc, _ = agreement(attention, norms)
    for index in np.ndindex(4, 2):
        high = np.zeros(196)
        high[norms[index].topk(4).indices] = 1
        assert auc[index].item() == pytest.approx(roc_auc_score(high, attention[index]), abs=1e-6)


def test_logits_keep_float32_within_a_pass_in_bfloat16():
    """In bfloat16 numbers between 8 and 16 are 1/16 apart: the leading classes would tie."""
    model = timm.create_model("vit_tiny_patch16_224", depth=2).eval()
    x = torch.randn(1, 3, 224, 224)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        with TokenHooks(model, logits=True) as observe:
            out = observe(x)
        features = model.forward_features(x)
    assert out["logits"].dtype == torch.float32
    with torch.inference_mode():
        assert torch.equal(out["logits"], model.forward_head(features.float()))
