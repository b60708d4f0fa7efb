"""Registers without training (Jiang et al. 2025): the neurons that write outliers get a token.

Jiang et al., "Vision Transformers Don't Need Trained Registers" (https://arxiv.org/abs/2506.08010).

In a ViT with outlier tokens a few MLP neurons fire at exactly those patches, in the blocks where
the norm jumps. They are found from data: mean |activation| at outlier patches against all others,
times the length of the vector that the neuron adds to the residual stream. Attached, each of them
fires on extra tokens instead, as strongly as it would have on the strongest patch of that image.
Weights stay as they are.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from tokenscope.backbones.registers import add_registers, why_none_fit
from tokenscope.errors import StudyError
from tokenscope.forward.precision import autocast, exact

LEAVES = ("zero", "median")
TOP = 256  # neurons of a block that the published ranking can name
QUIET, SPARSE = 0.5, 0.5  # of the published search: a neuron is sparse if half of it is below this


@dataclass(frozen=True)
class Scores:
    """What the neurons of one block do, on two disjoint halves of the images (half, neuron).

    ``outlier`` and ``normal`` are mean |activation| at outlier patches and elsewhere, ``length``
    (neuron) is the norm of the vector that an activation of 1 adds to the residual stream.
    ``published`` (neuron) is the score of the published search, over all images:
    :func:`published_rank`.
    """

    block: int
    outlier: np.ndarray
    normal: np.ndarray
    length: np.ndarray
    published: np.ndarray | None = None

    def contribution(self, halves=slice(None)) -> np.ndarray:
        """Norm that each neuron adds at outlier patches beyond what it adds elsewhere."""
        return np.nanmean((self.outlier - self.normal)[halves], axis=0) * self.length


class _Activations:
    """Hands the input of ``mlp.fc2`` of the given blocks (0-based) to a function, as it comes."""

    def __init__(self, model: nn.Module, blocks: Iterable[int], see: Callable[[int, Tensor], None]):
        self.model, self.blocks, self.see = model, blocks, see

    def __enter__(self) -> "_Activations":
        self.hooks = [
            second_layer(self.model, b).register_forward_pre_hook(
                lambda _module, args, b=b: self.see(b, args[0])
            )
            for b in self.blocks
        ]
        return self

    def __exit__(self, *_) -> None:
        for hook in self.hooks:
            hook.remove()


def second_layer(model: nn.Module, block: int) -> nn.Linear:
    """The layer that reads a block's activations (0-based): of GELU and of gated MLPs alike."""
    layer = getattr(getattr(model.blocks[block], "mlp", None), "fc2", None)
    if not isinstance(layer, nn.Linear):
        raise StudyError(
            f"block {block + 1} of this {type(model).__name__} has no MLP with a layer fc2: its "
            "neurons cannot be told apart"
        )
    return layer


def written_length(model: nn.Module, block: int) -> Tensor:
    """Norm of what each neuron of a block (0-based) adds to the stream per unit of activation."""
    scale = getattr(model.blocks[block], "ls2", None)
    gamma = (
        scale.gamma if hasattr(scale, "gamma") else getattr(model.blocks[block], "gamma_2", None)
    )
    weight = second_layer(model, block).weight.detach().float()
    return (weight if gamma is None else weight * gamma.detach().float()[:, None]).norm(dim=0)


