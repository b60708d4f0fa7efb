"""List the images of a data set with boxes, each checked against its annotation."""

import time
from pathlib import Path

from tokenscope.datasets import watched
from tokenscope.discovery.box_datasets import index, lists_of
from tokenscope.jobs.job import job, log
from tokenscope.stores.receipts import write_receipt


def main(source, threads, watch, outputs):
    """Write images and boxes as CSV, and a receipt that counts what was left out.

    Args:
        source: the set's entry in the config, see tokenscope.discovery.box_datasets.
        watch: how often its files were found changed, and the path of the record of what was
            read, see tokenscope.datasets.watched: ``changes``, ``record``.
        outputs: paths of ``images``, ``boxes`` and ``receipt``.
        threads: cores of the job.
    """
    began = time.time_ns()
    images, boxes, left_out = index(source, threads)
    for what, number in left_out.items():
        log.info("%s: %d", what.replace("_", " "), number)
    images.to_csv(outputs["images"], index=False)
    boxes.to_csv(outputs["boxes"], index=False)
    write_receipt(
        outputs["receipt"], listed=len(images), skipped=[], images=len(images), boxes=len(boxes),
        left_out=left_out, source=source,
    )  # fmt: skip
    root = Path(source["path"])
    files = [str(root / path) for path in images["path"]]
    read = zip(files, images["sha256"], strict=True)
    seen = watched.of_list(source, lists_of(source, images), read, began)
    watched.write(watch["record"], seen, watch["changes"])


if "snakemake" in globals():
    with job(snakemake.log[0], f"boxes {snakemake.wildcards.dataset}", snakemake.threads):
        main(
            source=snakemake.params.source,
            threads=snakemake.threads,
            watch=snakemake.params.watch,
            outputs=dict(snakemake.output.items()),
        )
