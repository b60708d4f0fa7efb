"""List the images of a data set with boxes, each checked against its annotation."""

from tokenscope.discovery.box_datasets import index
from tokenscope.jobs.job import job, log
from tokenscope.stores.receipts import write_receipt


def main(source, threads, outputs):
    """Write images and boxes as CSV, and a receipt that counts what was left out.

    Args:
        source: the set's entry in the config, see tokenscope.discovery.box_datasets.
        outputs: paths of ``images``, ``boxes`` and ``receipt``.
        threads: cores of the job.
    """
    images, boxes, left_out = index(source, threads)
    for what, number in left_out.items():
        log.info("%s: %d", what.replace("_", " "), number)
    images.to_csv(outputs["images"], index=False)
    boxes.to_csv(outputs["boxes"], index=False)
    write_receipt(
        outputs["receipt"], listed=len(images), skipped=[], images=len(images), boxes=len(boxes),
        left_out=left_out, source=source,
    )  # fmt: skip


if "snakemake" in globals():
    with job(snakemake.log[0], f"boxes {snakemake.wildcards.dataset}", snakemake.threads):
        main(
            source=snakemake.params.source,
            threads=snakemake.threads,
            outputs=dict(snakemake.output.items()),
        )
