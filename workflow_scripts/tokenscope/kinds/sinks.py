"""Attention sinks: heads of which nearly all queries look at one token.

By the definitions of "A Unifying View of Attention Sinks" (https://arxiv.org/abs/2606.08105), per
image, block and head: the candidate is the token with the highest mean attention received; it is a
*sink event* when at least 0.9 of the queries give it an attention of 0.5 or more. What such a head
does: *NOP* when the value of the candidate is short beside those of the other tokens (ratio of
norms, after output projection and LayerScale, at most 0.2), *broadcast* when it is not (0.5 or
more) and what the head writes is of rank one (stable rank at most 1.5); else *unclassed*.
"""

import numpy as np
import torch
from scipy import stats
from torch import Tensor, nn

from tokenscope.kinds.answers import ONE_IN_TEN, Found, decide, mean, percent, share_of_images
from tokenscope.kinds.block_pass import BlockView
from tokenscope.stats.bootstrap import Bootstrap

ATTENTION, QUERIES = (0.3, 0.5, 0.7), (0.8, 0.9, 0.95)  # thresholds tried; those of the definition:
AT, OF = 1, 1
NOP, BROADCAST, RANK = 0.2, 0.5, 1.5
CLASSES = ("nop", "broadcast", "unclassed")
STEPS = 30  # of power iteration: at a stable rank up to 1.5 exact to 0.5 ^ 60


def written(block: nn.Module, heads: int) -> Tensor:
    """What a block does to a head's values, as squared lengths: (head, feature, feature).

    v^T M v is the squared norm of what a value v of that head adds to the stream: after the output
    projection, LayerScale and the weight of a norm between heads and projection where there is one.
    """
    attention = block.attn
    weight = attention.proj.weight.detach().float()
    inner = getattr(attention, "norm", None)
    if inner is not None and getattr(inner, "weight", None) is not None:
        weight = weight * inner.weight.detach().float()
    scale = getattr(getattr(block, "ls1", None), "gamma", getattr(block, "gamma_1", None))
    if scale is not None:
        weight = weight * scale.detach().float()[:, None]
    by_head = weight.unflatten(1, (heads, -1)).transpose(0, 1)  # head, width, feature
    return by_head.mT @ by_head


def look(
    view: BlockView, images: slice, weights: Tensor, gram: Tensor | None = None,
    received: Tensor | None = None,
) -> dict[str, Tensor]:  # fmt: skip
    """What is left of one block's attention matrices (image, head, query, key), each (image, head).

    Args:
        gram: of :func:`written`, where it is known for all pieces of the block.
        received: (image, head, key), mean attention received, where it is known.

    Returns:
        ``sink``: number of the candidate. ``looking`` (image, head, threshold): share of queries
        that give it so much. ``focused``: share of queries that give so much to any token.
        ``value_ratio``: norm of its value over the mean of the others'. ``stable_rank``: of the
        head's update, NaN where there is no event.
    """
    received = weights.mean(2) if received is None else received
    sink = received.argmax(-1)
    given = weights.gather(3, sink[..., None, None].expand(*weights.shape[:3], 1))[..., 0]
    looking = torch.stack([(given >= least).float().mean(-1) for least in ATTENTION], -1)
    value = view.call.v[images].float()
    gram = written(view.block, value.shape[1]) if gram is None else gram
    lengths = ((value @ gram) * value).sum(-1).clamp_min(0).sqrt()
    of_sink = lengths.gather(-1, sink[..., None])[..., 0]
    others = (lengths.sum(-1) - of_sink) / (lengths.shape[-1] - 1)
    rank = torch.full_like(of_sink, torch.nan)
    event = (looking[..., AT] >= QUERIES[OF]).nonzero()
    if len(event):
        image, head = event.T
        rank[image, head] = stable_rank(weights[image, head] @ value[image, head], gram[head])
    return {
        "sink": sink, "looking": looking, "value_ratio": of_sink / others.clamp_min(1e-30),
        "stable_rank": rank,
        "focused": (weights.amax(-1) >= ATTENTION[AT]).float().mean(-1),
    }  # fmt: skip


