"""Rank: how many directions the patches of an image span.

Effective rank exp(entropy of the normalised singular values) (Roy and Vetterli, EUSIPCO 2007) and
stable rank, of the patch tokens after the final norm on a fixed grid, with and without outliers.
"""

import numpy as np
import torch
from torch import Tensor

from tokenscope.kinds.answers import Found, decide, mean, percent
from tokenscope.kinds.block_pass import BlockView
from tokenscope.stats.bootstrap import Bootstrap

GRID = 14  # the fixed grid: finer ones are thinned to it, for rank grows with the tokens
FEW = 0.05  # of the directions that as many tokens could span


def thinned(grid: tuple[int, int]) -> Tensor:
    """Numbers of the patches of a grid that stand for it, evenly spread."""
    rows, columns = (np.linspace(0, n - 1, min(n, GRID)).round().astype(int) for n in grid)
    return torch.from_numpy((rows[:, None] * grid[1] + columns).ravel())


def look(view: BlockView, places: Tensor, outlier: Tensor) -> dict[str, Tensor]:
    """Of the last block: ``effective_rank``, ``stable_rank_of_patches`` (image, 2): of all patches
    and without outliers; ``spread_at_most`` (image,): what they could be.

    Args:
        places: of :func:`thinned`. outlier: (image, patch) of this batch.
    """
    tokens = view.normed[:, view.prefix :][:, places]
    ordinary = ~outlier[:, places]
    whole = ranks_of(tokens)
    without = whole if ordinary.all() else ranks_of(tokens * ordinary[..., None])
    effective, stable = (torch.stack(pair, -1) for pair in zip(whole, without, strict=True))
    most = torch.full((len(tokens),), min(tokens.shape[1:]))
    return {
        "effective_rank": effective, "stable_rank_of_patches": stable, "spread_at_most": most,
    }  # fmt: skip


def ranks_of(tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Effective and stable rank of each (token, width) of (image, token, width)."""
    # Of the smaller Gram matrix, in double precision: the small ones count too.
    tokens = tokens.double() if tokens.shape[1] <= tokens.shape[2] else tokens.double().mT
    singular = torch.linalg.eigvalsh(tokens @ tokens.mT).clamp_min(0).sqrt()
    p = singular / singular.sum(-1, keepdim=True).clamp_min(1e-30)
    entropy = -(p * p.clamp_min(1e-30).log()).sum(-1)
    stable = singular.square().sum(-1) / singular.amax(-1).square().clamp_min(1e-30)
    return entropy.exp().float(), stable.float()


def found(seen: dict[str, np.ndarray], depth: int, bootstrap: Bootstrap) -> list[Found]:
    """Rows of kind ``rank``, from what :func:`look` left of the last block, (image, ...)."""
    rows = []
    for name, quantity in (("effective_rank", "effective_rank"),
                           ("stable_rank_of_patches", "stable_rank")):  # fmt: skip
        for i, of in enumerate(("", "_without_outliers")):
            rows.append(
                Found.of("rank", f"{quantity}{of}", mean(seen[name][:, i], bootstrap), depth,
                      unit="directions")
            )  # fmt: skip
    most = seen["spread_at_most"]
    share = mean(seen["effective_rank"][:, 0] / most, bootstrap)
    why = f"effective rank {rows[0].value:.3g} of {most.mean():.0f}"
    answer = {"yes": "no", "no": "yes"}.get(decide(share, FEW), "cannot tell")
    headline = Found.of("rank", "share_of_directions", percent(share), depth,
                     unit="percent", answer=answer, why=why)  # fmt: skip
    return [headline, *rows]
