"""Which MLP neurons write a backbone's outliers, and how many must be moved (Jiang et al. 2025).

The criterion is the same for every backbone, and all of it comes from data:

1. Outliers are patches above 3 x median after the block where most are (the peak).
2. Neurons of the blocks up to there are scored by the norm that they add at outliers beyond what
   they add elsewhere; candidates fire at least ``contrast`` times as strongly at outliers.
3. The fewest of the leading 1, 2, 4, 8 ... candidates that leave fewer outliers than ``min_share``
   when moved to one register, tried on the other half of the images, are the register neurons.
   Where no number does, it is the one that leaves fewest.
"""

import gzip
import json

import numpy as np
import pandas as pd
import torch

from tokenscope.backbones.hooks import TokenHooks
from tokenscope.backbones.inputs import normalise
from tokenscope.backbones.loading import open_backbone, pick_device
from tokenscope.backbones.precision import autocast
from tokenscope.backbones.test_time_registers import attach, overlap, random_neurons, rank, score
from tokenscope.images.readers import open_images
from tokenscope.jobs.job import Progress, job, log
from tokenscope.norms.outlier_rule import cutoff, outlier_mask
from tokenscope.norms.outliers import first_block
from tokenscope.norms.token_norms import PatchNorms
from tokenscope.stores.receipts import read_receipt, weights_of, write_text

KEPT = 400  # scores of so many neurons of each block go to the figure


def main(card, receipts, sample, spec, geometry, decoded, root, settings, rules, batch, device,
         threads, outputs):  # fmt: skip
    """Write ``outputs['found']`` (JSON: neurons, why, what was tried) and ``outputs['scores']``."""
    card, device = read_receipt(card), pick_device(device)
    weights = weights_of(card)
    norms = PatchNorms.open(receipts).norms()
    times, images = rules["times_median"], min(settings["images"], len(norms))
    cuts, outlier = cutoff(norms, times), outlier_mask(norms, times)
    shares = 100 * outlier.mean((0, 2))
    peak, onset = int(shares.argmax()) + 1, first_block(shares, rules["min_share"])
    found = {
        "name": spec["name"], "weights": weights, "sha256": card["sha256"], "images": images,
        "settings": settings, "rules": rules, "share": float(shares.max()), "peak_block": peak,
        "onset_block": None if np.isnan(onset) else int(onset), "neurons": [], "random": [],
        "tried": [], "reason": "",
    }  # fmt: skip
    if shares.max() < rules["min_share"]:
        found["reason"] = (
            f"no outliers: at most {shares.max():.2g} % of the patches are over {times:g} x median "
            f"after any block (min_share is {rules['min_share']:g} %); nothing is attached"
        )
        log.info("%s", found["reason"])
        pd.DataFrame(
            columns=["block", "neuron", "outlier", "normal", "contribution", "chosen"]
        ).to_csv(outputs["scores"], index=False)
        write_text(outputs["found"], json.dumps(found, indent=1))
        return
    chosen = np.sort(np.random.default_rng(settings["seed"]).permutation(len(norms))[:images])
    half = np.arange(images) % 2
    source = open_images(
        decoded, root, pd.read_csv(sample, keep_default_na=False), geometry, threads
    )
    scale = [torch.tensor(spec[key], device=device) for key in ("mean", "std")]

    def batches(which):
        for i in range(0, len(which), batch):
            at = which[i : i + batch]
            pixels = np.concatenate([source.read(row, row + 1) for row in chosen[at]])
            yield normalise(torch.from_numpy(pixels).to(device), *scale), at

    try:
        model = open_backbone(spec, weights, device=device)
        masks = outlier[chosen, peak - 1]
        every = np.arange(images)
        scores = score(model, ((x, masks[at], half[at]) for x, at in batches(every)), peak)
        ranked = rank(scores, settings["contrast"], slice(0, 1))
        found["tried"] = tried = []
        counts = [2**i for i in range(20) if 2**i <= min(settings["max_neurons"], len(ranked))]
        progress = Progress("trials")
        for n, count in enumerate(counts):
            moved = attach(open_backbone(spec, weights, device=device), ranked[:count], 1)
            left = worst_share(moved, batches(every[half == 1]), cuts, device)
            tried.append({"neurons": count, "share": left})
            progress(n + 1, len(counts))
            if left < rules["min_share"]:
                break
    finally:
        source.close()
    if tried:
        best = min(
            tried, key=lambda t: (t["share"] >= rules["min_share"], t["share"], t["neurons"])
        )
        found["neurons"] = ranked[: best["neurons"]]
        found["random"] = random_neurons(model, found["neurons"], settings["seed"])
        found["overlap"] = overlap(
            found["neurons"], rank(scores, settings["contrast"], slice(1, 2))[: best["neurons"]]
        )
        log.info(
            "%d neurons leave %.2g %% of the patches over %g x median (before: %.2g %%): %s",
            best["neurons"], best["share"], times, shares.max(),
            ", ".join(f"block {b} neuron {n}" for b, n in found["neurons"][:8]),
        )  # fmt: skip
    else:
        found["reason"] = (
            f"no neuron up to block {peak} fires {settings['contrast']:g} times as strongly at "
            "outliers as elsewhere: what writes them is no MLP neuron; nothing is attached"
        )
        log.info("%s", found["reason"])
    with gzip.GzipFile(outputs["scores"], "wb", mtime=0) as handle:
        handle.write(
            table(scores, found["neurons"]).to_csv(index=False, float_format="%.6g").encode()
        )
    write_text(outputs["found"], json.dumps(found, indent=1))


@torch.inference_mode()
def worst_share(model, batches, cuts, device):
    """Percent of patches over the cutoffs that the backbone had before, after its worst block."""
    over, images = 0.0, 0
    with TokenHooks(model) as observe:
        for x, _ in batches:
            with autocast(device):
                norms = observe(x)["norms"][:, :, model.num_prefix_tokens :].cpu().numpy()
            over = over + (norms > cuts[:, None]).mean(2).sum(0)
            images += len(x)
    return float(100 * (over / images).max())


def table(scores, neurons):
    """Scores of the leading neurons of each block, both halves together."""
    chosen, parts = set(map(tuple, neurons)), []
    for s in scores:
        part = pd.DataFrame({
            "block": s.block, "neuron": np.arange(len(s.length)),
            "outlier": np.nanmean(s.outlier, 0), "normal": np.nanmean(s.normal, 0),
            "contribution": s.contribution(),
        })  # fmt: skip
        part["chosen"] = [(s.block, n) in chosen for n in part["neuron"]]
        parts.append(part.nlargest(KEPT, "contribution"))
    return pd.concat(parts)


if "snakemake" in globals():
    w, p, i, out = snakemake.wildcards, snakemake.params, snakemake.input, snakemake.output
    label = f"neurons {w.dataset} {w.family}/{w.size}/{w.registers}"
    with job(snakemake.log[0], label, snakemake.threads):
        main(
            i.card, i.tokens, i.sample, p.spec, p.geometry, p.store, p.root, p.settings,
            p.outliers, p.batch, p.device, snakemake.threads, dict(out.items()),
        )  # fmt: skip
