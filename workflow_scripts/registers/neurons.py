"""Which MLP neurons write a backbone's outliers, and which of them are moved (Jiang et al. 2025).

The criterion is in :mod:`tokenscope.backbones.neuron_search`. What the choice does is judged on
images that took no part in it, beside two controls and the published search.
"""

import gzip
import json

import numpy as np
import pandas as pd
import torch

from tokenscope.backbones.loading import open_backbone
from tokenscope.backbones.neuron_choice import Trials
from tokenscope.backbones.neuron_search import (
    Outliers,
    judge_unseen,
    score_table,
    search,
    transfer,
    trial_table,
)
from tokenscope.backbones.registers import why_none_fit
from tokenscope.forward.device import pick_device
from tokenscope.forward.inputs import normalise
from tokenscope.images.geometry import Geometry
from tokenscope.images.readers import ImageInputs, StreamedImages
from tokenscope.jobs.job import Progress, job, log
from tokenscope.norms.token_norms import PatchNorms
from tokenscope.stores.receipts import read_receipt, weights_of, write_text


def main(card, receipts, spec, inputs, settings, rules, head, batch, device, threads, outputs):
    """Search one backbone: many parameters, because it reads tokens and images both.

    One parameter for each input, param and output of the rule.

    Args:
        card: of the backbone. receipts: of its token store, one for each shard.
        spec: of the backbone, as the table of backbones gives it.
        inputs: where its images are (:class:`tokenscope.images.readers.ImageInputs`), in the
            store's order.
        settings: the study's search: ``images`` and how many ``unseen`` others judge it (none: as
            many), ``seed``, ``contrast``, ``max_neurons``, the
            ``min_share`` (percent) of outliers under which nothing is left to be done, and the
            ``second_size`` in pixels at which the choice is judged too, or none.
        rules: ``confidence`` of the decision; ``times_median`` over which a patch is an outlier
            where it finds no artifacts.
        head: whether its own head is a classifier, whose answers are to be kept; else it is the
            pooled feature.
        batch: images in a batch. device: ``auto``, ``cuda`` or ``cpu``. threads: that read images.
        outputs: paths for ``found`` (JSON: neurons, why, what was tried), ``scores`` and ``trials``
            (CSV: of neurons; of each try, image by image).
    """
    card, device = read_receipt(card), pick_device(device)
    weights = weights_of(card)
    norms, least = PatchNorms.open(receipts).norms(), settings["min_share"]
    # At most half of the images: what the neurons do is judged on the others (rule compare).
    images = min(settings["images"], max(1, len(norms) // 2))
    times = rules["times_median"]
    rules = rules | {"min_share": least}
    judgement, outliers = Outliers.decided(norms, rules)
    bar = judgement.cutoff if judgement.verdict == "yes" else times
    result = {
        "name": spec["name"], "weights": weights, "sha256": card["sha256"], "images": images,
        "settings": settings, "times_median": times, "share": outliers.share,
        "peak_block": outliers.peak, "onset_block": outliers.onset, "neurons": [], "random": [],
        "published": [], "tried": [], "reason": "", "searched": [], "kept_by": "",
        "transfer": {},
    }  # fmt: skip
    if judgement.verdict == "no" or outliers.share < least:
        result["reason"] = (
            f"no outliers: at most {outliers.share:.2g} % of the patches are over {times:g} x "
            f"median after any block (min_share is {least:g} %), and claim 1 says "
            f"{judgement.verdict}; nothing is attached"
        )
        log.info("%s", result["reason"])
        return save(result, score_table([], []), trial_table([], ""), outputs)
    if why := why_none_fit(open_backbone(spec, weights)):
        result["reason"] = f"{why}; nothing is attached"
        log.info("%s", result["reason"])
        return save(result, score_table([], []), trial_table([], ""), outputs)
    shuffled = np.random.default_rng(settings["seed"]).permutation(len(norms))
    others = shuffled[images:][: settings["unseen"] or settings["images"]]
    chosen, unseen = np.sort(shuffled[:images]), np.sort(others)
    result["searched"] = chosen.tolist()
    result["kept_by"] = "own head" if head else "pooled feature"
    reader = inputs.open(threads)
    scale = [torch.tensor(spec[key], device=device) for key in ("mean", "std")]

    def batches(rows, which, reader=reader):
        for i in range(0, len(which), batch):
            at = which[i : i + batch]
            pixels = np.concatenate([reader.read(row, row + 1) for row in rows[at]])
            yield normalise(torch.from_numpy(pixels).to(device), *scale), at

    def transferred(found, labels):
        """What the choice does to the unseen images at another size."""
        shape, size = Geometry.parse(inputs.geometry), settings["second_size"]
        other = Geometry(size, round(shape.resize * size / shape.size), shape.interpolation,
                         shape.mode)  # fmt: skip
        rows = inputs.rows.iloc[unseen].reset_index(drop=True)
        larger = StreamedImages(inputs.root, rows, other, threads)
        every = np.arange(len(unseen))
        summary, table = transfer(
            lambda: open_backbone(spec, weights, size, device),
            lambda: batches(every, every, larger), found, rules, head, labels,
        )  # fmt: skip
        larger.close()
        log.info(
            "at %d pixels: %.2g %% of the patches over the cutoff, %.2g %% before; %.3g kept",
            size, summary["share"], summary["share_before"], summary["kept"],
        )  # fmt: skip
        return {"size": size} | summary, table.assign(pixels=size)

    def fresh():
        return open_backbone(spec, weights, device=device)

    try:
        found = search(
            fresh, lambda which: batches(chosen, which), outliers.at_peak[chosen], outliers,
            settings, head, Progress("trials"),
        )  # fmt: skip
        tables = [trial_table(found.tried, "search")]
        if found.tried:
            every = np.arange(len(unseen))
            trials = Trials(fresh, lambda: batches(unseen, every), outliers.cutoffs, head)
            labels = labels_of(PatchNorms.open(receipts)) if head else None
            labels = None if labels is None else labels[unseen]
            tables.append(judge_unseen(trials, found, labels))
            if settings["second_size"]:
                result["transfer"], table = transferred(found, labels)
                tables.append(table)
    finally:
        reader.close()
    result["tried"] = [trial.summary() for trial in found.tried]
    result["neurons"], result["random"] = found.neurons, found.random
    result["published"], result["overlap"] = found.published, found.overlap
    if found.tried:
        taken = next(t for t in found.tried if list(t.neurons) == found.neurons)
        log.info(
            "%d neurons leave %.2g %% of the patches over %.3g x median (before: %.2g %%) and keep "
            "%.3g of the %s: %s",
            len(found.neurons), taken.share, bar, outliers.share, taken.kept.mean(),
            result["kept_by"],
            ", ".join(f"block {b} neuron {n}" for b, n in found.neurons[:8]),
        )  # fmt: skip
    else:
        result["reason"] = (
            f"no neuron up to block {outliers.peak} fires {settings['contrast']:g} times as "
            "strongly at outliers as elsewhere: what writes them is no MLP neuron; nothing is "
            "attached"
        )
        log.info("%s", result["reason"])
    save(result, score_table(found.scores, found.neurons), pd.concat(tables), outputs)


def labels_of(tokens):
    """True classes of the images (image,), where the pass compared the own head with them."""
    return tokens.read("label") if "top5" in tokens else None


def save(result, scores, trials, outputs):
    """Write the files; tables without a time in them, so that equal scores are equal files."""
    for name, table in (("scores", scores), ("trials", trials)):
        with gzip.GzipFile(outputs[name], "wb", mtime=0) as handle:
            handle.write(table.to_csv(index=False, float_format="%.6g").encode())
    write_text(outputs["found"], json.dumps(result, indent=1))


if "snakemake" in globals():
    w, p, i, out = snakemake.wildcards, snakemake.params, snakemake.input, snakemake.output
    label = f"neurons {w.dataset} {w.family}/{w.size}/{w.registers}"
    with job(snakemake.log[0], label, snakemake.threads):
        main(
            card=i.card, receipts=i.tokens, spec=p.spec,
            inputs=ImageInputs(**p.images), settings=p.settings, rules=p.rules, head=p.head,
            batch=p.batch,
            device=p.device, threads=snakemake.threads, outputs=dict(out.items()),
        )  # fmt: skip
