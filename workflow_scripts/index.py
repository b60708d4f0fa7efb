"""List the image files of a data set with labels, sizes and checksums."""

from tokenscope.jobs import Progress, job
from tokenscope.manifest import index


def main(root, labels, columns, threads, output):
    """Write the manifest of all files below ``root`` as CSV."""
    index(root, labels, threads, columns, Progress("files")).to_csv(output, index=False)


if "snakemake" in globals():
    with job(snakemake.log[0], f"index {snakemake.wildcards.dataset}", snakemake.threads):
        p = snakemake.params
        main(p.root, p.labels, p.columns, snakemake.threads, snakemake.output[0])
