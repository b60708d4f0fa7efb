"""Run as a program by tests: extract tokens of random images, slowly if asked to."""

import resource
import sys
import time
from pathlib import Path

import numpy as np
import timm
import torch

from tokenscope.extraction.loop import extract, variables
from tokenscope.stores.receipts import write_receipt
from tokenscope.stores.zarr_store import StoreWriter

folder, delay = Path(sys.argv[1]), float(sys.argv[2])
images = int(sys.argv[3]) if len(sys.argv) > 3 else 40
torch.manual_seed(0)
torch.set_num_threads(1)
model = timm.create_model(
    "vit_tiny_patch16_224", img_size=32, patch_size=8, embed_dim=48, depth=2, num_heads=2,
    num_classes=3, reg_tokens=2,
).eval()  # fmt: skip


def read(start, stop):
    time.sleep(delay)
    rng = np.random.default_rng(start)
    return rng.integers(0, 256, (stop - start, 32, 32, 3), dtype=np.uint8)


arrays = variables(
    model, model.patch_embed.grid_size, {"tokens": True, "qkv": True, "logits": True}
)
writer = StoreWriter(folder / "store", folder / "partial", arrays, images, 4, "fixed")
run = extract(model, read, writer, (0.5,) * 3, (0.5,) * 3, 2, "cpu")
contents = writer.publish({}, {})
write_receipt(folder / "receipt.json", arrays=contents, **run)
(folder / "peak").write_text(str(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss))
