"""One pass of a backbone over a large data set that keeps little of each image."""

from tokenscope.extraction.run import PassContents, PassFiles, PassInputs, PassSettings, run_pass
from tokenscope.extraction.token_bank import BankReducer, Draw, attributes, coordinates, variables
from tokenscope.images.readers import ImageInputs
from tokenscope.jobs.job import job
from tokenscope.stores.receipts import read_receipt


def main(inputs, files, bank, decision, logits, cls_blocks, settings, code):
    """Write the feature group of one shard and its receipt; see tokenscope.extraction.run.

    Args:
        inputs: PassInputs. files: PassFiles.
        bank: ``tokens`` and ``seed`` of the draw of the token bank; empty where none is wanted.
        decision: JSON file of rule decision, of the same backbone; None without a bank.
        logits: whether the classes that the backbone's own head predicts are stored.
        cls_blocks: how many of the last blocks have their CLS token stored.
        settings: PassSettings.
        code: hash of the code behind this rule.
    """
    draw = Draw.of(read_receipt(decision), **bank) if bank else None

    def contents_of(model, rows):
        ids = rows["image_id"].tolist()
        return PassContents(
            "features of a Vision Transformer", variables(model, draw, logits, cls_blocks),
            coordinates(rows, model, draw), BankReducer(model, ids, draw),
            draw.block if draw else None, attributes(model, draw),
        )  # fmt: skip

    run_pass(
        contents_of, inputs, files,
        settings=settings, keep={"draw": draw, "logits": logits, "cls_blocks": cls_blocks},
        code=code,
    )  # fmt: skip


if "snakemake" in globals():
    w, p, i, out = snakemake.wildcards, snakemake.params, snakemake.input, snakemake.output
    label = f"features {w.dataset} {w.family}/{w.size}/{w.registers} {w.view}"
    with job(snakemake.log[0], label, snakemake.threads, out):
        main(
            inputs=PassInputs(i.card, p.spec, ImageInputs(**p.images), p.shard),
            files=PassFiles(out.store, p.partial, out.receipt, p.chunk),
            bank=p.bank,
            decision=i.get("decision"),
            logits=p.logits,
            cls_blocks=p.cls_blocks,
            settings=PassSettings(p.batch, p.device, snakemake.threads, p.graphs),
            code=p.code,
        )
