"""LOST on a data set with one backbone: one pass, every setting of the sweep."""

from tokenscope.backbones.loading import open_backbone
from tokenscope.discovery.settings import every_setting
from tokenscope.discovery.sweep import Discoverer, Reader, by_size, coordinates, discover, variables
from tokenscope.forward.device import pick_device
from tokenscope.forward.precision import precision_name
from tokenscope.images.sample_rows import read_rows
from tokenscope.jobs.job import Progress, StopRequest, job, log
from tokenscope.stores.receipts import (
    Stopwatch,
    fingerprint,
    read_receipt,
    weights_of,
    write_receipt,
)
from tokenscope.stores.zarr_store import StoreWriter

CHUNK = 256  # images


def main(backbone, images, root, sweep, batch, device, threads, partial, code, outputs):
    """Write seed, degree and box of every image under every setting, and a receipt.

    Args:
        backbone: ``spec``, and the path of its ``card``.
        images: CSV of rule index_boxes. root: folder of the files it lists.
        sweep: ``blocks`` (how many of the last), ``facets``, ``normalise``, ``biases``,
            ``candidates``; see tokenscope.discovery.lost.
        batch: most images of one size at once.
        partial: folder of an attempt; the next one goes on from there.
        code: hash of the code, part of the fingerprint of that folder.
        outputs: paths of ``store`` and ``receipt``.
        device: ``auto``, ``cuda`` or ``cpu``.
        threads: cores of the job.
    """
    watch, stop = Stopwatch(), StopRequest()
    spec, card = backbone["spec"], read_receipt(backbone["card"])
    device = pick_device(device)
    model = open_backbone(spec, weights_of(card), device=device)
    table = by_size(read_rows(images), model.patch_embed.patch_size[0])
    settings = every_setting(
        len(model.blocks), sweep["blocks"], sweep["facets"], sweep["normalise"], sweep["biases"]
    )
    log.info("%d images, %d settings", len(table), len(settings))
    finder = Discoverer(
        model, spec["mean"], spec["std"], settings, sweep["candidates"], batch, device
    )
    writer = StoreWriter(
        outputs["store"], partial, variables(settings), len(table), CHUNK,
        fingerprint(
            weights=card["sha256"], images=table["sha256"].tolist(), sweep=sweep, spec=spec,
            device=device, code=code,
        ),
    )  # fmt: skip
    reader = Reader(root, table, threads)
    try:
        run = discover(finder, table, reader, writer, stop, Progress())
    finally:
        reader.close()
    facts = watch.facts()
    precision = precision_name(device)
    contents = writer.publish(
        coordinates(table, settings),
        {
            "title": "objects found by LOST", "backbone": spec["name"], "timm_id": spec["timm_id"],
            "weights_sha256": card["sha256"], "candidates": sweep["candidates"],
            "patch": finder.patch, "geometry": "native size, zero-padded to whole patches",
            "mean": spec["mean"], "std": spec["std"], "device": device, "precision": precision,
            "code": code, "protocol": facts["protocol"],
        },
    )  # fmt: skip
    write_receipt(
        outputs["receipt"], name=spec["name"], store=str(outputs["store"]), arrays=contents,
        settings=len(settings),
        geometry=f"native size padded to {finder.patch}", device=device, precision=precision,
        weights_sha256=card["sha256"], batch=finder.batch,
        params=sum(p.numel() for p in model.parameters()),
        **run, **facts,
    )  # fmt: skip


if "snakemake" in globals():
    w, p, i, out = snakemake.wildcards, snakemake.params, snakemake.input, snakemake.output
    label = f"discover {w.dataset} {w.family}/{w.size}/{w.registers}"
    with job(snakemake.log[0], label, snakemake.threads, out):
        main(
            backbone={"spec": p.spec, "card": i.card},
            images=i.images,
            root=p.root,
            sweep=p.sweep,
            batch=p.batch,
            device=p.device,
            threads=snakemake.threads,
            partial=p.partial,
            code=p.code,
            outputs=dict(out.items()),
        )
