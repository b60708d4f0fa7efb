"""What outliers and registers are used for, by experiment: they are replaced, block after block.

From the block where they arise, outliers are replaced by the mean of the ordinary patches of their
image, or by outliers of another image; beside it as many ordinary patches drawn at random.
Registers are replaced by their mean over images, by those of another image, and by zeros (which
alone misleads: https://arxiv.org/abs/2604.14433). What changes in the output is read as 1 - cosine.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from tokenscope.kinds.answers import (
    ONE_IN_TWENTY,
    Found,
    decide,
    does_not_apply,
    mean,
    percent,
    share_of_images,
)
from tokenscope.stats.bootstrap import Bootstrap

CHANGE = 0.01  # 1 - cosine of the pooled feature beyond the control: less is no use
HIGH = 3.0  # medians of the image's patches
OUTLIER_WAYS, REGISTER_WAYS = ("mean", "shuffled", "control"), ("mean", "shuffled", "zeros")
Swap = Callable[[int, Tensor], Tensor]  # block from 1, tokens (image, token, width)


class Replaced:
    """While it is active, what a block hands on is changed: ``with Replaced(model, swap): ...``."""

    def __init__(self, model: nn.Module, swap: Swap):
        self.model, self.swap = model, swap

    def __enter__(self) -> "Replaced":
        self.hooks = [
            block.register_forward_hook(lambda _m, _i, out, n=n: self.swap(n, out))
            for n, block in enumerate(self.model.blocks, 1)
        ]
        return self

    def __exit__(self, *_) -> None:
        for hook in self.hooks:
            hook.remove()


def outlier_swap(way: str, mask: Tensor, control: Tensor, first: int, prefix: int) -> Swap:
    """Replace outliers after every block from ``first`` on.

    Args:
        way: ``mean`` of the ordinary patches of the image; ``shuffled``: by outliers of the next
            image that has some (its own mean where none has); ``control``: random ordinary patches
            by the mean.
        mask: (image, patch), outliers. control: as many ordinary patches.
    """

    def swap(block: int, tokens: Tensor) -> Tensor:
        if block < first:
            return tokens
        patches = tokens[:, prefix:]
        rest = (~mask)[..., None].to(tokens.dtype)
        average = (patches * rest).sum(1, keepdim=True) / rest.sum(1, keepdim=True).clamp_min(1)
        new = average.expand_as(patches)
        if way == "shuffled":
            new = new.clone()
            holders = mask.any(1).nonzero()[:, 0].tolist()
            for here, giver in zip(holders, holders[1:] + holders[:1], strict=True):
                given = patches[giver][mask[giver]]
                places = mask[here].nonzero()[:, 0]
                new[here, places] = given[torch.arange(len(places), device=given.device)
                                          % len(given)]  # fmt: skip
        where = control if way == "control" else mask
        return torch.cat([tokens[:, :prefix], torch.where(where[..., None], new, patches)], 1)

    return swap


def register_swap(stored: Tensor, at: slice) -> Swap:
    """Replace registers after every block.

    Args:
        stored: (image, block, register, width), by what. at: where registers stand.
    """

    def swap(block: int, tokens: Tensor) -> Tensor:
        tokens = tokens.clone()
        tokens[:, at] = stored[:, block - 1].to(tokens.device, tokens.dtype)
        return tokens

    return swap


def random_like(mask: np.ndarray, seed: int) -> np.ndarray:
    """As many patches of each image, drawn among those that are not in the mask (image, patch)."""
    drawn = np.random.default_rng(seed).random(mask.shape)
    drawn[mask] = 2.0
    order = drawn.argsort(1).argsort(1)
    return (order < mask.sum(1, keepdims=True)) & ~mask


def other_registers(way: str, stored: Tensor) -> Tensor:
    """Registers (image, block, register, width) of all images, replaced one of three ways."""
    if way == "zeros":
        return torch.zeros_like(stored)
    if way == "mean":
        return stored.mean(0, keepdim=True).expand_as(stored)
    return stored.roll(1, 0)


@torch.inference_mode()
def output(model: nn.Module, features: Tensor, has_head: bool) -> dict[str, Tensor]:
    """What users take of a model: ``pooled`` (image, width), ``patches``, and ``logits``."""
    pooled = model.forward_head(features, pre_logits=True).float()
    out = {"pooled": pooled, "patches": features[:, model.num_prefix_tokens :].float()}
    if has_head:
        out["logits"] = model.forward_head(features).float()
    return out


def change(before: dict[str, Tensor], after: dict[str, Tensor], kept: Tensor) -> dict[str, Tensor]:
    """What became different, each (image,): ``pooled`` and ``patches`` as 1 - cosine, patches over
    those of ``kept`` (image, patch) alone; ``agrees`` of the head's first class."""
    cosine = torch.nn.functional.cosine_similarity
    patches = 1 - cosine(before["patches"], after["patches"], dim=-1)
    held = kept.float()
    out = {
        "pooled": 1 - cosine(before["pooled"], after["pooled"], dim=-1),
        "patches": (patches * held).sum(1) / held.sum(1).clamp_min(1),
    }
    if "logits" in before:
        first = after["logits"].argmax(-1)
        out["agrees"] = (before["logits"].argmax(-1) == first).float()
        out["top1_class"] = first
    return out


