"""One job's pass of a backbone over a range of a data set: what every such job does around it."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pandas as pd
from torch import nn

from tokenscope.backbones.loading import open_backbone
from tokenscope.errors import StudyError
from tokenscope.extraction.loop import Reduce, extract
from tokenscope.forward.device import pick_device
from tokenscope.forward.precision import precision_name
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
class PassInputs:
    """A backbone and the images that it is run over.

    Args:
        card: receipt of the backbone's weights.
        spec: how the backbone is opened (:func:`tokenscope.backbones.loading.open_backbone`), with
            its ``name``, ``timm_id``, ``mean`` and ``std``.
        images: the whole sample.
        shard: first image and number of images (None: all there are).
    """

    card: str
    spec: dict
    images: ImageInputs
    shard: tuple[int, int | None] = (0, None)


@dataclass(frozen=True)
class PassFiles:
    """Where the results of a pass go.

    Args:
        store: folder of the finished group.
        partial: folder of unfinished work, beside which each attempt has its own.
        receipt: JSON file, written last.
        chunk: images of one chunk of the store.
    """

    store: str
    partial: str
    receipt: str
    chunk: int


@dataclass(frozen=True)
class PassSettings:
    """How a pass runs, which is no part of what it stores.

    Args:
        batch: images forwarded at once, at most a chunk.
        device: ``auto``, ``cuda`` or ``cpu``.
        threads: processes that decode images, where they are not decoded yet.
        graphs: on a GPU, whole batches as a CUDA graph.
    """

    batch: int
    device: str
    threads: int
    graphs: bool = False


@dataclass(frozen=True)
class PassContents:
    """What a pass stores: arrays by image, coordinates, and how they come out of the forward pass.

    ``tokens_after`` is the block, from 1, after which tokens are taken, None the last; ``reduce``
    is None where the arrays are those of :class:`tokenscope.forward.hooks.TokenHooks`.
    """

    title: str
    arrays: dict[str, Variable]
    coords: dict[str, tuple]
    reduce: Reduce | None = None
    tokens_after: int | None = None
    attrs: dict = field(default_factory=dict)


def run_pass(
    contents_of: Callable[[nn.Module, pd.DataFrame], PassContents],
    inputs: PassInputs,
    files: PassFiles,
    *,
    settings: PassSettings,
    keep: dict,
    code: str,
) -> None:
    """Write one shard's group and its receipt.

    Args:
        contents_of: what to store, given the opened backbone and the shard's rows of the sample.
        settings: how it runs.
        keep: plain values that decide what is stored; a store begun with others is not continued.
        code: hash of the code; a store begun by other code is not continued.

    Raises:
        StudyError: the sample, the pixels and the shard do not fit together, or the weights changed
            since the card was written.
    """
    watch, stop = Stopwatch(), StopRequest()
    card, spec, images = read_receipt(inputs.card), inputs.spec, inputs.images
    size, total = Geometry.parse(images.geometry).size, len(images.rows)
    offset, count = inputs.shard[0], inputs.shard[1] if inputs.shard[1] is not None else total
    rows = images.rows.iloc[offset : offset + count]
    if len(rows) != count:
        raise StudyError(f"the sample has {total} images, this shard needs {offset + count}")
    # Decoding processes are forked before the model exists.
    reader = images.open(settings.threads)
    if len(reader) != total:
        raise StudyError(f"{images.decoded} holds {len(reader)} images, the sample has {total}")
    device = pick_device(settings.device)
    model = open_backbone(spec, weights_of(card), size, device)
    contents = contents_of(model, rows)
    writer = StoreWriter(
        files.store, files.partial, contents.arrays, count, files.chunk,
        fingerprint(
            weights=card["sha256"], images=rows["sha256"].tolist(), geometry=images.geometry,
            keep=keep, chunk=files.chunk, device=device, spec=spec, code=code,
        ),
    )  # fmt: skip
    try:
        run = extract(
            model, reader.read, writer, spec["mean"], spec["std"],
            min(settings.batch, files.chunk), device, offset, stop, Progress(), contents.reduce,
            contents.tokens_after, total, settings.graphs,
        )  # fmt: skip
    finally:
        reader.close()
    facts = watch.facts()
    attrs = {
        "title": contents.title, "backbone": spec["name"],
        "final_norm": type(model.norm).__name__,  # Identity: the model normalises after pooling
        "timm_id": spec["timm_id"], "weights_sha256": card["sha256"], "geometry": images.geometry,
        "mean": spec["mean"], "std": spec["std"], "device": device, "code": code,
        "precision": precision_name(device),
        "versions": facts["versions"], "protocol": facts["protocol"], **contents.attrs,
    }  # fmt: skip
    arrays = writer.publish(contents.coords, attrs)
    write_receipt(
        files.receipt, name=spec["name"], store=str(files.store), shard=offset, arrays=arrays,
        device=device, precision=attrs["precision"], geometry=images.geometry,
        weights_sha256=card["sha256"], params=sum(p.numel() for p in model.parameters()),
        **run, **facts,
    )  # fmt: skip
