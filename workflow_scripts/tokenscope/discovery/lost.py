"""LOST: one object per image, from the similarities of its patches.

Simeoni et al. "Localizing Objects with Self-Supervised Transformers and no Labels",
https://arxiv.org/abs/2109.14279.

For patch features F (patch, feature) and A = F F^T: the degree of a patch is the number of other
patches with A > 0, the seed is the patch of lowest degree, and of the ``candidates`` patches of
lowest degree those with A[seed] > 0 are summed up: the patches whose summed similarity to them is
positive, and which hang together with the seed (up, down, left, right), make the object.

Darcet et al. "Vision Transformers Need Registers" (https://arxiv.org/abs/2309.16588) add a bias
to A which they did not publish. Here it is
``A = F F^T + bias * s`` with s the median squared norm of the image's patches, which makes it a
cosine where features are normalised (s = 1) and comparable between backbones where they are not.
A bias of 0 is LOST as published.

Degrees are whole numbers, and ties for the lowest are frequent. Here the patch that comes first,
row by row, is taken; other implementations take another of the same degree. How much that matters
is measured with orders of patches drawn at random in its place (:func:`orders`).
"""

from functools import lru_cache
from itertools import groupby
from typing import NamedTuple

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

CANDIDATES = 100  # of the published method
CACHED_ENTRIES = 2**20  # of a Gram matrix: 4 MB
AT_ONCE = 8  # biases that a GPU counts for at once, in memory of two matrices
# Neighbours within an image of a stack, none between images: one call labels them all.
_CROSS = np.zeros((3, 3, 3), bool)
_CROSS[1] = ndimage.generate_binary_structure(2, 1)


class Expansion(NamedTuple):
    """What LOST sees of B images in Z ways (n patches); tensors on the features' device.

    seed (B, Z): patch. degree (B, Z, n): number of other patches with positive similarity.
    similar (B, Z, n): the candidates that agree with the seed. mask (B, Z, n): patches whose
    summed similarity to them is positive.
    """

    seed: Tensor
    degree: Tensor
    similar: Tensor
    mask: Tensor


def orders(count: int, draws: int, seed: int = 0) -> Tensor:
    """Orders of ``count`` patches at random (draw, patch): the rank of each patch at a tie."""
    generator = torch.Generator().manual_seed(seed)
    return torch.stack([torch.randperm(count, generator=generator) for _ in range(draws)])


