"""Channels that drown the others: energy, participation ratio and massive activations.

Massive activations by Sun et al., "Massive Activations in Large Language Models"
(https://arxiv.org/abs/2402.17762): over 100, and over 1,000 times the median magnitude. Single
channels that grow are described in DINOv3's appendix (https://arxiv.org/abs/2508.10104).
"""

import numpy as np
import torch
from torch import Tensor

from tokenscope.kinds.answers import ONE_IN_TEN, Found, decide, percent, ratio, share_of_images
from tokenscope.kinds.block_pass import BlockView
from tokenscope.stats.bootstrap import Bootstrap

HALF = 0.5  # of the energy of all patches: a channel that outweighs all others together
MASSIVE, TIMES = 100.0, 1000.0


def look(view: BlockView) -> dict[str, Tensor]:
    """Of one block, for patches: ``energy`` and ``energy_normed`` (image, channel), sums of squares
    before and after the final norm; ``total`` (image, channel), sums; ``tops`` (image, channel), of
    how many patches it is the largest; ``massive`` (image,), massive activations of patches and
    ``massive_prefix`` of the tokens before them."""
    patches, normed = view.patches, view.normed[:, view.prefix :]
    squares = patches.square()
    tops = torch.zeros_like(squares[:, 0])
    top = squares.argmax(-1)
    tops.scatter_add_(1, top, torch.ones_like(top, dtype=tops.dtype))
    massive = massive_activations(view.tokens.float(), view.prefix)
    return {
        "energy": squares.sum(1), "energy_normed": normed.square().sum(1),
        "total": patches.sum(1), "tops": tops.to(torch.int16),
        "massive": massive[1], "massive_prefix": massive[0],
    }  # fmt: skip


def massive_activations(tokens: Tensor, prefix: int) -> tuple[Tensor, Tensor]:
    """Massive activations of each image (image,): those of the prefix tokens, and of patches."""
    low, high = tokens.aminmax()
    if max(-low, high) <= MASSIVE:  # what follows is dear, and seldom asked for
        none = torch.zeros(len(tokens), dtype=torch.int64, device=tokens.device)
        return none, none
    size = tokens.abs()
    held = (size > MASSIVE) & (size > TIMES * size.flatten(1).median(1).values[:, None, None])
    return held[:, :prefix].sum((1, 2)), held[:, prefix:].sum((1, 2))


def participation(energy: np.ndarray) -> np.ndarray:
    """(sum e)^2 / sum e^2 over channels: how many of them share the energy (..., channel)."""
    energy = energy.astype(np.float64)
    return energy.sum(-1) ** 2 / (energy**2).sum(-1)


def found(seen: dict[str, np.ndarray], bootstrap: Bootstrap) -> list[Found]:
    """Rows of kind ``channel``, from what :func:`look` left over blocks, each (image, block, ...).

    The null of a share is that of Gaussian tokens with the variance of each channel: what is left
    where a channel is large only because it is the same everywhere.
    """
    rows: list[Found] = []
    tokens = seen["tops"].sum(-1)[0, 0]
    shares = []
    for name, when in (("energy", ""), ("energy_normed", "_after_final_norm")):
        for b in range(seen[name].shape[1]):
            energy = seen[name][:, b].astype(np.float64)
            top = int(energy.sum(0).argmax())
            value = ratio(energy[:, top], energy.sum(1), bootstrap)
            null = np.nan
            if not when:
                mean = seen["total"][:, b].astype(np.float64).sum(0) / (len(energy) * tokens)
                variance = np.maximum(energy.sum(0) / (len(energy) * tokens) - mean**2, 0)
                null = float(variance.max() / max(variance.sum(), 1e-30))
                shares.append((value, b + 1, top, null))
                alike = seen["tops"][:, b, top].astype(float)
                same = ratio(100 * alike, np.full(len(alike), tokens), bootstrap)
                rows.append(
                    Found.of("channel", "tokens_with_the_same_top_channel", same, b + 1,
                          unit="percent")
                )  # fmt: skip
            rows.append(
                Found.of(
                    "channel",
                    f"top_channel_share{when}",
                    percent(value),
                    b + 1,
                    100 * null,
                    "percent",
                )
            )
            per_image = participation(energy)
            one = ratio(per_image, np.ones(len(per_image)), bootstrap)
            rows.append(
                Found.of("channel", f"participation_ratio{when}", one, b + 1, unit="channels")
            )
    for name in ("massive", "massive_prefix"):
        for b in range(seen[name].shape[1]):
            count = seen[name][:, b].astype(float)
            one = ratio(count, np.ones(len(count)), bootstrap)
            of = "patches" if name == "massive" else "prefix_tokens"
            rows.append(
                Found.of("channel", f"massive_in_{of}", one, b + 1, 0.0, "activations per image")
            )
    held = share_of_images(seen["massive"].sum(1) > 0, bootstrap.confidence)
    rows.append(
        Found.of("channel", "images_with_massive_patches", percent(held), null=0.0,
              unit="percent")
    )  # fmt: skip
    (share, block, top, null) = max(shares, key=lambda one: one[0][0])
    massive, large = decide(held, ONE_IN_TEN), decide(share, HALF)
    answer = "yes" if "yes" in (massive, large) else ("no" if massive == large else "cannot tell")
    why = (
        f"channel {top} holds {100 * share[0]:.3g} % of the patches' energy after block {block}; "
        f"massive activations in {100 * held[0]:.3g} % of the images"
    )
    headline = Found.of(
        "channel", "largest_share_of_a_channel", percent(share), block, 100 * null,
        "percent", answer, why,
    )  # fmt: skip
    return [headline, *rows]
