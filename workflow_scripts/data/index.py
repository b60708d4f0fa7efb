"""List the images of a data set with their labels, whatever layout it lies in."""

from tokenscope.datasets.manifest import index
from tokenscope.jobs.job import Progress, job


def main(source, threads, output):
    """Write the manifest of all images of a data set: tokenscope.datasets.manifest.

    Args:
        source: where the data set is and how it is labelled, as :func:`index` takes it.
        threads: files listed at the same time.
        output: CSV file, one row per image.
    """
    index(source, threads, Progress("files")).to_csv(output, index=False)


if "snakemake" in globals():
    with job(snakemake.log[0], f"index {snakemake.wildcards.dataset}", snakemake.threads):
        main(
            source=snakemake.params.source,
            threads=snakemake.threads,
            output=snakemake.output[0],
        )
