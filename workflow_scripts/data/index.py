"""List the images of a data set with their labels, whatever layout it lies in."""

from tokenscope.images.manifest import index
from tokenscope.jobs.job import Progress, job


def main(source, threads, output):
    """Write the manifest of all images of ``source`` as CSV: tokenscope.images.manifest."""
    index(source, threads, Progress("files")).to_csv(output, index=False)


if "snakemake" in globals():
    with job(snakemake.log[0], f"index {snakemake.wildcards.dataset}", snakemake.threads):
        main(snakemake.params.source, snakemake.threads, snakemake.output[0])
