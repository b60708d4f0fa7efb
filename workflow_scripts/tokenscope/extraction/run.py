"""One job's pass of a backbone over a range of a data set: what every such job does around it."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pandas as pd
from torch import nn

from tokenscope.backbones.loading import open_backbone, pick_device
from tokenscope.backbones.precision import precision_name
from tokenscope.errors import StudyError
from tokenscope.extraction.loop import Reduce, extract
from tokenscope.images.geometry import Geometry
from tokenscope.images.readers import ImageInputs
from tokenscope.jobs.job import Progress, StopRequest
from tokenscope.stores.receipts import (
    Stopwatch,
    fingerprint,
    read_receipt,
    weights_of,
    write_receipt,
)
from tokenscope.stores.zarr_store import StoreWriter, Variable


@dataclass(frozen=True)
class PassOutputs:
    """What a pass keeps: arrays by image, coordinates, and how they come out of the forward pass.

    ``reduce`` is None where the arrays are those of :class:`tokenscope.backbones.hooks.TokenHooks`.
    """

    title: str
    arrays: dict[str, Variable]
    coords: dict[str, tuple]
    reduce: Reduce | None = None
    attrs: dict = field(default_factory=dict)


def run_pass(
    plan: Callable[[nn.Module, pd.DataFrame], PassOutputs],
    *,
    card, spec, images: ImageInputs, shard, chunk, batch, keep, device, threads,
    store, partial, receipt, code,
) -> None:  # fmt: skip
    """Write one shard's group and its receipt.

    Args:
        plan: what to keep, given the opened backbone and the shard's rows of the sample.
        shard: first image and number of images (None: all there are).
        keep: plain values that decide what is kept; a store begun with others is not continued.

    Raises:
        StudyError: the sample, the pixels and the shard do not fit together, or the weights changed
            since the card was written.
    """
    watch, stop = Stopwatch(), StopRequest()
    card, size = read_receipt(card), Geometry.parse(images.geometry).size
    total = len(images.rows)
    offset, count = shard[0], shard[1] if shard[1] is not None else total
    rows = images.rows.iloc[offset : offset + count]
    if len(rows) != count:
        raise StudyError(f"the sample has {total} images, this shard needs {offset + count}")
    # Decoding processes are forked before the model exists.
    reader = images.open(threads)
    if len(reader) != total:
        raise StudyError(f"{images.decoded} holds {len(reader)} images, the sample has {total}")
    device = pick_device(device)
    model = open_backbone(spec, weights_of(card), size, device)
    kept = plan(model, rows)
    writer = StoreWriter(
        store, partial, kept.arrays, count, chunk,
        fingerprint(
            weights=card["sha256"], images=rows["sha256"].tolist(), geometry=images.geometry,
            keep=keep,
            chunk=chunk, device=device, spec=spec, code=code,
        ),
    )  # fmt: skip
    try:
        run = extract(
            model, reader.read, writer, spec["mean"], spec["std"], min(batch, chunk), device,
            offset, stop, Progress(), kept.reduce,
        )  # fmt: skip
    finally:
        reader.close()
    facts = watch.facts()
    attrs = {
        "title": kept.title, "backbone": spec["name"],
        "final_norm": type(model.norm).__name__,  # Identity: the model normalises after pooling
        "timm_id": spec["timm_id"], "weights_sha256": card["sha256"], "geometry": images.geometry,
        "mean": spec["mean"], "std": spec["std"], "device": device, "code": code,
        "precision": precision_name(device),
        "versions": facts["versions"], "protocol": facts["protocol"], **kept.attrs,
    }  # fmt: skip
    contents = writer.publish(kept.coords, attrs)
    write_receipt(
        receipt, name=spec["name"], store=str(store), shard=offset, arrays=contents, device=device,
        precision=attrs["precision"], geometry=images.geometry, weights_sha256=card["sha256"],
        params=sum(p.numel() for p in model.parameters()),
        **run, **facts,
    )  # fmt: skip
