"""Batches through a backbone: pixels to the device, what hooks show, results to the host.

On a GPU, pixels and results travel on streams of their own, beside the computation, and numbers are
shortened before they travel.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from tokenscope.extraction.finite import checked, to_check
from tokenscope.forward.attention import agreement
from tokenscope.forward.cuda_graph import GraphedPass
from tokenscope.forward.hooks import TokenHooks
from tokenscope.forward.inputs import normalise
from tokenscope.forward.out_of_memory import halving_batches
from tokenscope.forward.precision import autocast, cast_once

# What a pass makes of a batch before it leaves the device: from the arrays that TokenHooks returns,
# the batch's pixels (image, row, column, channel) uint8 and its first image's row, to what is
# stored.
Reduce = Callable[[dict[str, Tensor], Tensor, int], dict[str, Tensor]]
AGREEMENT = {
    "attention_norm_auc": "chance that a patch of the top 2 % by norm gets more attention of CLS",
    "attention_norm_overlap": "share of the top 2 % by norm that are the top 2 % by attention",
    "attention_norm_auc_elsewhere": "the same chance with the attention of another image",
}


class BatchedForward:
    """Some chunks through the model in batches; results on the host, copies still under way.

    A GPU computes on its default stream; ``up`` brings pixels to it and ``down`` takes results away
    at the same time. Tensors that a second stream uses are noted with the allocator
    (``record_stream``), which then does not give their memory away too early.
    """

    def __init__(self, model, scale, batch, device, wanted, reduce, looks, tokens_after, graphs):
        blocks = wanted["cls_blocks"].shape[0] if "cls_blocks" in wanted else 0
        self.agree = set(AGREEMENT) <= set(wanted)
        self.offset, self.every = looks
        self.hooks = TokenHooks(
            model, "q" in wanted, "top5" in wanted, blocks, self.agree, tokens_after
        )
        self.scale, self.batch, self.device, self.wanted = scale, batch, device, wanted
        self.cuda = device.startswith("cuda")
        self.reduce = reduce or (lambda out, pixels, first: out)
        if self.cuda:
            cast_once(model)
            self.up, self.down = torch.cuda.Stream(device), torch.cuda.Stream(device)
        self.graphed = GraphedPass(self._observe, batch) if graphs and self.cuda else None

    def __enter__(self):
        self.hooks.__enter__()
        return self

    def __exit__(self, *exc):
        self.hooks.__exit__(*exc)

    def pinned(self, pixels: np.ndarray) -> Tensor:
        """Pixels where the device can fetch them by itself; called by the reader."""
        tensor = torch.from_numpy(pixels)
        return tensor.pin_memory() if self.cuda else tensor

    def __call__(self, pixels: Tensor, first: int, progress: Callable[[int], None]) -> tuple:
        return halving_batches(self, lambda: self._run(pixels, first, progress))

    @torch.inference_mode()
    def _run(self, pixels: Tensor, first: int, progress: Callable[[int], None]) -> tuple:
        shapes = {n: ((len(pixels), *v.shape), v.dtype) for n, v in self.wanted.items()}
        host = {
            name: torch.empty(shape, dtype=getattr(torch, dtype), pin_memory=self.cuda)
            for name, (shape, dtype) in {**shapes, **to_check(len(pixels))}.items()
        }
        for start in range(0, len(pixels), self.batch):
            piece = self._to_device(pixels[start : start + self.batch])
            looked_at = slice(-(self.offset + first + start) % self.every, None, self.every)
            out = self._observed(piece, looked_at)
            if self.agree:
                out |= _agreement(out, looked_at, self.hooks.prefix)
            if "top5" in self.wanted:
                k = self.wanted["top5"].shape[0]
                out["top5"] = out["logits"].topk(k, dim=-1).indices
            results = {**self.reduce(out, piece, first + start), **checked(out)}
            stop = start + len(piece)
            self._to_host({name: results[name] for name in host}, host, slice(start, stop))
            progress(stop)
        copied = None
        if self.cuda:
            copied = torch.cuda.Event(blocking=True)  # a writer that waits must not take a core
            copied.record(self.down)
        return host, copied

    def _observed(self, piece: Tensor, looked_at: slice) -> dict[str, Tensor]:
        """What the hooks show of a batch."""
        if self.graphed is None:
            return self._observe(piece, looked_at)
        if self.graphed.batch != self.batch:  # memory ran out
            self.graphed = GraphedPass(self._observe, self.batch)
        first = min(looked_at.start, len(piece)) if self.agree else len(piece)
        images = torch.arange(first, len(piece), looked_at.step, device=self.device)
        return self.graphed(piece, images)

    def _observe(self, piece: Tensor, images: slice | Tensor) -> dict[str, Tensor]:
        with autocast(self.device):
            return self.hooks(normalise(piece, *self.scale), images)

    def _to_device(self, piece: Tensor) -> Tensor:
        if not self.cuda:
            return piece
        with torch.cuda.stream(self.up):
            piece = piece.to(self.device, non_blocking=True)
        now = torch.cuda.current_stream()
        now.wait_stream(self.up)
        piece.record_stream(now)
        return piece

    def _to_host(self, values: dict[str, Tensor], host: dict[str, Tensor], rows: slice) -> None:
        if not self.cuda:
            for name, value in values.items():
                host[name][rows] = value
            return
        short = {name: value.to(host[name].dtype) for name, value in values.items()}
        self.down.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.down):
            for name, value in short.items():
                host[name][rows].copy_(value, non_blocking=True)
                value.record_stream(self.down)


def _agreement(out: dict[str, Tensor], looked_at: slice, prefix: int) -> dict[str, Tensor]:
    """The arrays :data:`AGREEMENT` (image, block) of a batch, NaN but for the images looked at.

    The other image is the one before in the batch: what agrees with its attention does so by place.
    """
    norms = out["norms"][looked_at, :, prefix:]
    attention = out["block_attention"]
    own = agreement(attention, norms)
    several = len(norms) > 1
    elsewhere = agreement(attention.roll(1, 0), norms)[0] if several else own[0] * torch.nan
    filled = {}
    for name, values in zip(AGREEMENT, (*own, elsewhere), strict=True):
        filled[name] = torch.full_like(out["norms"][:, :, 0], torch.nan)
        filled[name][looked_at] = values
    return filled