def found(
    kind: str, changes: dict[str, dict[str, np.ndarray]], control: str, counted: np.ndarray,
    labels: np.ndarray | None, block: int, bootstrap: Bootstrap,
) -> list[Found]:  # fmt: skip
    """Rows of ``outlier-use`` or ``register-use``: does the output hang on what was replaced?

    Args:
        changes: by way, what :func:`change` gave, and under ``none`` the classes without any.
        control: the way whose change is subtracted; empty for none.
        counted: (image,), those that hold something to replace. labels: (image,), of the head.
    """
    if not counted.any():
        return [does_not_apply(kind, "pooled_change", "there is nothing to replace")]
    weight, rows = counted.astype(float), []
    bare = changes.get("none", {}).get("top1_class")
    for way, values in changes.items():
        for name, unit in (("pooled", "1 - cosine"), ("patches", "1 - cosine"),
                           ("agrees", "percent")):  # fmt: skip
            if name in values:
                scale = 100 if unit == "percent" else 1
                value, low, high, _ = bootstrap.ratio(scale * values[name] * weight, weight)
                quantity = "top1_agreement" if name == "agrees" else f"{name}_change"
                rows.append(Found(kind, f"{quantity}_{way}", value, low, high, block, unit=unit))
        if labels is not None and way != "none" and "top1_class" in values:
            right = (values["top1_class"] == labels).astype(float) - (bare == labels)
            value, low, high, _ = bootstrap.ratio(100 * right * weight, weight)
            rows.append(Found(kind, f"top1_change_{way}", value, low, high, block, 0.0, "points"))
    extra = changes["mean"]["pooled"]
    null = 0.0
    if control:
        null = float((changes[control]["pooled"] * weight).sum() / weight.sum())
        extra = extra - changes[control]["pooled"]
    value, low, high, _ = bootstrap.ratio(extra * weight, weight)
    answer = decide((value, low, high), CHANGE)
    why = f"1 - cosine of the output {value + null:.3g} when replaced by the mean"
    why += f", {null:.3g} for as many ordinary patches" if control else ""
    headline = Found(kind, "pooled_change", value + null, low + null, high + null, block, null,
                     "1 - cosine", answer, why)  # fmt: skip
    return [headline, *rows]


def register_norms(ratios: np.ndarray, kinds: list[str], bootstrap: Bootstrap) -> list[Found]:
    """Rows of kind ``register-norm``: a register is high at three times the median patch.

    Args:
        ratios: (image, block, prefix token), norms over the median of the image's patches.
        kinds: of the prefix tokens.
    """
    at = [i for i, name in enumerate(kinds) if name.startswith("reg")]
    if not at:
        return [does_not_apply("register-norm", "images_with_a_high_register", "no registers")]
    rows = [
        Found.of("register-norm", f"norm_of_{kinds[i]}", mean(ratios[:, b, i], bootstrap), b + 1,
              unit="x median patch")
        for i in at for b in range(ratios.shape[1])
    ]  # fmt: skip
    high = np.asarray((ratios[:, :, at] > HIGH).any(-1))
    block = int(high.mean(0).argmax())
    share = share_of_images(high[:, block], bootstrap.confidence)
    largest = float(ratios[:, block, at].max(1).mean())
    why = f"the largest is {largest:.3g} x the median patch on average, after block {block + 1}"
    headline = Found.of(
        "register-norm", "images_with_a_high_register", percent(share), block + 1,
        null=0.0, unit="percent", answer=decide(share, ONE_IN_TWENTY), why=why,
    )  # fmt: skip
    return [headline, *rows]
