"""Every kind of artifact in one pass, against a bare forward pass over the same images.

And against the same as definitions are written: every matrix of attention is built and kept on the
host, and then read image by image and head by head. Sinks alone by the steps of the published
analysis (https://arxiv.org/abs/2606.08105) stand beside.
"""

import numpy as np
import torch
from plain_sinks import Eager, plain_sinks
from scipy import stats

from bench.harness import interleave
from bench.shapes import normal, open_random, pixels
from tokenscope.forward.precision import autocast
from tokenscope.kinds.answers import Found
from tokenscope.kinds.block_pass import BlockPass
from tokenscope.kinds.measure import Images, Known, Measure
from tokenscope.stats.bootstrap import Bootstrap

SHAPES = {
    "cpu": {"ViT-S/14, 224": ("vit_small_patch14_dinov2", {}, 224, 32)},
    "cuda": {
        "ViT-L/14, 224": ("vit_large_patch14_dinov2", {}, 224, 64),
        "ViT-g/14, 224": ("vit_giant_patch14_dinov2", {}, 224, 32),
    },
}
HALVES = (0.5, 0.5, 0.5)
BATCH = {"cpu": 8, "cuda": 64}
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
        Bootstrap(images, 1000), batch=min(images, BATCH[device]),
    )  # fmt: skip

    @torch.inference_mode()
    def bare():
        for batch in x.split(measure.batch):
            with autocast(device):
                model.forward_features(batch)

    def beside(base, works, amounts, rounds, targets):
        """Rates by clock and processor time, per image: a slow work is shown fewer of them."""
        times = interleave(works, rounds, device)
        rates = {work: times[work].rates(amounts[work]) for work in works}
        cpu = {work: [used / amounts[work] for used in times[work].cpu] for work in works}
        report.add(name, "images/s", rates, base, targets, cpu)

    ours, few = {"all kinds": measure.observed}, x[:PLAIN]
    slow = {"plain": lambda: plain(model, few), "sinks, published": lambda: published(model, few)}
    amounts = dict.fromkeys(slow, PLAIN) | dict.fromkeys(("bare forward", "all kinds"), images)
    beside("bare forward", {"bare forward": bare} | ours, amounts, report.rounds,
           {"all kinds": ">= 0.333"})  # fmt: skip
    beside("plain", ours | slow, amounts, min(2, report.rounds), {"all kinds": ">= 5"})


def published(model, x):
    """Sinks alone: all that each head writes, and its stable rank from eigenvalues in double."""

    def look(view):
        weights, values = view.call.weights(), view.call.v
        matrix = view.block.attn.proj.weight * view.block.ls1.gamma[:, None]
        matrix = matrix.unflatten(1, (values.shape[1], -1)).permute(1, 2, 0)  # head, feature, width
        projected = values @ matrix
        mass, sink = weights.mean(2).max(-1)
        given = weights.gather(3, sink[..., None, None].expand(*weights.shape[:3], 1))[..., 0]
        lengths = projected.norm(dim=-1)
        of_sink = lengths.gather(2, sink[..., None])[..., 0]
        update = weights @ projected
        energy = torch.linalg.eigvalsh((update @ update.mT).double())
        return {
            "mass": mass, "looking": (given >= 0.5).float().mean(-1), "least": given.amin(-1),
            "ratio": of_sink / ((lengths.sum(-1) - of_sink) / (lengths.shape[-1] - 1)),
            "stable_rank": energy.sum(-1) / energy[..., -1],
        }  # fmt: skip

    with torch.inference_mode(), BlockPass(model, look) as observe:
        observe(x, slice(0, len(x)))


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
