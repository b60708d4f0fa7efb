"""Make the two controls from a trained ViT: with a planted artifact neuron, and without."""

from dataclasses import asdict

import torch
from safetensors.torch import save_file

from tokenscope.backbones.loading import open_backbone
from tokenscope.backbones.planted_controls import plant, verify
from tokenscope.forward.inputs import normalise
from tokenscope.jobs.job import job, log
from tokenscope.stores.receipts import read_receipt, sha256_file, weights_of, write_receipt
from tokenscope.stores.zarr_store import open_store

SAMPLE = 256


def main(base, spec, recipe, store, times_median, outputs):
    """Write weights and cards of both controls; refuses if their answer is not what it should be.

    Args:
        base: card of the trained backbone. spec: of the controls.
        recipe: where to plant: ``block`` (from 1), ``times_median``, ``seed``.
        store: decoded images, of which the first are used.
        times_median: the outlier rule's multiple of the median norm.
        outputs: ``clean`` and ``planted``, each (card, weights).
    """
    pixels = open_store(store)["pixels"][:SAMPLE].values
    mean, std = (torch.tensor(spec[key]) for key in ("mean", "std"))
    model = open_backbone(spec, weights_of(read_receipt(base)))
    sample = normalise(torch.from_numpy(pixels), mean, std)
    clean, planted, where = plant(
        model, recipe["block"], recipe["times_median"], sample, recipe["seed"]
    )
    checks = verify(clean, planted, pixels, spec["mean"], spec["std"], times_median)
    log.info("planted neuron %d of block %d: %s", where.neuron, where.block, checks)
    for kind, control in (("clean", clean), ("planted", planted)):
        card, weights = outputs[kind]
        save_file({k: v.contiguous() for k, v in control.state_dict().items()}, weights)
        write_receipt(
            card, name=spec["name"].replace("scratch", kind), timm_id=spec["timm_id"],
            weights=str(weights), origin=f"control, {kind}", sha256=sha256_file(weights),
            planted=asdict(where) if kind == "planted" else None, checks=checks,
        )  # fmt: skip


if "snakemake" in globals():
    w, p, out = snakemake.wildcards, snakemake.params, snakemake.output
    outputs = {"clean": (out.clean, out.clean_weights)}
    outputs["planted"] = (out.planted, out.planted_weights)
    with job(snakemake.log[0], f"plant {w.family}/{w.size}/{w.r}", snakemake.threads):
        main(
            base=snakemake.input.card, spec=p.spec, recipe=p.plant, store=p.store,
            times_median=p.times_median, outputs=outputs,
        )  # fmt: skip
