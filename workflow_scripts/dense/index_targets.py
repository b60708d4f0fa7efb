"""List the images of a dense task with their maps, every pair read and checked once."""

import time

from tokenscope.datasets import watched
from tokenscope.dense.map_datasets import Maps
from tokenscope.jobs.job import job, log
from tokenscope.stores.receipts import write_receipt


def main(source, threads, watch, output, receipt):
    """Write the list as CSV, and a receipt with what a constant guess needs.

    Args:
        source: the set's entry in the config, see tokenscope.dense.map_datasets.
        watch: how often its files were found changed, and the path of the record of what was
            read, see tokenscope.datasets.watched: ``changes``, ``record``.
        output: path of the CSV. receipt: path of the JSON.
        threads: cores of the job.
    """
    began, maps = time.time_ns(), Maps(source)
    table, constant = maps.index(threads)
    splits = table["split"].value_counts().to_dict()
    log.info("%s; %.1f %% of pixels count", splits, 100 * table["valid"].mean())
    table.to_csv(output, index=False)
    write_receipt(
        receipt, listed=len(table), skipped=[], images=splits, constant=constant, source=source
    )
    seen = watched.of_list(source, *maps.watched(table), began)
    watched.write(watch["record"], seen, watch["changes"])


if "snakemake" in globals():
    with job(snakemake.log[0], f"maps {snakemake.wildcards.dataset}", snakemake.threads):
        out = snakemake.output
        main(
            source=snakemake.params.source,
            threads=snakemake.threads,
            watch=snakemake.params.watch,
            output=out.listed,
            receipt=out.receipt,
        )
