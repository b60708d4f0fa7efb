"""One pass of a backbone over a data set: norms, attention rows, similarities, tokens."""

import pandas as pd

from tokenscope.backbones import open_backbone, pick_device
from tokenscope.errors import StudyError
from tokenscope.extraction import coordinates, extract, variables
from tokenscope.images import source_of
from tokenscope.jobs import Progress, StopRequest, job
from tokenscope.stores import (
    Stopwatch,
    StoreWriter,
    fingerprint,
    read_receipt,
    weights_of,
    write_receipt,
)


def main(card, sample, spec, geometry, decoded, root, shard, chunk, batch, keep, device, threads,
         store, partial, receipt, code):  # fmt: skip
    """Write the token group of one shard and its receipt; see tokenscope.extraction."""
    watch, stop = Stopwatch(), StopRequest()
    card = read_receipt(card)
    table = pd.read_csv(sample, keep_default_na=False)
    offset, images = shard[0], shard[1] if shard[1] is not None else len(table)
    rows = table.iloc[offset : offset + images]
    if len(rows) != images:
        raise StudyError(f"the sample has {len(table)} images, this shard needs {offset + images}")
    # Decoding processes are forked before the model exists.
    source = source_of(decoded, root, table, geometry, threads)
    if len(source) != len(table):
        raise StudyError(f"{decoded} holds {len(source)} images, the sample has {len(table)}")
    device = pick_device(device)
    model = open_backbone(spec, weights_of(card), device=device)
    arrays = variables(model, model.patch_embed.grid_size, keep)
    writer = StoreWriter(
        store, partial, arrays, images, chunk,
        fingerprint(
            weights=card["sha256"], images=rows["sha256"].tolist(), geometry=geometry, keep=keep,
            chunk=chunk, device=device, spec=spec, code=code,
        ),
    )  # fmt: skip
    try:
        run = extract(
            model, source.read, writer, spec["mean"], spec["std"], min(batch, chunk), device,
            offset, stop, Progress(),
        )  # fmt: skip
    finally:
        source.close()
    facts = watch.facts()
    attrs = {
        "title": "tokens of a Vision Transformer", "backbone": spec["name"],
        "final_norm": type(model.norm).__name__,  # Identity: the model normalises after pooling
        "timm_id": spec["timm_id"], "weights_sha256": card["sha256"], "geometry": geometry,
        "mean": spec["mean"], "std": spec["std"], "device": device, "code": code,
        "precision": "bfloat16 autocast" if device == "cuda" else "float32",
        "versions": facts["versions"], "protocol": facts["protocol"],
    }  # fmt: skip
    contents = writer.publish(coordinates(rows, model), attrs)
    write_receipt(
        receipt, name=spec["name"], store=str(store), shard=offset, arrays=contents, device=device,
        precision=attrs["precision"], geometry=geometry, weights_sha256=card["sha256"],
        params=sum(p.numel() for p in model.parameters()),
        **run, **facts,
    )  # fmt: skip


if "snakemake" in globals():
    w, p, i, out = snakemake.wildcards, snakemake.params, snakemake.input, snakemake.output
    label = f"extract {w.dataset} {w.family}/{w.size}/{w.registers}"
    with job(snakemake.log[0], label, snakemake.threads, out):
        main(
            i.card, i.sample, p.spec, p.geometry, p.store, p.root, p.shard, p.chunk, p.batch,
            p.keep, p.device, snakemake.threads, out.store, p.partial, out.receipt, p.code,
        )  # fmt: skip
