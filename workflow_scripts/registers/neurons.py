"""Which MLP neurons write a backbone's outliers, and how many must be moved (Jiang et al. 2025).

The criterion is in :mod:`tokenscope.backbones.neuron_search`.
"""

import gzip
import json

import numpy as np
import torch

from tokenscope.backbones.loading import open_backbone, pick_device
from tokenscope.backbones.neuron_search import Outliers, best, score_table, search
from tokenscope.backbones.registers import why_none_fit
from tokenscope.forward.inputs import normalise
from tokenscope.images.readers import ImageInputs
from tokenscope.jobs.job import Progress, job, log
from tokenscope.norms.artifacts import cutoffs_of, judge
from tokenscope.norms.outlier_rule import Judged
from tokenscope.norms.token_norms import PatchNorms
from tokenscope.stores.receipts import read_receipt, weights_of, write_text


def main(card, receipts, spec, inputs, settings, rules, batch, device, threads, outputs):
    """Search one backbone.

    Args:
        card: of the backbone. receipts: of its token store, one for each shard.
        spec: of the backbone, as the table of backbones gives it.
        inputs: where its images are (:class:`tokenscope.images.readers.ImageInputs`), in the
            store's order.
        settings: the study's search: ``images``, ``seed``, ``contrast``, ``max_neurons``, and the
            ``min_share`` (percent) of outliers under which nothing is left to be done.
        rules: ``confidence`` of the decision; ``times_median`` over which a patch is an outlier
            where it finds no artifacts.
        batch: images in a batch. device: ``auto``, ``cuda`` or ``cpu``. threads: that read images.
        outputs: paths for ``found`` (JSON: neurons, why, what was tried) and ``scores`` (CSV).
    """
    card, device = read_receipt(card), pick_device(device)
    weights = weights_of(card)
    norms, least = PatchNorms.open(receipts).norms(), settings["min_share"]
    # At most half of the images: what the neurons do is judged on the others (rule compare).
    images = min(settings["images"], max(1, len(norms) // 2))
    times = rules["times_median"]
    judged = Judged.of({"judged": cutoffs_of(judge(norms, confidence=rules["confidence"]))})
    outliers = Outliers.judged(norms, judged) if judged.yes else Outliers.of(norms, times, least)
    bar = judged.ratio_cutoff if judged.yes else times
    result = {
        "name": spec["name"], "weights": weights, "sha256": card["sha256"], "images": images,
        "settings": settings, "times_median": times, "share": outliers.share,
        "peak_block": outliers.peak, "onset_block": outliers.onset, "neurons": [], "random": [],
        "tried": [], "reason": "", "searched": [],
    }  # fmt: skip
    if judged.verdict == "no" or outliers.share < least:
        result["reason"] = (
            f"no outliers: at most {outliers.share:.2g} % of the patches are over {times:g} x "
            f"median after any block (min_share is {least:g} %), and claim 1 says "
            f"{judged.verdict}; nothing is attached"
        )
        log.info("%s", result["reason"])
        return save(result, score_table([], []), outputs)
    if why := why_none_fit(open_backbone(spec, weights)):
        result["reason"] = f"{why}; nothing is attached"
        log.info("%s", result["reason"])
        return save(result, score_table([], []), outputs)
    chosen = np.sort(np.random.default_rng(settings["seed"]).permutation(len(norms))[:images])
    result["searched"] = chosen.tolist()
    reader = inputs.open(threads)
    scale = [torch.tensor(spec[key], device=device) for key in ("mean", "std")]

    def batches(which):
        for i in range(0, len(which), batch):
            at = which[i : i + batch]
            pixels = np.concatenate([reader.read(row, row + 1) for row in chosen[at]])
            yield normalise(torch.from_numpy(pixels).to(device), *scale), at

    try:
        search_result = search(
            lambda: open_backbone(spec, weights, device=device), batches, outliers.at_peak[chosen],
            outliers, settings, least, Progress("trials"),
        )  # fmt: skip
    finally:
        reader.close()
    result["tried"] = search_result.tried
    if search_result.tried:
        result["neurons"], result["random"] = search_result.neurons, search_result.random
        result["overlap"] = search_result.overlap
        taken = best(search_result.tried, least)
        log.info(
            "%d neurons leave %.2g %% of the patches over %.3g x median (before: %.2g %%): %s",
            taken["neurons"], taken["share"], bar, outliers.share,
            ", ".join(f"block {b} neuron {n}" for b, n in search_result.neurons[:8]),
        )  # fmt: skip
    else:
        result["reason"] = (
            f"no neuron up to block {outliers.peak} fires {settings['contrast']:g} times as "
            "strongly at outliers as elsewhere: what writes them is no MLP neuron; nothing is "
            "attached"
        )
        log.info("%s", result["reason"])
    save(result, score_table(search_result.scores, search_result.neurons), outputs)


def save(result, scores, outputs):
    """Write both files; the table without a time in it, so that equal scores are equal files."""
    with gzip.GzipFile(outputs["scores"], "wb", mtime=0) as handle:
        handle.write(scores.to_csv(index=False, float_format="%.6g").encode())
    write_text(outputs["found"], json.dumps(result, indent=1))


if "snakemake" in globals():
    w, p, i, out = snakemake.wildcards, snakemake.params, snakemake.input, snakemake.output
    label = f"neurons {w.dataset} {w.family}/{w.size}/{w.registers}"
    with job(snakemake.log[0], label, snakemake.threads):
        main(
            card=i.card, receipts=i.tokens, spec=p.spec,
            inputs=ImageInputs(**p.images), settings=p.settings, rules=p.rules, batch=p.batch,
            device=p.device, threads=snakemake.threads, outputs=dict(out.items()),
        )  # fmt: skip
