"""How much faster discovery is than one image at a time: prints ratios, same run, same boxes.

    PYTHONPATH=workflow_scripts python tests/slow_discovery.py MODEL.safetensors FOLDER [IMAGES]

MODEL is vit_tiny_patch16_224.augreg_in21k_ft_in1k, FOLDER holds photographs. The reference does
as the published code: one image and setting at a time, a hook on qkv, every attention matrix in
full. With one setting both must make the same Gram matrix, which on a CPU is most of the time.
"""

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage

from tokenscope.backbones import open_backbone, pick_device
from tokenscope.discovery import Discoverer
from tokenscope.lost import components, expand, settings
from tokenscope.native import AnySize, batch, padded
from tokenscope.pixels import load_rgb

BIASES = [0.0, -0.1, -0.2, -0.3, -0.4, 0.1]


def reference(features, grid, normalised, bias, candidates=100):
    """LOST of one image in the steps of the published code; a box in patches."""
    if normalised:
        features = torch.nn.functional.normalize(features, dim=-1)
    a = features @ features.T
    a = a + bias * a.diagonal().quantile(0.5)
    other = a.clone()
    other.fill_diagonal_(0)
    other[other < 0] = 0
    degree = (other > 0).sum(1).float()
    order = torch.argsort(degree, stable=True)
    seed, similar = order[0], order[:candidates]
    similar = similar[a[seed, similar] > 0]
    mask = (a[similar, :].sum(0) > 0).reshape(grid).cpu().numpy()
    labels, _ = ndimage.label(mask)
    number = labels.flat[int(seed)]
    if not number:
        return [0, 0, 0, 0]
    rows, columns = np.where(labels == number)
    return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


def timed(run, device):
    run()
    best = float("inf")
    for _ in range(3):
        start = time.perf_counter()
        out = run()
        if device == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - start)
    return best, out


def main(weights, folder, count=16):
    """Print three ratios: LOST with and without a sweep, and end to end."""
    device = pick_device("auto")
    spec = {"name": "tiny", "timm_id": "vit_tiny_patch16_224.augreg_in21k_ft_in1k", "model": {},
            "registers": 0}  # fmt: skip
    model = open_backbone(spec, weights, device=device)
    images = [np.asarray(load_rgb(p)) for p in sorted(Path(folder).rglob("*.jpg"))[:count]]
    images = [image[:320, :480] for image in images if image.shape[0] >= 320 <= image.shape[1]]
    images = [image for image in images if image.shape[:2] == (320, 480)]
    size = padded(320, 480, 16)
    grid, mean = (20, 30), torch.tensor([0.5] * 3, device=device)
    print(f"{len(images)} images of {grid[1]} x {grid[0]} patches", flush=True)
    features = torch.randn(len(images), 600, 192, device=device)
    sweep = [(normalised, bias) for normalised in (False, True) for bias in BIASES]
    for name, ways in (("one setting", [(False, 0.0)]), ("the default sweep", sweep)):

        def ours(ways=ways):
            out = expand(features, ways)
            mask = out.mask.cpu().numpy().reshape(-1, *grid)
            return components(mask, out.seed.cpu().numpy().ravel())[1]

        def theirs(ways=ways):
            return np.array([reference(f, grid, *way) for f in features for way in ways])

        (fast, a), (slow, b) = timed(ours, device), timed(theirs, device)
        print(
            f"LOST, {name}: {slow / fast:.1f} times faster, same boxes: {(a == b).all()}",
            flush=True,
        )

    one = settings(12, 1, ["k"], [False], [0.0])
    finder = Discoverer(model, [0.5] * 3, [0.5] * 3, one, 100, 16, device)

    def batched():
        with ThreadPoolExecutor(1) as pool, finder.facets:
            return finder.submit(pool, images, size).result()["box"][:, 0]

    def single():
        AnySize(model).set(*size)
        seen, boxes = {}, []
        last = model.blocks[-1].attn
        hook = last.qkv.register_forward_hook(lambda _m, _i, y: seen.update(qkv=y))
        for block in model.blocks:
            block.attn.fused_attn = False
        with torch.inference_mode():
            for image in images:
                model.forward_features(batch([image], size, mean, mean))
                k = seen["qkv"][0].chunk(3, -1)[1][1:].float()
                boxes.append(reference(k, grid, False, 0.0))
        hook.remove()
        for block in model.blocks:
            block.attn.fused_attn = True
        return 16 * np.array(boxes)

    (fast, a), (slow, b) = timed(batched, device), timed(single, device)
    same = f"{(a == b).all(1).sum()} of {len(a)} boxes the same"
    print(f"end to end on {device}, {len(images)} images: {slow / fast:.2f} times faster, {same}")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:]))
