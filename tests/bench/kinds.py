"""Every kind of artifact in one pass, against a bare forward pass over the same images.

And against the same as definitions are written: every matrix of attention is built and kept on the
host, and then read image by image and head by head.
"""

import numpy as np
import torch
from plain_sinks import Eager, plain_sinks
from scipy import stats

from bench.harness import interleave
from bench.shapes import normal, open_random, pixels
from tokenscope.forward.precision import autocast
from tokenscope.kinds.answers import Found
from tokenscope.kinds.measure import Images, Known, Measure
from tokenscope.stats.bootstrap import Bootstrap

SHAPES = {
    "cpu": {"ViT-S/14, 224": ("vit_small_patch14_dinov2", {}, 224, 8)},
    "cuda": {
        "ViT-L/14, 224": ("vit_large_patch14_dinov2", {}, 224, 64),
        "ViT-g/14, 224": ("vit_giant_patch14_dinov2", {}, 224, 32),
    },
}
HALVES = (0.5, 0.5, 0.5)
PLAIN = 2  # images that the plain implementation is shown: it is slow


def main(report, device):
    for name, (timm_id, arguments, size, images) in SHAPES[device].items():
        one_shape(report, device, name, open_random(timm_id, arguments, size, device), size, images)


def one_shape(report, device, name, model, size, images):
    shown, patches = pixels(images, size), model.patch_embed.num_patches
    x = normal(shown, device)
    row = Found("high-norm", "share", answer="no")
    known = Known("no", 0, 0, np.inf, np.zeros((images, patches), bool), row)
    measure = Measure(
        model, Images(images, lambda a, b: shown[a:b], HALVES, HALVES), known,
        Bootstrap(images, 1000), batch=images,
    )  # fmt: skip

    def bare():
        with torch.inference_mode(), autocast(device):
            model.forward_features(x)

    works = {"bare forward": bare, "all kinds": measure.observed}
    times = interleave(works, report.rounds, device)
    report.rates(name, "images/s", images, times, "bare forward", {"all kinds": ">= 0.333"})
    slow = interleave({"plain": lambda: plain(model, x[:PLAIN])}, 1, device, warm=False)
    rates = {
        "all kinds": times["all kinds"].rates(images)[:1], "plain": slow["plain"].rates(PLAIN),
    }  # fmt: skip
    report.add(name, "images/s", rates, "plain", {"all kinds": ">= 5"})


@torch.inference_mode()
def plain(model, x):
    """The kinds that one pass observes, from what all blocks leave on the host; no intervals."""
    outputs = []
    hooks = [
        block.register_forward_hook(lambda _m, _i, out: outputs.append(out.float().cpu()))
        for block in model.blocks
    ]
    with Eager() as eager:
        model.forward_features(x)
    for hook in hooks:
        hook.remove()
    prefix, norm = model.num_prefix_tokens, model.norm
    for block, weights, *facets, tokens in zip(
        model.blocks, eager.weights, eager.queries, eager.keys, eager.values, outputs, strict=True
    ):
        gamma = getattr(block.ls1, "gamma", torch.ones(model.embed_dim))
        weights, (*_, values) = weights.float().cpu(), [f.float().cpu() for f in facets]
        plain_sinks(weights, values, block.attn.cpu(), gamma.cpu())
        block.attn.to(x.device)
        normed = norm(tokens.to(x.device)).float().cpu()
        for image in range(len(x)):
            weights[image].mean((0, 1)), weights[image].mean(0)[0]
            patches = tokens[image, prefix:].numpy()
            _of_channels(patches, normed[image, prefix:].numpy(), tokens[image].numpy())
            unit = normed[image].numpy() / np.linalg.norm(normed[image], axis=1, keepdims=True)
            (unit[prefix:] @ unit[prefix:].T).mean(), (unit[prefix:] @ unit[0]).argmax()
            _of_qkv([f[image].float().cpu()[:, prefix:].numpy() for f in facets], patches)
    final = normed[:, prefix:]
    for image in final:
        torch.linalg.svdvals(image)
    units = (final / final.norm(dim=-1, keepdim=True)).numpy()
    for a in range(len(units)):  # at the same place, and at all others
        for b in range(len(units)):
            if a != b:
                cosine = units[a] @ units[b].T
                np.diag(cosine), cosine.max(1)


def _of_channels(patches, normed, tokens):
    for values in (patches, normed):
        energy = (values**2).sum(0)
        energy.sum() ** 2 / (energy**2).sum()
    np.bincount((patches**2).argmax(1), minlength=patches.shape[1])
    size = np.abs(tokens)
    (size > 1000 * np.median(size)).sum()


def _of_qkv(facets, patches):
    lengths = np.linalg.norm(patches, axis=1)
    norms = [np.sqrt((facet**2).sum((0, 2))) for facet in facets]
    count = round(0.02 * len(lengths))
    for norm in norms:
        stats.spearmanr(norm, lengths)
    q, k, v = norms
    for low, high in ((q, k), (q, lengths), (v, k), (v, lengths), (-k, lengths)):
        len(set(np.argsort(low)[:count]) & set(np.argsort(-high)[:count]))
