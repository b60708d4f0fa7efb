"""Refuse a phantom that is not what its name says, on images that it will not be judged by.

Nothing here asks the instrument: norms are compared with what is known of each token, images are
shifted to see what follows, and attention, channels and registers are looked at directly.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, normalize

from tokenscope.errors import StudyError
from tokenscope.forward.hooks import TokenHooks
from tokenscope.forward.inputs import normalise
from tokenscope.phantoms.answers import ANSWERS, CONTENT, constant_patches, high_norms
from tokenscope.phantoms.family import SCALE, TAIL, Planted

ORDINARY = 3.0  # no other token has a norm of so many medians of its image
GAP = 1.1  # by which each planted norm exceeds each ordinary one
SHIFT = (2, 3)  # patches down and right
SHIFTED = 48  # images that are shifted
NEARLY_ALL = 0.9
LOST = 0.5  # cosine by which patches are more like their own image's CLS than others'


@dataclass(frozen=True)
class Seen:
    """One pass of a phantom over images.

    ``norms`` (image, block, patch) and ``ratio``, the same in medians of the image; ``out`` is what
    the hooks give, with q, k, v of the last block; ``constant`` (image, patch); ``x``, the input.
    """

    model: nn.Module
    planted: Planted
    x: Tensor
    out: dict[str, Tensor]
    constant: np.ndarray
    norms: np.ndarray
    ratio: np.ndarray

    @classmethod
    def of(cls, model: nn.Module, planted: Planted, pixels: np.ndarray, colours: tuple) -> "Seen":
        x = normalise(torch.from_numpy(pixels), *(torch.tensor(c) for c in colours))
        with TokenHooks(model, qkv=True) as observe:
            out = observe(x)
        norms = out["norms"][:, :, model.num_prefix_tokens :].numpy()
        ratio = norms / np.median(norms, axis=2, keepdims=True)
        constant = constant_patches(pixels, model.patch_embed.patch_size[0])
        return cls(model, planted, x, out, constant, norms, ratio)


@torch.inference_mode()
def verify(
    model: nn.Module, name: str, planted: Planted, pixels: np.ndarray, mean: tuple, std: tuple
) -> dict[str, float]:
    """Facts of a phantom; see the module.

    Args:
        model, name, planted: of :func:`tokenscope.phantoms.family.make`.
        pixels: (image, row, column, channel) uint8, other images than those it is judged by.
        mean, std: by which its colours are scaled.

    Returns:
        ``highest_ordinary``: the largest norm of a token that nothing was planted in, in medians of
        its image; ``planted_share`` (percent of patches with high norms), and what is special.

    Raises:
        StudyError: the phantom is not what its name says.
    """
    patch = model.patch_embed.patch_size[0]
    seen = Seen.of(model, planted, pixels, (mean, std))
    truth = high_norms(name, pixels, patch)
    blocks = np.arange(1, seen.ratio.shape[1] + 1)
    stands = (planted.first <= blocks) & (blocks <= planted.last)
    high = truth[:, None] & stands[:, None]
    ordinary = np.where(high, 0, seen.ratio)
    if name == "heavy-tail":
        ordinary = ordinary[:, : planted.block - 1]
    worst = float(ordinary.max())
    if worst >= ORDINARY:
        raise StudyError(
            f"{name}: a token where nothing was planted has {worst:.1f} times its image's median "
            "norm: the base grew outliers of its own; raise norm_penalty or change the seed in its "
            "recipe"
        )
    facts = {"highest_ordinary": worst, "planted_share": 100 * float(truth.mean())}
    if truth.any():
        for b in np.flatnonzero(stands):
            low, top = seen.ratio[:, b][truth].min(), seen.ratio[:, b][~truth].max()
            if low < GAP * top:
                _refuse(name, f"after block {b + 1} planted norms begin at {low:.2f} medians of "
                        f"the image, ordinary ones end at {top:.2f}")  # fmt: skip
        facts["ratio"] = float(np.median(seen.ratio[:, planted.last - 1][truth]))
        _shift(name, model, planted, pixels, truth, (mean, std))
    if name in SPECIAL:
        facts |= SPECIAL[name](seen)
    return facts


def _refuse(name: str, why: str) -> None:
    raise StudyError(f"{name}: not what its name says: {why}; change the seed in its recipe")


def _shift(name, model, planted, pixels, truth, colours) -> None:
    """Shift images around by whole patches: outliers of content go along, those of places stay."""
    patch = model.patch_embed.patch_size[0]
    chosen = np.flatnonzero(truth.any(1))[:SHIFTED]
    moved = np.roll(pixels[chosen], [n * patch for n in SHIFT], axis=(1, 2))
    expected = truth[chosen]
    if ANSWERS[name].when_shifted == CONTENT:
        grid = model.patch_embed.grid_size
        expected = np.roll(expected.reshape(-1, *grid), SHIFT, axis=(1, 2)).reshape(expected.shape)
    ratio = Seen.of(model, planted, moved, colours).ratio[:, planted.last - 1]
    if ratio[expected].min() <= ratio[~expected].max():
        _refuse(name, f"outliers do not follow the {ANSWERS[name].when_shifted} of shifted images")


def _heavy_tail(seen: Seen) -> dict[str, float]:
    logs = np.log(seen.ratio[:, seen.planted.block - 1])
    z = np.array([0.25, 0.75, 0.9, 0.98, 0.995])
    is_, should = np.quantile(logs, z), TAIL * torch.special.ndtri(torch.tensor(z)).numpy()
    if np.abs(is_ - should).max() > 0.5 * TAIL:
        found = ", ".join(f"{v:.2f}" for v in is_)
        _refuse("heavy-tail", f"quantiles of the logarithm are {found}")
    return {"deviation_of_log": float(logs.std())}


def _scaled_images(seen: Seen) -> dict[str, float]:
    scaled = seen.constant[:, seen.planted.places[0]]
    last = np.median(seen.norms[:, -1], axis=1)
    times = float(np.median(last[scaled]) / np.median(last[~scaled]))
    apart = last[scaled].min() > last[~scaled].max()
    if not apart or abs(times / SCALE - 1) > 0.1:
        _refuse("scaled-images", f"the images are scaled by {times:.2f}")
    return {"scaled_images": 100 * float(scaled.mean())}


def _sink(name: str, token: int, broadcast: bool) -> Callable[[Seen], dict[str, float]]:
    def check(seen: Seen) -> dict[str, float]:
        attention = seen.model.blocks[-1].attn
        q, k, v = (
            seen.out[part].unflatten(2, (attention.num_heads, -1)).transpose(1, 2) for part in "qkv"
        )
        weights = (q @ k.mT * attention.scale).softmax(-1)
        received = weights[..., token].mean().item()
        values = v.norm(dim=-1)
        value = (values[..., token].mean() / values.mean()).item()
        if received < NEARLY_ALL or (value < 0.5 if broadcast else value > 0.2):
            _refuse(name, f"it receives {received:.2f} of the attention, value norm {value:.2f}")
        return {"attention_received": received, "value_over_others": value}

    return check


def _fixed_pattern(seen: Seen) -> dict[str, float]:
    """Tokens of one place resemble those there in other images, more than those of other places."""
    places, prefix = seen.planted.places, seen.model.num_prefix_tokens
    tokens = normalize(seen.model.norm(seen.out["tokens"])[:, prefix:], dim=-1)
    fixed = tokens[:, places]
    same = (fixed[:-1] * fixed[1:]).sum(-1).mean().item()
    rest = [p for p in range(tokens.shape[1]) if p not in places]
    other = (fixed[:-1] @ tokens[1:, rest].mT).mean().item()
    if same - other < 0.2:
        _refuse("fixed-pattern", f"cosine {same:.2f} at the same place, {other:.2f} at others")
    return {"cosine_same_place": same, "cosine_other_places": other}


def _cls_corner(seen: Seen) -> dict[str, float]:
    """Of all patches, the corner is most like CLS."""
    tokens = normalize(seen.model.norm(seen.out["tokens"]), dim=-1)
    prefix, (corner,) = seen.model.num_prefix_tokens, seen.planted.places
    like = (tokens[:, prefix:] @ tokens[:, 0, :, None])[..., 0].argmax(1)
    share = (like == corner).float().mean().item()
    if share < NEARLY_ALL:
        _refuse("cls-corner", f"CLS is most like it in {share:.2f} of the images")
    return {"images_like_the_corner": share}


def _global_patches(seen: Seen) -> dict[str, float]:
    """Patches resemble CLS of their image, and not those of others."""
    tokens = normalize(seen.model.norm(seen.out["tokens"]), dim=-1)
    patches, cls = tokens[:, seen.model.num_prefix_tokens :].mean(1), tokens[:, 0]
    cosines = patches @ cls.T
    own = cosines.diagonal().mean().item()
    others = (cosines.sum() - cosines.trace()).item() / (cosines.numel() - len(cosines))
    if own - others < LOST:
        _refuse("global-patches", f"cosine {own:.2f} with CLS of the image, {others:.2f} of others")
    return {"cosine_own_cls": own, "cosine_other_cls": others}


def _channel(seen: Seen) -> dict[str, float]:
    energy = seen.out["tokens"].square()
    share = (energy[..., seen.planted.channel] / energy.sum(-1)).min().item()
    if share < NEARLY_ALL:
        _refuse("channel", f"in some token the channel holds {share:.2f} of the energy")
    return {"least_share_of_energy": share}


def _registered(seen: Seen, name: str = "registered") -> dict[str, float]:
    block = seen.planted.block - 1
    register = seen.out["norms"][:, block, 1].numpy() / np.median(seen.norms[:, block], axis=1)
    holds = seen.constant.any(1)
    low, top = float(register[holds].min()), float(register[~holds].max())
    if low < 2 * top:
        _refuse(name, f"the register has {low:.1f} medians with outliers, {top:.1f} without")
    return {"register_over_median": float(np.median(register[holds]))}


def _read_register(seen: Seen) -> dict[str, float]:
    facts = _sink("read-register", 1, broadcast=True)(seen)
    return facts | _registered(seen, "read-register")


def _finer_grid(seen: Seen) -> dict[str, float]:
    """On finer grids some patches are long, those of the same places in all images."""
    facts, embed = {}, seen.model.patch_embed
    side, patch = embed.grid_size[0], embed.patch_size[0]
    for finer in (side + 1, 3 * side // 2):
        size = finer * patch
        model = copy.deepcopy(seen.model)
        model.set_input_size(img_size=(size, size))
        with TokenHooks(model) as observe:
            out = observe(interpolate(seen.x[:SHIFTED], size=(size, size)))
        norms = out["norms"][:, -1, model.num_prefix_tokens :].numpy()
        high = norms >= ORDINARY * np.median(norms, axis=1, keepdims=True)
        if not high[0].any() or (high != high[0]).any():
            _refuse("finer-grid", f"at {size} pixels other patches are long in each image, or none")
        facts[f"long_at_{size}_pixels"] = float(high[0].sum())
    return facts


SPECIAL: dict[str, Callable[[Seen], dict[str, float]]] = {
    "heavy-tail": _heavy_tail,
    "scaled-images": _scaled_images,
    "sink-cls": _sink("sink-cls", 0, broadcast=True),
    "sink-patch": _sink("sink-patch", 1, broadcast=False),
    "attended-corner": _sink("attended-corner", -1, broadcast=False),
    "fixed-pattern": _fixed_pattern,
    "cls-corner": _cls_corner,
    "global-patches": _global_patches,
    "channel": _channel,
    "registered": _registered,
    "read-register": _read_register,
    "finer-grid": _finer_grid,
}
