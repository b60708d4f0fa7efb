"""One pass of a backbone over a data set: norms, attention rows, similarities, tokens."""

from tokenscope.extraction.loop import coordinates, variables
from tokenscope.extraction.run import PassOutputs, run_pass
from tokenscope.images.readers import ImageInputs
from tokenscope.jobs.job import job


def main(keep, **arguments):
    """Write the token group of one shard and its receipt; see tokenscope.extraction.run."""

    def plan(model, rows):
        arrays = variables(model, model.patch_embed.grid_size, keep)
        return PassOutputs("tokens of a Vision Transformer", arrays, coordinates(rows, model))

    run_pass(plan, keep=keep, **arguments)


if "snakemake" in globals():
    w, p, i, out = snakemake.wildcards, snakemake.params, snakemake.input, snakemake.output
    label = f"extract {w.dataset} {w.family}/{w.size}/{w.registers}"
    with job(snakemake.log[0], label, snakemake.threads, out):
        main(
            card=i.card, spec=p.spec, images=ImageInputs(**p.images), shard=p.shard,
            chunk=p.chunk, batch=p.batch, keep=p.keep,
            device=p.device, threads=snakemake.threads, store=out.store, partial=p.partial,
            receipt=out.receipt, code=p.code,
        )  # fmt: skip
