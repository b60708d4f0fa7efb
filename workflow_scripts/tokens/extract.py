"""One pass of a backbone over a data set: norms, attention rows, similarities, tokens."""

from tokenscope.extraction.loop import coordinates, variables
from tokenscope.extraction.run import PassContents, PassFiles, PassInputs, PassSettings, run_pass
from tokenscope.images.readers import ImageInputs
from tokenscope.jobs.job import job


def main(inputs, files, keep, settings, code):
    """Write the token group of one shard and its receipt; see tokenscope.extraction.run.

    Args:
        inputs: PassInputs. files: PassFiles.
        keep: which of ``tokens``, ``qkv`` and ``logits`` are stored, too.
        settings: PassSettings.
        code: hash of the code behind this rule.
    """

    def contents_of(model, rows):
        arrays = variables(model, model.patch_embed.grid_size, keep)
        return PassContents("tokens of a Vision Transformer", arrays, coordinates(rows, model))

    run_pass(
        contents_of, inputs, files,
        settings=settings, keep=keep, code=code,
    )  # fmt: skip


if "snakemake" in globals():
    w, p, i, out = snakemake.wildcards, snakemake.params, snakemake.input, snakemake.output
    label = f"extract {w.dataset} {w.family}/{w.size}/{w.registers}"
    with job(snakemake.log[0], label, snakemake.threads, out):
        main(
            inputs=PassInputs(i.card, p.spec, ImageInputs(**p.images), p.shard),
            files=PassFiles(out.store, p.partial, out.receipt, p.chunk),
            keep=p.keep,
            settings=PassSettings(p.batch, p.device, snakemake.threads, p.graphs),
            code=p.code,
        )