@torch.inference_mode()
def score(
    model: nn.Module, batches: Iterable[tuple[Tensor, np.ndarray, np.ndarray]], blocks: int
) -> list[Scores]:
    """Scores of all neurons of the first ``blocks`` blocks, in one pass.

    Args:
        batches: normalised images, outlier mask (image, patch), half (0 or 1) of each image.
    """
    prefix = model.num_prefix_tokens
    sums, published = [0.0] * blocks, [0.0] * blocks
    counts, with_outlier = np.zeros((2, 2)), 0
    weights: Tensor | None = None
    share: Tensor | None = (
        None  # of each patch (image, patch) in the mean over its image's outliers
    )

    def see(block: int, activation: Tensor) -> None:
        size = activation[:, prefix:].float().abs()
        with exact(size.device):
            sums[block] = sums[block] + (weights.T @ size.flatten(0, 1)).double().cpu().numpy()
            mean = torch.einsum("ip,ipn->in", share, size)
        sparse = (activation < QUIET).float().mean(1) >= SPARSE
        published[block] = published[block] + (mean * sparse).sum(0).double().cpu().numpy()

    with _Activations(model, range(blocks), see):
        for images, outlier, half in batches:
            at = outlier.astype(int)  # column 2 x half + (0 normal, 1 outlier), one of four
            column = torch.from_numpy((2 * half[:, None] + at).ravel())
            weights = nn.functional.one_hot(column, 4).float().to(images.device)
            share = torch.from_numpy(outlier / np.maximum(1, outlier.sum(1, keepdims=True)))
            share = share.float().to(images.device)
            with_outlier += int(outlier.any(1).sum())
            counts += np.bincount(column.numpy(), minlength=4).reshape(2, 2)
            with autocast(images.device):
                model.forward_features(images)
    scores = []
    for b in range(blocks):
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = sums[b].reshape(2, 2, -1) / counts[..., None]
        length = written_length(model, b).cpu().numpy()
        theirs = np.broadcast_to(published[b] / max(1, with_outlier), length.shape)
        scores.append(Scores(b + 1, mean[:, 1], mean[:, 0], length, theirs))
    return scores


def published_rank(scores: list[Scores], highest: int) -> list[tuple[int, int]]:
    """Neurons (block from 1, neuron) as the published search ranks them (Jiang et al. 2025).

    By mean |activation| at outliers, image by image, whatever a neuron writes and whatever it does
    elsewhere; counted only in images where it is sparse: below :data:`QUIET` in the share
    :data:`SPARSE` of the tokens or more.

    Args:
        highest: block after which outliers appear: later ones take no part.
    """
    found = [
        (s.published[n], s.block, int(n))
        for s in scores
        if s.block <= highest
        for n in np.argsort(-s.published, kind="stable")[: 4 * TOP]
    ]
    found.sort(key=lambda item: (-item[0], item[1], item[2]))
    return [(block, neuron) for _, block, neuron in found]


def published_count(blocks: int) -> int:
    """How many the published configurations move: 10 of a ViT-B, 50 of 24 blocks or more."""
    return 10 if blocks < 24 else 50


def rank(scores: list[Scores], contrast: float, halves=slice(None)) -> list[tuple[int, int]]:
    """Neurons (block from 1, neuron) by falling contribution.

    Only those that fire at least ``contrast`` times as strongly at outliers as elsewhere.
    """
    candidates = []
    for s in scores:
        outlier, normal = np.nanmean(s.outlier[halves], 0), np.nanmean(s.normal[halves], 0)
        for neuron in np.flatnonzero(outlier >= contrast * normal):
            candidates.append((s.contribution(halves)[neuron], s.block, int(neuron)))
    candidates.sort(key=lambda item: (-item[0], item[1], item[2]))
    return [(block, neuron) for _, block, neuron in candidates]


def overlap(first: list, second: list) -> float:
    """Jaccard index of two sets of neurons; NaN where both are empty."""
    a, b = set(map(tuple, first)), set(map(tuple, second))
    return len(a & b) / len(a | b) if a | b else float("nan")


def random_neurons(
    model: nn.Module, neurons: list[tuple[int, int]], seed: int
) -> list[tuple[int, int]]:
    """As many neurons of the same blocks, drawn from all the others: the control."""
    generator, taken = np.random.default_rng(seed), set(map(tuple, neurons))
    drawn = []
    for block in sorted({b for b, _ in taken}):
        others = [
            n for n in range(second_layer(model, block - 1).in_features) if (block, n) not in taken
        ]
        count = sum(b == block for b, _ in taken)
        drawn += [(block, int(n)) for n in sorted(generator.choice(others, count, replace=False))]
    return drawn


