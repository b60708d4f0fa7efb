"""The k-NN classifier (k nearest neighbours) on frozen features, as dinov2/eval/knn.py.

The protocol of DINO (https://arxiv.org/abs/2104.14294) and DINOv2
(https://arxiv.org/abs/2304.07193).
"""

import torch
from torch import Tensor

from tokenscope.classification.features import BLOCK, SLICE, Features
from tokenscope.classification.linear import rank_of


@torch.no_grad()
def knn_ranks(
    train: Features,
    test: Features,
    name: str,
    classes: int,
    k: int = 20,
    temperature: float = 0.07,
    device: str = "cpu",
) -> Tensor:
    """Rank of the right class (1, image) by a weighted vote of the ``k`` nearest training images.

    Cosine similarity, votes weighted by exp(similarity / temperature), as DINO and DINOv2 report it
    (dinov2/eval/knn.py). Classes without a vote rank last.
    """
    k, ranked = min(k, len(train)), []
    stored_on = next(iter(train.parts.values())).device
    labels = train.labels.to(device)
    for start in range(0, len(test), SLICE):
        part = slice(start, start + SLICE)
        query = _unit(test.rows(name, part, device))
        best = query.new_full((len(query), 0), 0)
        nearest = torch.zeros_like(best, dtype=torch.long)
        for a in range(0, len(train), BLOCK):
            index = torch.arange(a, min(a + BLOCK, len(train)), device=stored_on)
            similar = query @ _unit(train.rows(name, index, device)).T
            similar, at = similar.topk(min(k, similar.shape[1]), 1)
            best, order = torch.cat([best, similar], 1).topk(k, 1) if a else (similar, None)
            nearest = at if order is None else torch.cat([nearest, at + a], 1).gather(1, order)
        votes = query.new_zeros(len(query), classes)
        votes.scatter_add_(1, labels[nearest], ((best - 1) / temperature).exp())
        ranked.append(rank_of(votes, test.labels[part].to(device)).cpu())
    return torch.cat(ranked)[None]


def _unit(rows: Tensor) -> Tensor:
    return torch.nn.functional.normalize(rows[..., :-1], dim=-1)
