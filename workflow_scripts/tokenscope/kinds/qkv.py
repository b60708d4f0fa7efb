"""Queries, keys and values beside the output: what the main paper's appendix A tells in words.

Outliers are said to have low queries and values, and high keys. Per block: norms of q, k and v over
all heads, their rank correlation with the output norm over the patches of an image, and how much of
the lowest 2 % in q or v is among the highest 2 % in k or in the output.
"""

import numpy as np
import torch
from torch import Tensor
from torch.linalg import vector_norm

from tokenscope.forward.attention import top_count
from tokenscope.kinds.answers import Found, decide, does_not_apply, mean, percent
from tokenscope.kinds.block_pass import BlockView
from tokenscope.stats.bootstrap import Bootstrap

FACETS = ("q", "k", "v")
PAIRS = (("q", "k"), ("q", "output"), ("v", "k"), ("v", "output"), ("k", "output"))
MANY = 5.0  # times what permuted patches share


def look(view: BlockView) -> dict[str, Tensor]:
    """``qkv_norm`` (image, facet): mean norm over patches of q, k, v; ``qkv_rho`` (image, facet):
    rank correlation with the output norm; ``qkv_overlap`` (image, pair): share of the lowest (of
    q, v; of k the highest) that is among the highest of the other."""
    norms = {
        name: vector_norm(value[:, :, view.prefix :].float(), dim=(1, 3))
        for name, value in zip(FACETS, (view.call.q, view.call.k, view.call.v), strict=True)
    }
    norms["output"] = view.patches.norm(dim=-1)
    ranks = {name: centred_ranks(value) for name, value in norms.items()}
    rho = [(ranks[name] * ranks["output"]).sum(-1) for name in FACETS]
    return {
        "qkv_norm": torch.stack([norms[name].mean(-1) for name in FACETS], -1),
        "qkv_rho": torch.stack(rho, -1),
        "qkv_overlap": torch.stack(
            [overlap(norms[a], norms[b], highest=a == "k") for a, b in PAIRS], -1
        ),
    }


def centred_ranks(values: Tensor) -> Tensor:
    """Ranks of (image, patch), of mean zero and length one: their product is Spearman's rho."""
    order = values.argsort(-1)
    places = torch.arange(values.shape[-1], dtype=torch.float32, device=values.device)
    ranks = torch.empty_like(values, dtype=torch.float32)
    ranks.scatter_(-1, order, places.expand_as(order))
    ranks = ranks - ranks.mean(-1, keepdim=True)
    return ranks / ranks.norm(dim=-1, keepdim=True).clamp_min(1e-30)


def overlap(first: Tensor, other: Tensor, highest: bool) -> Tensor:
    """Share of the lowest (or highest) 2 % of the patches that are among the highest in ``other``.

    Args:
        first, other: (image, patch).
    """
    count = top_count(first.shape[-1])
    a = first.topk(count, dim=-1, largest=highest).indices
    b = other.topk(count, dim=-1).indices
    return (a[:, :, None] == b[:, None, :]).any(-1).float().mean(-1)


def found(
    seen: dict[str, np.ndarray], patches: int, judged: int, bootstrap: Bootstrap
) -> list[Found]:
    """Rows of kind ``qkv``; ``judged`` is the block with outliers, 0 where there are none."""
    rows, chance = [], top_count(patches) / patches
    for b in range(seen["qkv_norm"].shape[1]):
        for i, name in enumerate(FACETS):
            norm = mean(seen["qkv_norm"][:, b, i], bootstrap)
            rho = mean(seen["qkv_rho"][:, b, i], bootstrap)
            rows.append(Found.of("qkv", f"norm_{name}", norm, b + 1))
            rows.append(Found.of("qkv", f"rank_correlation_{name}_output", rho, b + 1, 0.0))
        for i, (a, other) in enumerate(PAIRS):
            share = percent(mean(seen["qkv_overlap"][:, b, i], bootstrap))
            side = "highest" if a == "k" else "lowest"
            name = f"{side}_{a}_among_highest_{other}"
            rows.append(Found.of("qkv", name, share, b + 1, 100 * chance, "percent"))
    if not judged:
        why = "no patch is an outlier here; the numbers stand in the table"
        return [does_not_apply("qkv", "lowest_among_highest_output", why), *rows]
    # In the attention that reads the outliers, whose queries, keys and values are theirs.
    reads = min(judged + 1, seen["qkv_norm"].shape[1])
    shares = {
        facet: mean(seen["qkv_overlap"][:, reads - 1, PAIRS.index((facet, "output"))], bootstrap)
        for facet in ("q", "v")
    }
    said = [decide(share, MANY * chance) for share in shares.values()]
    answer = "yes" if "yes" in said else ("no" if set(said) == {"no"} else "cannot tell")
    facet, most = max(shares.items(), key=lambda item: item[1][0])
    why = f"{100 * most[0]:.3g} % of the patches of lowest {facet} are of highest output"
    headline = Found.of("qkv", "lowest_among_highest_output", percent(most), reads,
                     100 * chance, "percent", answer, why)  # fmt: skip
    return [headline, *rows]
