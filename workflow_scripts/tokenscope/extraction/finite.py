"""Numbers that are none, or too large for 16 bits, are seen on the device and named by image."""

import torch
from torch import Tensor

# Of an image, beside what is stored: the largest number that goes into 16 bits, and whether all
# are finite. Finite norms say it of the tokens.
LARGEST, FINITE = "largest number", "finite"
CHECKED = (
    "attention", "attention_received", "attention_pooling", "cls", "registers", "patch_mean",
    "cls_blocks", "logits", *"qkv",
)  # fmt: skip


def to_check(images: int) -> dict[str, tuple]:
    """Shape and type of what :func:`checked` gives of so many images."""
    return {LARGEST: ((images,), "float32"), FINITE: ((images,), "bool")}


def checked(out: dict[str, Tensor]) -> dict[str, Tensor]:
    """:data:`LARGEST` and :data:`FINITE` (image,) of what one batch gave; NaN is the largest."""
    largest = out["norms"].amax((1, 2))
    for name in out.keys() & set("qkv"):
        largest = torch.maximum(largest, out[name].abs().amax((1, 2)).float())
    given = (out[name] for name in CHECKED if name in out)
    flags = [torch.isfinite(value).flatten(1).all(1) for value in given]
    return {LARGEST: largest, FINITE: torch.stack(flags).all(0)}
