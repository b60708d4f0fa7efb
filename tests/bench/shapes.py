"""Backbones of the papers' shapes with random weights, which is fine for speed; random images."""

import time

import numpy as np
import timm
import torch
from torch import Tensor, nn

from bench.harness import sync
from tokenscope.forward.inputs import normalise

# Vendor's peaks of dense matrix products in bfloat16, FLOP/s.
PEAKS = {"H100": 989.4e12, "H200": 989.4e12, "A100": 312e12}

# name: timm id, arguments, image side, images per batch on this kind of device
CPU = {
    "ViT-S/14 reg4, 224": ("vit_small_patch14_reg4_dinov2", {}, 224, 8),
    "ViT of the demo, 64": (
        "vit_tiny_patch16_224",
        {"patch_size": 8, "embed_dim": 192, "depth": 6, "num_heads": 3, "num_classes": 0},
        64,
        64,
    ),
}
CUDA = {
    f"DINOv2-{name} reg4, {size}": (f"vit_{arch}_patch14_reg4_dinov2", {}, size, batch)
    for size, batch in ((518, 64), (224, 256))
    for name, arch in (("S", "small"), ("B", "base"), ("L", "large"), ("G", "giant"))
}


def shapes(device: str) -> dict[str, tuple]:
    return CUDA if device == "cuda" else CPU


def open_random(timm_id: str, arguments: dict, size: int, device: str):
    """A backbone with random weights, in evaluation mode."""
    torch.manual_seed(0)
    model = timm.create_model(timm_id, img_size=size, **arguments)
    return model.eval().requires_grad_(False).to(device)


def flops(model, size: int) -> float:
    """Of one image's forward pass: patch embedding, linear layers, attention."""
    patch, width = model.patch_embed.patch_size[0], model.embed_dim
    patches = (size // patch) ** 2
    tokens = model.num_prefix_tokens + patches
    linear = sum(m.weight.numel() for m in model.blocks.modules() if isinstance(m, nn.Linear))
    attention = 2 * len(model.blocks) * tokens**2 * width
    return 2.0 * (patches * 3 * patch**2 * width + tokens * linear + attention)


def normal(values: np.ndarray, device: str) -> Tensor:
    """Pixels as a model takes them, on the device."""
    half = torch.full((3,), 0.5, device=device)
    return normalise(torch.from_numpy(values).to(device), half, half)


def pixels(images: int, size: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (images, size, size, 3), dtype=np.uint8)


def peak_flops(device: str) -> tuple[str, float]:
    """FLOP/s that matrix products can reach: the vendor's number, or measured here in float32."""
    if device == "cuda":
        name = torch.cuda.get_device_name()
        for chip, peak in PEAKS.items():
            if chip in name:
                return f"peak of {chip}, bfloat16", peak
    cuda = device == "cuda"
    side, dtype = (8192, torch.bfloat16) if cuda else (2048, torch.float32)
    a = torch.randn(side, side, device=device, dtype=dtype)
    best = float("inf")
    for _ in range(5):
        sync(device)
        start = time.perf_counter()
        a @ a
        sync(device)
        best = min(best, time.perf_counter() - start)
    return f"matrix product, {dtype}".replace("torch.", ""), 2 * side**3 / best
