"""List the images of a data set with their labels, whatever layout it lies in."""

from tokenscope.jobs import Progress, job
from tokenscope.manifest import index


def main(source, threads, output):
    """Write the manifest of all images of ``source`` as CSV; see tokenscope.manifest.index."""
    index(source, threads, Progress("files")).to_csv(output, index=False)


if "snakemake" in globals():
    with job(snakemake.log[0], f"index {snakemake.wildcards.dataset}", snakemake.threads):
        main(snakemake.params.source, snakemake.threads, snakemake.output[0])
