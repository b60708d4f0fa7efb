"""Object discovery (LOST) against one image at a time.

Two references, image by image: LOST written from its definition, with loops over patches
(tests/helpers/lost_reference.py; a test shows that both find the same boxes), and `published
steps`, which does as the published code, vectorised over patches. One setting of the latter cannot
be beaten by much: the product of features that both need is half of our time, see `Gram matrix
alone`. End to end the reference hooks qkv and computes every attention matrix in full. Random
images and weights, 600 patches.
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from lost_reference import reference as definition
from scipy import ndimage

from bench.harness import interleave
from bench.shapes import open_random
from tokenscope.backbones.position_embedding import AnySize
from tokenscope.discovery.lost import components, expand
from tokenscope.discovery.settings import every_setting as settings
from tokenscope.discovery.sweep import Discoverer
from tokenscope.forward.inputs import batch, padded

BIASES = [0.0, -0.1, -0.2, -0.3, -0.4, 0.1]
IMAGES, HEIGHT, WIDTH, PATCH = 16, 320, 480, 16
GRID = (HEIGHT // PATCH, WIDTH // PATCH)
HALVES = [0.5] * 3


def published(features, normalised, bias, candidates=100):
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
    seed = order[0]
    similar = order[:candidates]
    similar = similar[a[seed, similar] > 0]
    mask = (a[similar].sum(0) > 0).reshape(GRID).cpu().numpy()
    labels, _ = ndimage.label(mask)
    number = labels.flat[int(seed)]
    if not number:
        return [0, 0, 0, 0]
    rows, columns = np.where(labels == number)
    return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


def main(report, device):
    features = torch.randn(IMAGES, GRID[0] * GRID[1], 192, device=device)
    by_definition(report, features[:2], device)
    sweep = [(normalised, bias) for normalised in (False, True) for bias in BIASES]
    for name, ways in (("LOST, one setting", [(False, 0.0)]), ("LOST, the default sweep", sweep)):

        def ours(ways=ways):
            out = expand(features, ways)
            components(out.mask.cpu().numpy().reshape(-1, *GRID), out.seed.cpu().numpy().ravel())

        def theirs(ways=ways):
            for image in features:
                for way in ways:
                    published(image, *way)

        def gram():
            for image in features:
                image @ image.T

        works = {"published steps": theirs, "Gram matrix alone": gram, "ours": ours}
        times = interleave(works, report.rounds, device)
        report.rates(name, "images/s", IMAGES, times, "published steps", {"ours": ">= 1"})
    end_to_end(report, device)


def by_definition(report, features, device):
    given = features.cpu().numpy()

    def loops():
        for image in given:
            definition(image, GRID, 0.0)

    def ours():
        out = expand(features, [(False, 0.0)])
        components(out.mask.cpu().numpy().reshape(-1, *GRID), out.seed.cpu().numpy().ravel())

    times = interleave({"its definition": loops, "ours": ours}, report.rounds, device)
    report.rates("LOST", "images/s", len(given), times, "its definition", {"ours": ">= 5"})


def end_to_end(report, device):
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8) for _ in range(IMAGES)]
    size, mean = padded(HEIGHT, WIDTH, PATCH), torch.tensor(HALVES, device=device)

    def batched():
        model = open_random("vit_tiny_patch16_224", {}, 224, device)
        one = settings(12, 1, ["k"], [False], [0.0])
        finder = Discoverer(model, HALVES, HALVES, one, 100, IMAGES, device)

        def work():
            with ThreadPoolExecutor(1) as pool, finder.facets:
                return finder.submit(pool, images, size).result()

        return work

    def single():
        model = open_random("vit_tiny_patch16_224", {}, 224, device)
        AnySize(model).set(*size)
        seen = {}
        model.blocks[-1].attn.qkv.register_forward_hook(lambda _m, _i, y: seen.update(qkv=y))
        for block in model.blocks:
            block.attn.fused_attn = False

        @torch.inference_mode()
        def work():
            for image in images:
                model.forward_features(batch([image], size, mean, mean))
                published(seen["qkv"][0].chunk(3, -1)[1][1:].float(), False, 0.0)

        return work

    times = interleave({"image by image": single(), "ours": batched()}, report.rounds, device)
    limit = ">= 3" if device == "cuda" else ">= 1"
    report.rates("end to end", "images/s", IMAGES, times, "image by image", {"ours": limit})
