"""What registers cost is counted from none upwards, whatever a backbone was released with."""

import importlib.util

import pandas as pd
import pytest

SPEC = importlib.util.spec_from_file_location("overhead", "workflow_scripts/backbones/overhead.py")
overhead = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(overhead)


def backbone(timm_id, released, **model):
    return {"name": "a/b/c", "timm_id": timm_id, "model": model, "registers": released}


@pytest.mark.parametrize(
    ("timm_id", "released"),
    [
        ("vit_small_patch14_reg4_dinov2", 4),
        ("vit_small_patch16_dinov3", 4),
        ("deit3_small_patch16_224", 0),
    ],
)
def test_built_with_any_count(timm_id, released):
    for count in (0, 1, 16):
        model = overhead.build(backbone(timm_id, released), count, 224, "meta")
        assert model.num_prefix_tokens == 1 + count
        assert (model.reg_token is None) == (count == 0)


def test_parameters_from_none_upwards(tmp_path):
    spec = backbone("vit_small_patch14_reg4_dinov2", 4, depth=1, embed_dim=24, num_heads=1)
    counts, out = [0, 4], tmp_path / "rows.csv"
    overhead.main(spec, {"0": 100.0, "4": 101.0}, counts, 28, 1, 1, "cpu", out)
    rows = pd.read_csv(out).set_index(["metric", "group", "registers"]).value.sort_index()
    parameters = rows["parameters", "counted"]
    assert parameters["r4"] - parameters["r0"] == 4 * 24
    assert rows["flops_overhead", "modelled", "r4"] == pytest.approx(1.0)
    assert rows["flops_overhead", "counted", "r0"] == 0
    assert rows["flops_overhead", "counted", "r4"] > 0