def expand(
    features: Tensor, ways: list[tuple[bool, float]], candidates: int = CANDIDATES,
    ties: Tensor | None = None,
) -> Expansion:  # fmt: skip
    """Degrees, seeds and expansions of a batch of images of one size.

    One product of features serves all ways, normalised or not.

    Args:
        features: (B, n, feature), patches only.
        ways: whether features are scaled to length one, and the bias, see the module; Z of them.
        ties: (Z, n) rank of each patch among those of equal degree, in each way; by default the
            patch that comes first, row by row.
    """
    count = features.shape[1]
    # On a CPU a few images at a time, so that their similarities stay in its cache.
    few = len(features) if features.is_cuda else max(1, CACHED_ENTRIES // count**2)
    ranks = torch.arange(count, device=features.device) if ties is None else ties
    ranks = ranks.to(features.device).expand(len(ways), -1)
    parts = [_expand(part.float(), ways, candidates, ranks) for part in features.split(few)]
    return Expansion(*(torch.cat(values) for values in zip(*parts, strict=True)))


def _expand(
    features: Tensor, ways: list[tuple[bool, float]], candidates: int, ranks: Tensor
) -> Expansion:
    gram = features @ features.transpose(1, 2)
    above, parts = None if gram.is_cuda else torch.empty_like(gram), []
    for normalised, group in groupby(ways, key=lambda way: way[0]):
        alike = gram
        if normalised:
            inverse = gram.diagonal(dim1=1, dim2=2).sqrt().clamp_min(1e-12).reciprocal()
            alike = (inverse[:, :, None] * inverse[:, None, :]).mul_(gram)
        biases = [bias for _, bias in group]
        own, ranks = ranks.split([len(biases), len(ranks) - len(biases)])
        parts.append(_biased(alike, biases, candidates, own, above))
    return Expansion(*(torch.cat(values, 1) for values in zip(*parts, strict=True)))


def _biased(
    gram: Tensor, biases: list[float], candidates: int, ranks: Tensor, above: Tensor | None
) -> Expansion:
    """LOST on similarities (B, n, n) under every bias; ``above``, of a CPU, is overwritten."""
    n = gram.shape[1]
    own = gram.diagonal(dim1=1, dim2=2)
    median = own.quantile(0.5, dim=1)[:, None]
    different = tuple(dict.fromkeys(biases))  # orders of ties share a bias, and so its degrees
    limits = -(median * _on_device(different, gram.device))
    degree = _at_once(gram, limits) if above is None else _in_turn(gram, limits, above)
    degree -= (own[:, None, :] > limits[:, :, None]).long()
    shift = median * _on_device(tuple(biases), gram.device)
    if len(different) < len(biases):
        place = tuple(different.index(bias) for bias in biases)
        degree = degree.index_select(1, _on_device(place, gram.device, torch.long))
    order = degree * n + ranks  # unique: a stable sort without one
    low = order.topk(min(candidates, n), largest=False, sorted=True).indices
    seed = low[:, :, 0]
    row = gram.gather(1, seed[:, :, None].expand(-1, -1, n)) + shift[:, :, None]
    similar = torch.zeros_like(row).scatter_(2, low, (row.gather(2, low) > 0).float())
    summed = similar @ gram + shift[:, :, None] * similar.sum(2, keepdim=True)
    return Expansion(seed, degree, similar > 0, summed > 0)


def _in_turn(gram: Tensor, limits: Tensor, above: Tensor) -> Tensor:
    """How many entries of each row are above each limit (B, Z): whole numbers (B, Z, n).

    One limit after the other, while a CPU's cache holds the matrix; ``above`` is overwritten.
    """
    counts = []
    for limit in limits.unbind(1):
        torch.gt(gram, limit[:, None, None], out=above)  # as floats: summed faster than booleans
        counts.append(above.sum(-1))
    return torch.stack(counts, 1).long()


def _at_once(gram: Tensor, limits: Tensor) -> Tensor:
    """The same for a GPU, which holds no matrix in its cache: two launches for up to AT_ONCE limits
    read it from memory once, and write and read a byte for each limit in place of a float.
    """
    parts = limits[:, :, None, None].split(AT_ONCE, 1)
    return torch.cat([(gram[:, None] > part).sum(-1) for part in parts], 1)


@lru_cache(64)
def _on_device(values: tuple, device: torch.device, dtype: torch.dtype = torch.float32) -> Tensor:
    """Numbers as a tensor, made once: each copy from the host would wait for the device."""
    with torch.inference_mode(False):
        return torch.tensor(values, device=device, dtype=dtype)


def components(mask: np.ndarray, seed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The part of each mask that hangs together with its seed, and the box around it.

    Args:
        mask: (m, row, column) booleans.
        seed: (m,) patch index, row by row.

    Returns:
        component (m, row, column) and box (m, 4) as left, top, right, bottom in patches,
        half-open. A seed outside its own mask has an empty component and the box 0, 0, 0, 0.
    """
    labels, _ = ndimage.label(mask, _CROSS)
    number = labels.reshape(len(mask), -1)[np.arange(len(mask)), seed]
    component = (labels == number[:, None, None]) & (number > 0)[:, None, None]
    box = np.zeros((len(mask), 4), np.int64)
    for axis, first in ((1, 0), (2, 1)):  # over rows: columns, left and right
        line = component.any(axis)
        box[:, first] = line.argmax(1)
        box[:, first + 2] = line.shape[1] - line[:, ::-1].argmax(1)
    box[number == 0] = 0
    return component, box


def to_pixels(box: np.ndarray, patch: int, size: np.ndarray) -> np.ndarray:
    """Boxes in patches (m, 4) as pixels, clipped to images of ``size`` (m, 2): width, height."""
    return np.minimum(box * patch, np.concatenate([size, size], 1))
