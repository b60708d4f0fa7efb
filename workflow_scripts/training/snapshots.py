"""Norms of all tokens of the snapshots of one training: the pass of extraction, norms only."""

import os
import shutil
from pathlib import Path

from tokenscope.backbones.loading import open_backbone, pick_device
from tokenscope.extraction.loop import coordinates, extract, variables
from tokenscope.images.readers import ImageInputs
from tokenscope.jobs.job import StopRequest, job, log
from tokenscope.stores.receipts import (
    Stopwatch,
    fingerprint,
    read_receipt,
    sha256_file,
    write_receipt,
)
from tokenscope.stores.zarr_store import StoreWriter


def main(
    backbone, snapshots, images, chunk, batch, device, threads, partial, code, outputs
):  # fmt: skip
    """Write one group of norms for each snapshot, named by its number of updates, and a receipt.

    Args:
        backbone: ``spec``, and the path of its ``card``.
        snapshots: folder of weights, named by their number of updates.
        images: where they are (:class:`tokenscope.images.readers.ImageInputs`).
        chunk, batch: images written and forwarded at once.
        partial: folder of an attempt; the next one goes on from there.
        code: hash of the code, part of the fingerprint of that folder.
        outputs: paths of ``store`` and ``receipt``.
    """
    watch, stop, spec = Stopwatch(), StopRequest(), backbone["spec"]
    card, rows, reader = read_receipt(backbone["card"]), images.rows, images.open(threads)
    device = pick_device(device)
    mark = fingerprint(
        weights=card["sha256"], images=rows["sha256"].tolist(), geometry=images.geometry,
        chunk=chunk, device=device, spec=spec, code=code,
    )  # fmt: skip
    done = Path(f"{partial}-done-{mark[:12]}")
    files = sorted(Path(snapshots).glob("*.safetensors"))
    contents = {}
    try:
        for file in files:
            weights = {"weights": sha256_file(file)}
            contents[file.stem] = weights
            if (done / file.stem).exists():
                continue
            log.info("after %d updates", int(file.stem))
            model = open_backbone(spec, file, device=device)
            arrays = variables(model, model.patch_embed.grid_size, {})
            writer = StoreWriter(
                done / file.stem, f"{partial}/{file.stem}", {"norms": arrays["norms"]}, len(rows),
                chunk, fingerprint(mark=mark, **weights),
            )  # fmt: skip
            extract(
                model, reader.read, writer, spec["mean"], spec["std"], min(batch, chunk), device,
                stop=stop,
            )  # fmt: skip
            coords = coordinates(rows, model)
            attrs = {"title": "norms of tokens in training", "backbone": spec["name"],
                     "updates": int(file.stem), "weights_sha256": weights["weights"],
                     "geometry": images.geometry, "code": code}  # fmt: skip
            names = ("image_id", "label", "block", "token_kind")  # those of norms
            writer.publish({name: coords[name] for name in names}, attrs)
    finally:
        reader.close()
    store = outputs["store"]
    shutil.rmtree(store, ignore_errors=True)
    Path(store).parent.mkdir(parents=True, exist_ok=True)
    done.mkdir(parents=True, exist_ok=True)
    os.rename(done, store)
    write_receipt(
        outputs["receipt"], name=spec["name"], store=str(store), snapshots=contents,
        images=len(rows), device=device, geometry=images.geometry, **watch.facts(),
    )  # fmt: skip


if "snakemake" in globals():
    w, p, i, out = snakemake.wildcards, snakemake.params, snakemake.input, snakemake.output
    label = f"snapshots {w.dataset} {w.family}/{w.size}/{w.registers}"
    with job(snakemake.log[0], label, snakemake.threads, out):
        main(
            backbone={"spec": p.spec, "card": i.card},
            snapshots=i.snapshots,
            images=ImageInputs(**p.images),
            chunk=p.chunk,
            batch=p.batch,
            device=p.device,
            threads=snakemake.threads,
            partial=p.partial,
            code=p.code,
            outputs=dict(out.items()),
        )
