"""Norms of all tokens of the snapshots of one training: the pass of extraction, norms only."""

import os
import shutil
from pathlib import Path

from tokenscope.backbones.loading import open_backbone
from tokenscope.errors import StudyError
from tokenscope.extraction.loop import coordinates, extract, variables
from tokenscope.extraction.run import PassFiles, PassInputs
from tokenscope.forward.device import pick_device
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


def main(inputs, snapshots, files, batch, device, threads, code):
    """Write one group of norms for each snapshot, named by its number of updates, and a receipt.

    Args:
        inputs: PassInputs; its card is of the trained backbone, all images are seen.
        snapshots: folder of weights, ``<updates>.safetensors``.
        files: PassFiles; the store is a folder with one group per snapshot.
        batch: images forwarded at once.
        device: ``auto``, ``cuda`` or ``cpu``.
        threads: processes that decode images, where they are not decoded yet.
        code: hash of the code behind this rule.
    """
    watch, stop = Stopwatch(), StopRequest()
    card, spec, images = read_receipt(inputs.card), inputs.spec, inputs.images
    rows = images.rows
    reader = images.open(threads)
    device = pick_device(device)
    mark = fingerprint(
        weights=card["sha256"], images=rows["sha256"].tolist(), geometry=images.geometry,
        chunk=files.chunk, device=device, spec=spec, code=code,
    )  # fmt: skip
    done = Path(f"{files.partial}-done-{mark[:12]}")
    contents = {}
    try:
        for file in sorted(Path(snapshots).glob("*.safetensors")):
            weights = {"weights": sha256_file(file)}
            if card.get("snapshots", {}).get(file.stem) != weights["weights"]:
                raise StudyError(
                    f"{file}: is not the snapshot that {inputs.card} is of; delete that card and "
                    "run again"
                )
            contents[file.stem] = weights
            if (done / file.stem).exists():
                continue
            log.info("after %d updates", int(file.stem))
            model = open_backbone(spec, file, device=device)
            arrays = variables(model, model.patch_embed.grid_size, {})
            writer = StoreWriter(
                done / file.stem, f"{files.partial}/{file.stem}", {"norms": arrays["norms"]},
                len(rows), files.chunk, fingerprint(mark=mark, **weights),
            )  # fmt: skip
            extract(
                model, reader.read, writer, spec["mean"], spec["std"], min(batch, files.chunk),
                device, stop=stop,
            )  # fmt: skip
            coords = coordinates(rows, model)
            attrs = {"title": "norms of tokens in training", "backbone": spec["name"],
                     "updates": int(file.stem), "weights_sha256": weights["weights"],
                     "geometry": images.geometry, "code": code}  # fmt: skip
            names = ("image_id", "label", "block", "token_kind")
            writer.publish({name: coords[name] for name in names}, attrs)
    finally:
        reader.close()
    shutil.rmtree(files.store, ignore_errors=True)
    Path(files.store).parent.mkdir(parents=True, exist_ok=True)
    done.mkdir(parents=True, exist_ok=True)
    os.rename(done, files.store)
    write_receipt(
        files.receipt, name=spec["name"], store=str(files.store), snapshots=contents,
        images=len(rows), device=device, geometry=images.geometry, **watch.facts(),
    )  # fmt: skip


if "snakemake" in globals():
    w, p, i, out = snakemake.wildcards, snakemake.params, snakemake.input, snakemake.output
    label = f"snapshots {w.dataset} {w.family}/{w.size}/{w.registers}"
    with job(snakemake.log[0], label, snakemake.threads, out):
        main(
            inputs=PassInputs(i.card, p.spec, ImageInputs(**p.images)),
            snapshots=i.snapshots,
            files=PassFiles(out.store, p.partial, out.receipt, p.chunk),
            batch=p.batch,
            device=p.device,
            threads=snakemake.threads,
            code=p.code,
        )
