"""List the images of a data set with their labels, whatever layout it lies in."""

from tokenscope.datasets import watched
from tokenscope.datasets.manifest import index
from tokenscope.jobs.job import Progress, job


def main(source, threads, changes, output, record):
    """Write the manifest of all images of a data set: tokenscope.datasets.manifest.

    Args:
        source: where the data set is and how it is labelled, as :func:`index` takes it.
        threads: files listed at the same time.
        changes: how often its files were found changed.
        output: CSV file, one row per image.
        record: JSON file of what the listing rests on: tokenscope.datasets.watched.
    """
    seen = watched.of_listing(source)
    index(source, threads, Progress("files")).to_csv(output, index=False)
    watched.write(record, seen, changes)


if "snakemake" in globals():
    with job(snakemake.log[0], f"index {snakemake.wildcards.dataset}", snakemake.threads):
        main(
            source=snakemake.params.source,
            threads=snakemake.threads,
            changes=snakemake.params.changes,
            output=snakemake.output[0],
            record=snakemake.params.record,
        )