def stable_rank(mixed: Tensor, gram: Tensor) -> Tensor:
    """Squared Frobenius over squared spectral norm of what heads write.

    Args:
        mixed: (event, query, feature), values mixed by the attention.
        gram: (event, feature, feature) of :func:`written`.
    """
    mixed = mixed / mixed.abs().amax((1, 2), keepdim=True).clamp_min(1e-30)
    inner = mixed.mT @ mixed
    total = (inner * gram).sum((1, 2))
    # Eigenvalues of inner @ gram, symmetric where gram measures: the Rayleigh quotient is no more
    # than the largest.
    x = inner.sum(-1, keepdim=True) + inner.diagonal(dim1=1, dim2=2)[..., None]
    for _ in range(STEPS):
        x = inner @ (gram @ x)
        x = x / x.norm(dim=1, keepdim=True).clamp_min(1e-30)
    measured = gram @ x
    top = (measured * (inner @ measured)).sum((1, 2)) / (measured * x).sum((1, 2)).clamp_min(1e-30)
    return total / top.clamp_min(1e-30)


def classes(value_ratio: np.ndarray, stable_rank: np.ndarray) -> dict[str, np.ndarray]:
    """Which events do what; of masks shaped as the arguments."""
    nop = value_ratio <= NOP
    broadcast = (value_ratio >= BROADCAST) & (stable_rank <= RANK)
    return {"nop": nop, "broadcast": broadcast, "unclassed": ~nop & ~broadcast}


def places(sink: np.ndarray, kinds: list[str]) -> dict[str, np.ndarray]:
    """On which kind of token candidates are: ``cls``, ``register``, ``patch`` (and ``dist``)."""
    named = [("register" if k.startswith("reg") else k) for k in kinds]
    on = {name: np.isin(sink, [i for i, k in enumerate(named) if k == name])
          for name in dict.fromkeys(named)}  # fmt: skip
    return on | {"patch": sink >= len(kinds)}


def found(seen: dict[str, np.ndarray], kinds: list[str], bootstrap: Bootstrap) -> list[Found]:
    """Rows of kind ``sink``.

    Args:
        seen: what :func:`look` left, each (image, block, head, ...). kinds: of the prefix tokens.
    """
    event = seen["looking"][..., AT] >= QUERIES[OF]
    later = event.copy()
    later[:, 0] = False  # the first block's are of the embedding, and told apart
    tokens = int(seen["tokens_in_image"])
    rows = []

    def per_image(quantity: str, mask: np.ndarray, block: int = 0, null: float = np.nan) -> Found:
        count = mask.reshape(len(mask), -1).sum(1)
        row = Found.of("sink", quantity, mean(count, bootstrap), block, null, "events per image")
        rows.append(row)
        return row

    null = chance(seen["focused"][:, 1:], tokens)
    total = per_image("events", later, null=null)
    per_image("events_in_the_first_block", event[:, 0], 1, chance(seen["focused"][:, 0], tokens))
    what, where = classes(seen["value_ratio"], seen["stable_rank"]), places(seen["sink"], kinds)
    for name, mask in [*what.items(), *((f"on_{place}", mask) for place, mask in where.items())]:
        per_image(name, later & mask)
    both = {
        (w, p): per_image(f"{w}_on_{p}", later & what[w] & where[p]) for w in what for p in where
    }
    for block in range(event.shape[1]):
        per_image("events_in_block", event[:, block], block + 1)
    for i, least in enumerate(ATTENTION):
        for share in QUERIES:
            mask = seen["looking"][:, 1:, :, i] >= share
            per_image(f"events_{share:g}_of_queries_give_{least:g}", mask)
    images = share_of_images(np.asarray(later.any((1, 2))), bootstrap.confidence)
    answer = decide(images, ONE_IN_TEN)
    said = [f"{row.value:.2g} {w} on {p}" for (w, p), row in both.items() if row.value >= 0.05]
    why = f"{total.value:.3g} events per image" + (f": {', '.join(said)}" if said else "")
    return [
        Found.of("sink", "images_with_sinks", percent(images), null=0.0, unit="percent",
              answer=answer, why=why),
        *rows,
    ]  # fmt: skip


def chance(focused: np.ndarray, tokens: int) -> float:
    """Events per image were the keys of each query permuted by themselves.

    The queries that give so much to some token then give it to tokens drawn at random; an event is
    that 0.9 of all draw the same. The bound is that of Boole over tokens.
    """
    queries = np.round(focused * tokens).astype(int)
    need = int(np.ceil(QUERIES[OF] * tokens))
    tail = tokens * stats.binom.sf(need - 1, queries, 1 / tokens)
    return float(np.minimum(tail, 1).reshape(len(focused), -1).sum(1).mean())
