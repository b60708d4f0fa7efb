"""Draw the seeded sample of a data set, each image read and decoded once to be sure of it."""

import shutil
from pathlib import Path

from tokenscope.datasets.sample import sample
from tokenscope.images.sample_rows import read_rows
from tokenscope.jobs.job import Progress, job, log
from tokenscope.stores.receipts import write_receipt


def main(manifest, source, images, seed, on_bad_image, threads, output, packed, receipt):
    """Write the sampled rows as CSV, and a receipt that names skipped and suspicious images.

    Args:
        manifest: CSV file of all images of the data set.
        source: where the data set is, as tokenscope.datasets.manifest.index takes it.
        images: how many are drawn, or ``all``.
        seed: of the draw.
        on_bad_image: ``fail`` or ``skip``.
        threads: processes that read and decode.
        output: CSV file of the sample.
        packed: folder of the images of parquet files, copied out; stays empty for other layouts.
        receipt: JSON file, written last.
    """
    table = read_rows(manifest)
    shutil.rmtree(packed, ignore_errors=True)
    Path(packed).mkdir(parents=True)
    chosen, skipped = sample(table, source, images, seed, on_bad_image, packed, threads, Progress())
    for bad in skipped:
        log.info("skipped %s: %s", bad["image_id"], bad["problem"])
    doubtful = chosen.attrs["suspicious"]
    log.info("%d of %d images look suspicious", len(doubtful), len(chosen))
    for image in doubtful[:20]:
        log.info("suspicious %s: %s", image["image_id"], image["suspicious"])
    chosen.to_csv(output, index=False)
    write_receipt(
        receipt, listed=len(table), images=len(chosen), seed=seed, root=source["path"],
        skipped=skipped, suspicious=doubtful,
    )  # fmt: skip


if "snakemake" in globals():
    with job(snakemake.log[0], f"sample {snakemake.wildcards.dataset}", snakemake.threads):
        p, out = snakemake.params, snakemake.output
        main(
            manifest=snakemake.input[0],
            source=p.source,
            images=p.images,
            seed=p.seed,
            on_bad_image=p.on_bad_image,
            threads=snakemake.threads,
            output=out.sample,
            packed=out.packed,
            receipt=out.receipt,
        )
