"""Draw the seeded sample of a data set, each image read and decoded once to be sure of it."""

import shutil
import time
from pathlib import Path

from tokenscope.datasets import watched
from tokenscope.datasets.sample import sample
from tokenscope.images.sample_rows import read_rows
from tokenscope.jobs.job import Progress, job, log
from tokenscope.stores.receipts import write_receipt


def main(manifest, source, draw, threads, watch, output, packed, receipt):
    """Write the sampled rows as CSV, and a receipt that names skipped and suspicious images.

    Args:
        manifest: CSV file of all images of the data set.
        source: where the data set is, as tokenscope.datasets.manifest.index takes it.
        draw: ``images``, how many are drawn, or ``all``; the ``seed``; ``on_bad_image``, ``fail``
            or ``skip``.
        threads: processes that read and decode.
        watch: ``listed``, the record of what the manifest rests on, and ``record``, that of the
            sampled images, to be written with ``changes``, how often they were found changed.
        output: CSV file of the sample.
        packed: folder of the images of parquet files, copied out; stays empty for other layouts.
        receipt: JSON file, written last.
    """
    table = read_rows(manifest)
    shutil.rmtree(packed, ignore_errors=True)
    Path(packed).mkdir(parents=True)
    began = time.time_ns()
    watched.check(watch["listed"])
    chosen, skipped = sample(
        table, source, draw["images"], draw["seed"], draw["on_bad_image"], packed, threads,
        Progress(),
    )  # fmt: skip
    watched.check(watch["listed"])  # nor was a file replaced meanwhile
    seen = watched.of_sample(source, chosen.attrs["examined"], began)
    for bad in skipped:
        log.info("skipped %s: %s", bad["image_id"], bad["problem"])
    doubtful = chosen.attrs["suspicious"]
    log.info("%d of %d images look suspicious", len(doubtful), len(chosen))
    for image in doubtful[:20]:
        log.info("suspicious %s: %s", image["image_id"], image["suspicious"])
    chosen.to_csv(output, index=False)
    write_receipt(
        receipt, listed=len(table), images=len(chosen), seed=draw["seed"], root=source["path"],
        skipped=skipped, suspicious=doubtful,
    )  # fmt: skip
    watched.write(watch["record"], seen, watch["changes"])


if "snakemake" in globals():
    with job(snakemake.log[0], f"sample {snakemake.wildcards.dataset}", snakemake.threads):
        p, out = snakemake.params, snakemake.output
        main(
            manifest=snakemake.input[0],
            source=p.source,
            draw={"images": p.images, "seed": p.seed, "on_bad_image": p.on_bad_image},
            threads=snakemake.threads,
            watch={"listed": p.listed, "record": p.record, "changes": p.changes},
            output=out.sample,
            packed=out.packed,
            receipt=out.receipt,
        )
