"""Attention maps beside the fused attention: rows recomputed from what it was given.

And whether the tokens of highest attention are those of highest norm, which claim 1 says of
artifacts (:func:`agreement`).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

# Numbers of whole attention matrices that may be held at a time: on a CPU what its cache holds.
AT_ONCE = {"cpu": 2**21}
ELSEWHERE_AT_ONCE = 2**27


@dataclass(frozen=True)
class AttentionCall:
    """One call of the fused attention: all that decides its weights.

    Attributes:
        q, k, v: (batch, head, token, feature) after q/k norms and rotary embedding.
        mask: added to the scores (relative position bias), or True where a key is seen;
            anything that broadcasts to (batch, head, query, key). None: nothing.
        causal: whether a query sees only itself and what comes before.
        scale: of the scores; None: 1 / sqrt d.
    """

    q: Tensor
    k: Tensor
    v: Tensor
    mask: Tensor | None = None
    causal: bool = False
    scale: float | None = None

    @classmethod
    def of(
        cls, query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None,
        enable_gqa=False,
    ) -> "AttentionCall":  # fmt: skip
        """From the arguments of torch's scaled_dot_product_attention, under their names there."""
        if enable_gqa:
            groups = query.shape[1] // key.shape[1]
            key, value = (x.repeat_interleave(groups, 1) for x in (key, value))
        return cls(query, key, value, attn_mask, is_causal, scale)

    def rows(self, queries: int, images: slice = slice(None)) -> Tensor:
        """The first ``queries`` rows of these images, (image, query, key): mean over heads."""
        return self.weights(images, queries).mean(1)

    def weights(self, images: slice = slice(None), queries: int | None = None) -> Tensor:
        """Whole matrices of these images, (image, head, query, key); see :func:`weights`."""
        queries = self.q.shape[2] if queries is None else queries
        mask = self.mask
        if mask is not None:
            mask = mask.expand(*self.q.shape[:2], self.q.shape[2], self.k.shape[2])[images]
        if self.causal:
            mask = torch.ones(self.q.shape[2], self.k.shape[2], device=self.q.device).tril().bool()
        return weights(self.q[images], self.k[images], queries, self.scale, mask)

    def pieces(self) -> Iterator[tuple[slice, Tensor]]:
        """Whole matrices of all images, few at a time: slices of the batch, :meth:`weights`."""
        each = self.q.shape[1] * self.q.shape[2] * self.k.shape[2]
        step = max(1, AT_ONCE.get(self.q.device.type, ELSEWHERE_AT_ONCE) // each)
        for start in range(0, len(self.q), step):
            images = slice(start, start + step)
            yield images, self.weights(images)

    def received(self, first: int = 0) -> Tensor:
        """Attention that each key from ``first`` on gets: mean over all queries and heads.

        Returns:
            (batch, key), float32; over all keys the sum is 1, as in a row.
        """
        return torch.cat([piece.mean((1, 2))[:, first:] for _, piece in self.pieces()])


class AttentionInputs(TorchFunctionMode):
    """Notes each call of scaled_dot_product_attention while it is active."""

    def __init__(self):
        super().__init__()
        self.calls: list[AttentionCall] = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention:
            self.calls.append(AttentionCall.of(*args, **kwargs))
        return func(*args, **kwargs)


def weights(
    q: Tensor, k: Tensor, queries: int, scale: float | None = None, mask: Tensor | None = None
) -> Tensor:
    """softmax(q k^T / sqrt d + mask) of the first ``queries`` rows, in float32.

    Args:
        q, k: (batch, head, token, feature) as the attention sees them, after q/k norms and RoPE.
        mask: (..., query, key) of all queries: numbers are added, of truth values False is unseen.

    Returns:
        (batch, head, queries, token).
    """
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    with torch.autocast(q.device.type, enabled=False):
        scores = (q[:, :, :queries].float() * scale) @ k.float().transpose(-2, -1)
        if mask is not None:
            mask = mask[..., :queries, :]
            unseen = mask.dtype == torch.bool
            scores = scores.masked_fill(~mask, -torch.inf) if unseen else scores + mask.float()
        return scores.softmax(-1)


def attention_rows(
    q: Tensor, k: Tensor, queries: int, scale: float | None = None, mask: Tensor | None = None
) -> Tensor:
    """:func:`weights`, mean over heads: (batch, queries, token)."""
    return weights(q, k, queries, scale, mask).mean(1)


TOP = 0.02  # share of the patches of an image that count as its highest


def top_count(patches: int) -> int:
    """Patches of an image that make up :data:`TOP` of them, at least one."""
    return max(1, round(TOP * patches))


def agreement(attention: Tensor, norms: Tensor) -> tuple[Tensor, Tensor]:
    """Do the patches of highest norm get most attention?

    Args:
        attention, norms: (..., patch), of the same tokens.

    Returns:
        AUC (...): chance that one of the :data:`TOP` by norm gets more attention than another
        patch, 0.5 where the two have nothing to do with each other; ties count half.
        Overlap (...): share of the top by norm that are the top by attention; at a tie all have
        the same chance.
    """
    patches = norms.shape[-1]
    count = top_count(patches)
    highest = norms.topk(count, dim=-1).indices
    attended = attention.gather(-1, highest).contiguous()
    ordered = attention.sort(dim=-1).values.contiguous()
    below = torch.searchsorted(ordered, attended).float()
    up_to = torch.searchsorted(ordered, attended, right=True).float()
    # Each pair among the highest themselves counts once, each patch half against itself.
    wins = ((below + up_to - 1) / 2).sum(-1) - count * (count - 1) / 2
    auc = wins / max(1, count * (patches - count))
    limit = ordered[..., -count : -count + 1 or None]
    above = (ordered > limit).sum(-1, keepdim=True)
    room = (count - above) / (ordered == limit).sum(-1, keepdim=True)
    overlap = ((attended > limit).float() + (attended == limit) * room).mean(-1)
    return auc, overlap
