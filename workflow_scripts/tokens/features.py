"""One pass of a backbone over a large data set that keeps little of each image."""

from tokenscope.extraction.run import PassOutputs, run_pass
from tokenscope.extraction.token_bank import BankReducer, Draw, attributes, coordinates, variables
from tokenscope.images.readers import ImageInputs
from tokenscope.jobs.job import job
from tokenscope.stores.receipts import read_receipt


def main(bank, cutoffs, logits, cls_blocks, **arguments):
    """Write the feature group of one shard and its receipt; see tokenscope.extraction.run.

    ``bank`` has ``tokens`` and ``seed`` of the draw, or is empty where no bank is wanted;
    ``cutoffs`` is the file with the backbone's own cutoffs. ``cls_blocks`` counts the last blocks
    whose CLS token is kept.
    """
    draw = Draw(read_receipt(cutoffs)["percentile"], **bank) if bank else None

    def plan(model, rows):
        ids = rows["image_id"].tolist()
        return PassOutputs(
            "features of a Vision Transformer", variables(model, draw, logits, cls_blocks),
            coordinates(rows, model, draw), BankReducer(model, ids, draw), attributes(model, draw),
        )  # fmt: skip

    run_pass(plan, keep={"draw": draw, "logits": logits, "cls_blocks": cls_blocks}, **arguments)


if "snakemake" in globals():
    w, p, i, out = snakemake.wildcards, snakemake.params, snakemake.input, snakemake.output
    label = f"features {w.dataset} {w.family}/{w.size}/{w.registers} {w.view}"
    with job(snakemake.log[0], label, snakemake.threads, out):
        main(
            bank=p.bank, cutoffs=i.get("cutoffs"), logits=p.logits,
            cls_blocks=p.cls_blocks,
            card=i.card, spec=p.spec, images=ImageInputs(**p.images), shard=p.shard,
            chunk=p.chunk, batch=p.batch,
            device=p.device, threads=snakemake.threads, store=out.store, partial=p.partial,
            receipt=out.receipt, code=p.code,
        )  # fmt: skip
