"""Run a backbone over images once and store what it showed, chunk by chunk.

A reader thread prepares the next chunks of pixels, the device works on whole batches, and writer
threads put finished chunks on disk meanwhile. At most a few chunks are in flight, so that memory
does not depend on the number of images.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import pandas as pd
import torch
from torch import nn

from tokenscope.errors import StudyError
from tokenscope.extraction.batches import AGREEMENT, BatchedForward, Reduce
from tokenscope.extraction.finite import FINITE, LARGEST
from tokenscope.extraction.spans import batched, part
from tokenscope.forward.neighbour_cosine import NEIGHBOURS
from tokenscope.forward.tokens import pools_by_attention, token_kinds
from tokenscope.images.readers import prefetch
from tokenscope.jobs.job import Interrupted, log
from tokenscope.stores.zarr_store import StoreWriter, Variable

LIMIT = float(np.finfo(np.float16).max)
# Attention of every block is looked at in about so many images of a data set, evenly spread: no
# claim needs more, and in all of them it would slow the pass down by several percent.
LOOKED_AT = 1000
WITHOUT_CLS = {
    "attention_received": "attention each patch gets, last block, mean over queries and heads",
    "attention_pooling": "attention of the latent that pools to patches, mean over heads",
}


def variables(
    model: nn.Module, grid: tuple[int, int], keep: dict[str, bool]
) -> dict[str, Variable]:
    """The arrays of a token store, for one image each.

    ``keep`` switches ``tokens``, ``qkv`` and ``logits`` on. Float16 where 16 bits carry the
    information (tokens), float32 where the claims are decided (norms, attention, cosines).
    """
    width, depth = model.embed_dim, len(model.blocks)
    kinds = token_kinds(model)
    patches = grid[0] * grid[1]
    tokens = len(kinds) + patches
    has_cls = "cls" in kinds
    norm = {"units": "1", "long_name": "L2 norm of a token after a block, before the final norm"}
    arrays = {
        "norms": Variable(("block", "token"), (depth, tokens), "float32", norm),
        "neighbour_cosine": Variable(
            ("patch", "neighbour"), (patches, 4), "float32",
            {"long_name": "cosine similarity of neighbouring patch embeddings, no position"},
        ),
        "patch_mean": Variable(
            ("feature",), (width,), "float32", {"long_name": "mean patch token, after final norm"}
        ),
    }  # fmt: skip
    if kinds:
        arrays["attention"] = Variable(
            ("query", "patch"), (len(kinds), patches), "float32",
            {"long_name": "attention of prefix tokens to patches, last block, mean over heads"},
        )  # fmt: skip
    for name, text in WITHOUT_CLS.items():
        if not has_cls and (name == "attention_received" or pools_by_attention(model)):
            arrays[name] = Variable(("patch",), (patches,), "float32", {"long_name": text})
    if has_cls:
        arrays["cls"] = Variable(
            ("feature",), (width,), "float32", {"long_name": "CLS token, after final norm"}
        )
        arrays |= {
            name: Variable(
                ("block",), (depth,), "float32", {"long_name": f"{text}; NaN: not looked at"}
            )
            for name, text in AGREEMENT.items()
        }
    if registers := sum(kind.startswith("reg") for kind in kinds):
        arrays["registers"] = Variable(
            ("register", "feature"), (registers, width), "float32",
            {"long_name": "register tokens, after final norm"},
        )  # fmt: skip
    if keep.get("tokens"):
        arrays["tokens"] = Variable(
            ("token", "feature"), (tokens, width), "float16",
            {"long_name": "tokens after the last block, before the final norm"},
        )  # fmt: skip
    if keep.get("qkv"):
        for name in "qkv":
            arrays[name] = Variable(
                ("token", "feature"), (tokens, width), "float16",
                {"long_name": f"{name} of the last block, heads side by side"},
            )  # fmt: skip
    if keep.get("logits"):
        arrays["top5"] = Variable(
            ("rank",), (min(5, model.num_classes),), "int32",
            {"long_name": "most probable classes of the model's own head"},
        )  # fmt: skip
    return arrays


def coordinates(rows: pd.DataFrame, model: nn.Module) -> dict[str, tuple]:
    """Coordinate variables of a token group: which image, which token, which place."""
    kinds = token_kinds(model)
    grid = np.indices(model.patch_embed.grid_size).reshape(2, -1)
    names = np.array([*kinds, *["patch"] * grid.shape[1]])
    return {
        "image_id": (("image",), rows["image_id"].to_numpy(str)),
        "label": (("image",), rows["label"].to_numpy(np.int32)),
        "block": (("block",), np.arange(1, len(model.blocks) + 1, dtype=np.int16)),
        "token_kind": (("token",), names),
        "patch_row": (("patch",), grid[0].astype(np.int16)),
        "patch_column": (("patch",), grid[1].astype(np.int16)),
        "neighbour": (("neighbour",), np.array(NEIGHBOURS)),
        **({"query": (("query",), np.array(kinds))} if kinds else {}),
    }


def extract(
    model: nn.Module,
    read: Callable[[int, int], np.ndarray],
    writer: StoreWriter,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    batch: int,
    device: str,
    offset: int = 0,
    stop: Callable[[], str] = lambda: "",
    progress: Callable[[int, int], None] = lambda done, total: None,
    reduce: Reduce | None = None,
    tokens_after: int | None = None,
    total: int | None = None,
    graphs: bool = False,
) -> dict:
    """Fill every missing chunk of ``writer``.

    Fourteen parameters, because the loop is told everything: it knows neither files nor configs.
    The last seven need not be given for a whole data set in one go.

    Args:
        read: uint8 pixels (image, row, column, channel) of a half-open range of the data set.
        offset: position of the store's first image in the data set (a shard's start).
        batch: images forwarded at once; halved when the device runs out of memory.
        stop: asked before each chunk; with a reason, the chunks in flight are finished and the
            job ends with :class:`Interrupted`.
        reduce: makes the writer's arrays of what the hooks show, on the device; by default the
            arrays are the hooks' own.
        tokens_after: block, from 1, after which tokens are taken; the last by default.
        total: images of the whole data set; those of the store by default.
        graphs: on a GPU, whole batches as a CUDA graph (:mod:`tokenscope.forward.cuda_graph`).

    Returns:
        what the receipt says of the run: images done before and now, the batch size used, what
        became of ``graphs`` where they were asked for, and every attempt with its host, job, times,
        images and how it ended.

    Raises:
        StudyError: a token, feature, attention or logit that is not finite, or a number that is too
            large for float16; images are named by row. A mean or deviation of colours that is none.
    """
    missing = writer.missing()
    resumed = writer.images - sum(b - a for a, b in missing)
    if resumed:
        log.info("going on after %s of %s images", f"{resumed:,}", f"{writer.images:,}")
    scale = [torch.tensor(v, device=device) for v in (mean, std)]
    if not (torch.isfinite(torch.stack(scale)).all() and scale[1].min() > 0):
        raise StudyError(f"colours cannot be scaled by a mean of {mean} and a deviation of {std}")
    looks = offset, max(1, (total or writer.images) // LOOKED_AT)
    forward = BatchedForward(
        model, scale, batch, device, writer.variables, reduce, looks, tokens_after, graphs
    )
    pending: list[Future] = []
    done, todo = resumed, set(missing)
    progress(done, writer.images)
    with ThreadPoolExecutor(2) as pool, forward:
        spans = batched(writer.ranges(), missing, batch if forward.cuda else 1)
        ranges = [(span[0][0], span[-1][1]) for span in spans]
        pieces = prefetch(lambda a, b: forward.pinned(read(offset + a, offset + b)), ranges)
        for span, (first, _last, pixels) in zip(spans, pieces, strict=True):
            if reason := stop():
                for future in pending:
                    future.result()
                writer.end_attempt(reason)
                raise Interrupted(
                    f"{reason}: ended after {done:,} of {writer.images:,} images; "
                    "the next attempt goes on from there"
                )
            values = forward(pixels, first, lambda n, done=done: progress(done + n, writer.images))
            for start, end in span:
                if (start, end) in todo:
                    own = part(values, slice(start - first, end - first))
                    pending.append(pool.submit(_store, writer, start, own, offset))
                    done += end - start
            while len(pending) > 2 * len(span):
                pending.pop(0).result()
        for future in pending:
            future.result()
    return {
        "images": writer.images,
        "resumed_images": resumed,
        "batch": forward.batch,
        **({"cuda_graph": forward.graphed.outcome} if forward.graphed else {}),
        "attempts": writer.end_attempt("finished"),
    }


def _store(writer: StoreWriter, first: int, values: tuple, offset: int) -> None:
    host, copied = values
    if copied is not None:
        copied.synchronize()
    largest = host.pop(LARGEST).numpy()
    if not np.isfinite(largest).all():
        bad = np.flatnonzero(~np.isfinite(largest)) + first + offset
        raise StudyError(f"the backbone's tokens are not finite for sample rows {bad[:5].tolist()}")
    if not (finite := host.pop(FINITE).numpy()).all():
        bad = np.flatnonzero(~finite) + first + offset
        raise StudyError(
            "the backbone's features, attention or logits are not finite for sample rows "
            f"{bad[:5].tolist()}"
        )
    half = any(variable.dtype == "float16" for variable in writer.variables.values())
    if half and largest.max() >= LIMIT:
        raise StudyError(
            f"tokens, q, k or v reach {largest.max():.0f}, beyond float16; "
            "set extract: tokens: false"
        )
    writer.write(first, {name: values.numpy() for name, values in host.items()})
