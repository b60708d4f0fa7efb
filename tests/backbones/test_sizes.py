"""What is read of an image does not depend on its neighbours in a batch, nor on who resamples."""

import pytest
import timm
import torch
from safetensors.torch import save_file

from tokenscope.backbones.loading import open_backbone
from tokenscope.backbones.registers import add_registers
from tokenscope.errors import StudyError
from tokenscope.forward.hooks import TokenHooks

NATIVE, OTHER = 48, 80
KINDS = {
    "cls": ("vit_tiny_patch16_224", {}, 0),
    "distilled": ("deit_tiny_distilled_patch16_224", {}, 0),
    "registers": ("vit_small_patch14_reg4_dinov2", {"patch_size": 16}, 4),
    "map": ("vit_base_patch16_siglip_224", {"embed_dim": 96, "num_heads": 3}, 0),
    "rotary": ("vit_small_patch16_dinov3", {}, 4),
    "teachers": ("vit_base_patch16_radio_v3", {"embed_dim": 96, "num_heads": 3}, 4),
}


@pytest.mark.parametrize("kind", KINDS)
def test_batch_and_size(kind, tmp_path):
    """Opened at another size: equal to timm's own model that resamples in its pass."""
    name, arguments, registers = KINDS[kind]
    arguments = {"depth": 2, "num_classes": 0, "img_size": NATIVE, **arguments}
    torch.manual_seed(0)
    own = timm.create_model(name, **{**arguments, "dynamic_img_size": True}).eval()
    with torch.no_grad():
        for parameter in own.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    save_file(own.state_dict(), tmp_path / "model.safetensors")
    spec = {"name": "a/b/r0", "timm_id": name, "registers": registers, "model": arguments}
    for size in (NATIVE, OTHER):
        opened = open_backbone(spec, tmp_path / "model.safetensors", size=size)
        x = torch.randn(3, 3, size, size)
        with torch.no_grad(), TokenHooks(opened) as observe:
            seen = observe(x)
            single = [observe(image[None]) for image in x]
            states = own.forward_intermediates(
                x, norm=False, return_prefix_tokens=own.num_prefix_tokens > 0, output_fmt="NLC",
                intermediates_only=True,
            )  # fmt: skip
        prefixed = own.num_prefix_tokens > 0
        tokens = [torch.cat((s[1], s[0]), 1) if prefixed else s for s in states]
        norms = torch.stack([t.norm(dim=-1) for t in tokens], 1)
        torch.testing.assert_close(seen["norms"], norms, rtol=1e-5, atol=0)
        for key, value in seen.items():
            alone = torch.cat([out[key] for out in single])
            largest = value.nan_to_num().abs().max().item()  # neighbours beyond the edge are NaN
            torch.testing.assert_close(value, alone, rtol=0, atol=1e-5 * largest, equal_nan=True)


def test_the_cls_of_further_teachers_is_no_register():
    name, arguments, _ = KINDS["teachers"]
    model = timm.create_model(name, depth=1, img_size=32, **arguments)
    assert add_registers(model, 4) is model and model.num_prefix_tokens == 8
    assert add_registers(model, 6).num_prefix_tokens == 10
    with pytest.raises(StudyError, match="has 6 registers"):
        add_registers(model, 4)
    with torch.no_grad(), TokenHooks(model.eval()) as observe:
        seen = observe(torch.randn(1, 3, 32, 32))
    assert seen["registers"].shape == (1, 6, 96) and seen["cls"].shape == (1, 96)
