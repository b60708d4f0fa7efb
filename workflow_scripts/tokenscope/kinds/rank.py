"""Rank: how many directions the patches of an image span.

Effective rank exp(entropy of the normalised singular values) (Roy and Vetterli, EUSIPCO 2007) and
stable rank, of the patch tokens after the final norm on a fixed grid, with and without outliers.
"""

import numpy as np
import torch
from torch import Tensor

from tokenscope.kinds.answers import Found, decide, mean
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
    and without outliers; ``spread_at_most`` (image, 2): what they could be.

    Args:
        places: of :func:`thinned`. outlier: (image, patch) of this batch.
    """
    tokens = view.normed[:, view.prefix :][:, places]
    ordinary = (~outlier[:, places])[..., None]
    ranks = [ranks_of(tokens), ranks_of(tokens * ordinary)]
    most = torch.stack([torch.full_like(ordinary[:, :, 0].sum(1), tokens.shape[1]),
                        ordinary[:, :, 0].sum(1)], -1)  # fmt: skip
    return {
        "effective_rank": torch.stack([r[0] for r in ranks], -1),
        "stable_rank_of_patches": torch.stack([r[1] for r in ranks], -1),
        "spread_at_most": most.clamp_max(tokens.shape[2]),
    }


def ranks_of(tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Effective and stable rank of each (token, width) of (image, token, width)."""
    tokens = tokens / tokens.abs().amax((1, 2), keepdim=True).clamp_min(1e-30)
    wide = tokens.shape[2] >= tokens.shape[1]
    gram = tokens @ tokens.mT if wide else tokens.mT @ tokens
    squared = torch.linalg.eigvalsh(gram.double()).clamp_min(0)
    singular = squared.sqrt()
    p = singular / singular.sum(-1, keepdim=True).clamp_min(1e-30)
    entropy = -(p * p.clamp_min(1e-30).log()).sum(-1)
    return entropy.exp(), squared.sum(-1) / squared.amax(-1).clamp_min(1e-30)


def found(seen: dict[str, np.ndarray], depth: int, bootstrap: Bootstrap) -> list[Found]:
    """Rows of kind ``rank``, from what :func:`look` left of the last block, (image, ...)."""
    rows = []
    for name, quantity in (("effective_rank", "effective_rank"),
                           ("stable_rank_of_patches", "stable_rank")):  # fmt: skip
        for i, of in enumerate(("", "_without_outliers")):
            rows.append(
                Found("rank", f"{quantity}{of}", *mean(seen[name][:, i], bootstrap), depth,
                      unit="directions")
            )  # fmt: skip
    most = seen["spread_at_most"][:, 0]
    share = mean(seen["effective_rank"][:, 0] / most, bootstrap)
    why = f"effective rank {rows[0].value:.3g} of {most.mean():.0f}"
    answer = {"yes": "no", "no": "yes"}.get(decide(*share[1:], FEW), "cannot tell")
    headline = Found("rank", "share_of_directions", *(100 * x for x in share), depth,
                     unit="percent", answer=answer, why=why)  # fmt: skip
    return [headline, *rows]
