"""What is read from a ViT is what it computes: one architecture of each class, here and now.

All of timm's: ``make conformance``.
"""

import pytest

from tokenscope.backbones import conformance
from tokenscope.forward.attention import AttentionCall

CLASSES = {
    "plain": "vit_tiny_patch16_224",
    "registers": "vit_small_patch14_reg4_dinov2",
    "layer-scale": "deit3_small_patch16_224",
    "norm-first": "vit_base_patch32_clip_quickgelu_224",
    "distilled": "deit_tiny_distilled_patch16_224",
    "registers-no-cls": "vit_wee_patch16_reg1_gap_256",
    "mean-no-cls": "vit_base_patch16_rpn_224",
    "map": "vit_base_patch32_siglip_256",
    "rms-norm": "aimv2_large_patch14_224",
    "ijepa": "vit_huge_patch14_gap_224",
    "flexible": "flexivit_small",
    "bias": "beit_base_patch16_224",
    "bias-shared": "vit_srelpos_small_patch16_224",
    "bias-cls": "vit_relpos_medium_patch16_cls_224",
    "rope": "eva02_tiny_patch14_224",
    "rope-mixed": "vit_small_patch16_rope_mixed_ape_224",
    "rope-map": "vit_pe_core_tiny_patch16_384",
    "rope-registers": "vit_small_patch16_dinov3",
    "grouped-qk-norm": "vit_base_patch16_sapiens2",
    "tips": "vit_base_patch14_reg1_tipsv2",
}


@pytest.mark.parametrize("kind", CLASSES)
def test_one_of_each_class(kind):
    result = conformance.check(CLASSES[kind])
    assert result.verdict == "passed", result
    assert result.norms is not None and result.pooled is not None
    assert result.attention is not None or result.received is not None
    assert (result.pooling is not None) == (kind == "map")


def test_a_forgotten_bias_fails(monkeypatch):
    whole = AttentionCall.of
    monkeypatch.setattr(
        AttentionCall, "of", lambda q, k, v, attn_mask=None, **options: whole(q, k, v, **options)
    )
    result = conformance.check("beit_base_patch16_224")
    assert result.verdict == "FAIL" and result.reason == "differs in attention"


def test_a_shift_by_one_token_fails(monkeypatch):
    rows = AttentionCall.rows
    monkeypatch.setattr(AttentionCall, "rows", lambda *a: rows(*a).roll(1, -1))
    assert conformance.check("vit_tiny_patch16_224").reason == "differs in attention"


def test_what_is_refused_and_what_breaks_is_told_apart(monkeypatch):
    refused = conformance.check("vit_tiny_r_s16_p8_224", 3)
    assert refused.verdict == "refused" and "hybrid" in refused.reason and refused.tags == 3
    monkeypatch.setattr(conformance, "compare", lambda *_: {"norms": float("nan")})
    assert conformance.check("vit_tiny_patch16_224").verdict == "FAIL"


def test_the_sweep_covers_the_families():
    found = conformance.architectures()
    assert {"vit_base_patch16_224", "beit_base_patch16_224", "eva02_base_patch14_224"} <= set(found)
    assert sum(found.values()) > 450 and all(found.values())


def test_the_tables(tmp_path, monkeypatch):
    names = {"vit_tiny_patch16_224": 2, "vit_tiny_r_s16_p8_224": 1}
    monkeypatch.setattr(conformance, "architectures", lambda: names)
    with pytest.raises(SystemExit) as left:
        conformance.main(str(tmp_path))
    assert left.value.code == 0
    lines = (tmp_path / "table.csv").read_text().splitlines()
    assert lines[0].startswith("model,class,tags,verdict,norms,attention") and len(lines) == 3
    page = (tmp_path / "table.md").read_text()
    assert "passed 1 architectures with 2 tags, refused 1 architectures with 1 tags" in page
