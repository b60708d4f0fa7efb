"""Decode a sample once for all backbones of one geometry."""

from functools import partial as bind

import numpy as np

from tokenscope.images.geometry import Geometry
from tokenscope.images.readers import ImageInputs
from tokenscope.images.workers import forked_pool
from tokenscope.jobs.job import Progress, job
from tokenscope.stores.receipts import Stopwatch, write_receipt
from tokenscope.stores.zarr_store import StoreWriter, Variable

CHUNK_BYTES = 24e6


def main(images, threads, store, partial, receipt):
    """Write ``pixels`` (image, row, column, channel) uint8 and the labels as a Zarr group.

    Args:
        images: ImageInputs of the files, without a decoded store.
        threads: processes that decode.
        store: folder of the group; partial: of its unfinished work.
        receipt: JSON file, written last.
    """
    watch = Stopwatch()
    rows, size = images.rows, Geometry.parse(images.geometry).size
    chunk = max(1, min(512, int(CHUNK_BYTES / (3 * size**2))))
    writer = StoreWriter(
        store,
        partial,
        variables(size),
        len(rows),
        chunk,
        images.fingerprint,
    )
    reader = images.open(workers=1)
    progress, done = Progress(), len(rows) - sum(b - a for a, b in writer.missing())
    # Each process decodes a chunk and writes it itself: no pixel travels between processes.
    with forked_pool(threads) as pool:
        for count in pool.map(bind(_decode, reader, writer), writer.missing()):
            done += count
            progress(done, len(rows))
    contents = writer.publish(
        coordinates(rows),
        {"title": "decoded images", "geometry": images.geometry, "root": str(images.root)},
    )
    write_receipt(
        receipt, images=len(rows), geometry=images.geometry, store=str(store), arrays=contents,
        of=images.fingerprint, **watch.facts(),
    )  # fmt: skip


def variables(size):
    """The array of a store of images, for one image."""
    text = {"long_name": "decoded image: red, green, blue"}
    return {"pixels": Variable(("row", "column", "channel"), (size, size, 3), "uint8", text)}


def coordinates(rows):
    """Coordinate variables: which image."""
    return {
        "image_id": (("image",), rows["image_id"].to_numpy(str)),
        "label": (("image",), rows["label"].to_numpy(np.int32)),
    }


def _decode(reader, writer, chunk):
    start, stop = chunk
    writer.write(start, {"pixels": reader.read(start, stop)})
    return stop - start


if "snakemake" in globals():
    w, p, out = snakemake.wildcards, snakemake.params, snakemake.output
    with job(snakemake.log[0], f"decode {w.dataset} {w.geometry}", snakemake.threads, out):
        main(
            images=ImageInputs(sample=snakemake.input[0], root=p.root, geometry=w.geometry),
            threads=snakemake.threads,
            store=out.store,
            partial=p.partial,
            receipt=out.receipt,
        )
