"""Decode a sample once for all backbones of one geometry."""

from functools import partial as bind

import numpy as np
import pandas as pd

from tokenscope.images.geometry import Geometry
from tokenscope.images.readers import StreamedImages
from tokenscope.images.workers import forked_pool
from tokenscope.jobs.job import Progress, job
from tokenscope.stores.receipts import Stopwatch, fingerprint, write_receipt
from tokenscope.stores.zarr_store import StoreWriter, Variable

CHUNK_BYTES = 24e6


def main(sample, root, geometry, threads, store, partial, receipt):
    """Write ``pixels`` (image, row, column, channel) uint8 and the labels as a Zarr group."""
    watch = Stopwatch()
    table = pd.read_csv(sample, keep_default_na=False)
    shape = Geometry.parse(geometry)
    chunk = max(1, min(512, int(CHUNK_BYTES / (3 * shape.size**2))))
    writer = StoreWriter(
        store,
        partial,
        {"pixels": Variable(("row", "column", "channel"), (shape.size, shape.size, 3), "uint8")},
        len(table),
        chunk,
        fingerprint(images=table["sha256"].tolist(), geometry=geometry),
    )
    source = StreamedImages(root, table, shape, workers=1)
    progress, done = Progress(), len(table) - sum(b - a for a, b in writer.missing())
    # Each process decodes a chunk and writes it itself: no pixel travels between processes.
    with forked_pool(threads) as pool:
        for count in pool.map(bind(_decode, source, writer), writer.missing()):
            done += count
            progress(done, len(table))
    contents = writer.publish(
        {
            "image_id": (("image",), table["image_id"].to_numpy(str)),
            "label": (("image",), table["label"].to_numpy(np.int32)),
        },
        {"title": "decoded images", "geometry": geometry, "root": str(root)},
    )
    write_receipt(receipt, images=len(table), geometry=geometry, arrays=contents, **watch.facts())


def _decode(source, writer, chunk):
    start, stop = chunk
    writer.write(start, {"pixels": source.read(start, stop)})
    return stop - start


if "snakemake" in globals():
    label = f"decode {snakemake.wildcards.dataset} {snakemake.wildcards.geometry}"
    with job(snakemake.log[0], label, snakemake.threads, snakemake.output):
        p = snakemake.params
        main(
            snakemake.input[0], p.root, snakemake.wildcards.geometry, snakemake.threads,
            snakemake.output.store, p.partial, snakemake.output.receipt,
        )  # fmt: skip