def attach(
    model: nn.Module, neurons: list[tuple[int, int]], registers: int, leaves: str = "zero",
    moves: bool = True,
) -> nn.Module:  # fmt: skip
    """Add ``registers`` tokens after CLS and let the neurons fire there; in place.

    Of each neuron and each image, the activation that is largest in absolute value over the patches
    goes to the registers in equal parts; the patches keep nothing (``leaves='zero'``) or that
    image's median of the neuron (``'median'``). CLS keeps its own. The registers enter the first
    block as zeros. With no register or no neuron the model is left alone, to the bit. Without
    ``moves`` the patches lose the activations and no register gets them: the control that says
    whether it matters where they go.

    Raises:
        StudyError: a model that has registers already, or no such block or neuron.
    """
    if leaves not in LEAVES:
        raise StudyError(f"testtime: leaves: '{leaves}' is none of {', '.join(LEAVES)}")
    if not registers or not neurons:
        return model
    if why := why_none_fit(model):
        raise StudyError(why)
    if model.num_prefix_tokens > (model.cls_token is not None):
        raise StudyError("registers are added at test time only to a backbone without registers")
    for block, neuron in neurons:
        if not (1 <= block <= len(model.blocks)):
            raise StudyError(f"there is no block {block} in a backbone of {len(model.blocks)}")
        if not 0 <= neuron < second_layer(model, block - 1).in_features:
            raise StudyError(f"block {block} has no neuron {neuron}")
    move(add_empty(model, registers), neurons, registers, leaves, moves)
    return model


def add_empty(model: nn.Module, registers: int) -> nn.Module:
    """Registers that enter the first block as zeros and that nothing fires on, in place."""
    add_registers(model, registers, std=0)
    first = int(model.cls_token is not None)
    model.blocks[0].register_forward_pre_hook(_Zero(first, registers))
    return model


def move(
    model: nn.Module, neurons: list[tuple[int, int]], registers: int, leaves: str = "zero",
    moves: bool = True,
) -> list[RemovableHandle]:  # fmt: skip
    """Let neurons fire on registers that a model was given before, see :func:`attach`.

    Returns:
        what takes it back: ``remove()`` each.
    """
    hooks, first = [], int(model.cls_token is not None)
    for block in sorted({b for b, _ in neurons}):
        layer = second_layer(model, block - 1)
        moved = torch.tensor(sorted(n for b, n in neurons if b == block))
        layer.register_buffer("moved_neurons", moved.to(layer.weight.device), persistent=False)
        hooks.append(layer.register_forward_pre_hook(_Move(first, registers, leaves, moves)))
    return hooks


@dataclass(frozen=True)
class _Zero:
    """The registers enter the blocks as zeros, whatever a norm before the blocks made of them."""

    first: int
    registers: int

    def __call__(self, _block: nn.Module, args: tuple) -> tuple:
        x = args[0].clone()
        x[:, self.first : self.first + self.registers] = 0
        return x, *args[1:]


@dataclass(frozen=True)
class _Move:
    """Moves activations from the patches to the registers, image by image, neuron by neuron."""

    first: int
    registers: int
    leaves: str
    moves: bool

    def __call__(self, layer: nn.Module, args: tuple) -> tuple:
        x, which, end = args[0].clone(), layer.moved_neurons, self.first + self.registers
        patches = x[:, end:, which]
        largest = patches.gather(1, patches.abs().argmax(1, keepdim=True))
        if self.moves:
            x[:, self.first : end, which] = largest / self.registers
        x[:, end:, which] = patches.median(1, keepdim=True).values if self.leaves == "median" else 0
        return x, *args[1:]
