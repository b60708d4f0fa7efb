"""Norms of all tokens of the snapshots of one training: the pass of extraction, norms only."""

import os
import shutil
from pathlib import Path

import pandas as pd

from tokenscope.backbones.loading import open_backbone, pick_device
from tokenscope.extraction.loop import coordinates, extract, variables
from tokenscope.images.geometry import Geometry
from tokenscope.images.readers import DecodedImages, StreamedImages
from tokenscope.jobs.job import StopRequest, job, log
from tokenscope.stores.receipts import (
    Stopwatch,
    fingerprint,
    read_receipt,
    sha256_file,
    write_receipt,
)
from tokenscope.stores.zarr_store import StoreWriter


def main(card, snapshots, sample, spec, geometry, decoded, root, chunk, batch, device, threads,
         store, partial, receipt, code):  # fmt: skip
    """Write one group of norms for each snapshot, named by its number of updates, and a receipt."""
    watch, stop = Stopwatch(), StopRequest()
    card, shape = read_receipt(card), Geometry.parse(geometry)
    rows = pd.read_csv(sample, keep_default_na=False)
    source = DecodedImages(decoded) if decoded else StreamedImages(root, rows, shape, threads)
    device = pick_device(device)
    mark = fingerprint(
        weights=card["sha256"], images=rows["sha256"].tolist(), geometry=geometry, chunk=chunk,
        device=device, spec=spec, code=code,
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
                model, source.read, writer, spec["mean"], spec["std"], min(batch, chunk), device,
                stop=stop,
            )  # fmt: skip
            known = coordinates(rows, model)
            attrs = {"title": "norms of tokens in training", "backbone": spec["name"],
                     "updates": int(file.stem), "weights_sha256": weights["weights"],
                     "geometry": geometry, "code": code}  # fmt: skip
            kept = ("image_id", "label", "block", "token_kind")
            writer.publish({name: known[name] for name in kept}, attrs)
    finally:
        source.close()
    shutil.rmtree(store, ignore_errors=True)
    Path(store).parent.mkdir(parents=True, exist_ok=True)
    done.mkdir(parents=True, exist_ok=True)
    os.rename(done, store)
    write_receipt(
        receipt, name=spec["name"], store=str(store), snapshots=contents, images=len(rows),
        device=device, geometry=geometry, **watch.facts(),
    )  # fmt: skip


if "snakemake" in globals():
    w, p, i, out = snakemake.wildcards, snakemake.params, snakemake.input, snakemake.output
    label = f"snapshots {w.dataset} {w.family}/{w.size}/{w.registers}"
    with job(snakemake.log[0], label, snakemake.threads, out):
        main(
            i.card, i.snapshots, i.sample, p.spec, p.geometry, p.store, p.root, p.chunk, p.batch,
            p.device, snakemake.threads, out.store, p.partial, out.receipt, p.code,
        )  # fmt: skip
