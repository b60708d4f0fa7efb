"""Draw the seeded sample of a data set, each file decoded once to be sure of it."""

import pandas as pd

from tokenscope.jobs import Progress, job, log
from tokenscope.manifest import sample
from tokenscope.stores import write_receipt


def main(manifest, root, images, seed, on_bad_image, threads, output, receipt):
    """Write the sampled rows as CSV and a receipt that counts and names the skipped files."""
    table = pd.read_csv(manifest, keep_default_na=False)
    chosen, skipped = sample(table, root, images, seed, on_bad_image, threads, Progress())
    for bad in skipped:
        log.info("skipped %s: %s", bad["image_id"], bad["problem"])
    chosen.to_csv(output, index=False)
    write_receipt(
        receipt, listed=len(table), images=len(chosen), seed=seed, root=str(root), skipped=skipped
    )


if "snakemake" in globals():
    with job(snakemake.log[0], f"sample {snakemake.wildcards.dataset}", snakemake.threads):
        p = snakemake.params
        main(
            snakemake.input[0], p.root, p.images, p.seed, p.on_bad_image, snakemake.threads,
            snakemake.output.sample, snakemake.output.receipt,
        )  # fmt: skip
