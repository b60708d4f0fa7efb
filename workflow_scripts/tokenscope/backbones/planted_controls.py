"""Controls with a known answer: one neuron that makes outliers, put into a trained ViT by hand.

The mechanism marks exactly the patches whose pixels are constant, which can be read off the image
without any network:

1. Eight channels of the residual stream are reserved: nothing trained writes or reads them.
2. Six of them carry fixed zero-sum filters of the patch (their response to a constant patch is
   zero), one stays zero as a reference, one is the flag.
3. In the first block, twelve MLP neurons (+ and - of each filter) add up |response| into the flag:
   the flag is zero for a constant patch and positive for any other. CLS starts with a raised flag.
4. In the chosen block, one neuron fires where the flag is down and writes one large vector.

``clean`` has everything but the vector of step 4, and is the negative control.
"""

import copy
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from tokenscope.errors import StudyError
from tokenscope.forward.hooks import TokenHooks
from tokenscope.forward.inputs import normalise
from tokenscope.norms.outlier_rule import cutoff, outlier_mask

FILTERS = 6
FILTER_GAIN = 0.03  # keeps filter responses small beside the stream
CONTRAST_GAIN = 5000.0  # one grey level in one pixel already saturates |response|
FLAG_GAIN = 2e-4
CLS_FLAG = 0.05  # quenches the neuron at CLS; small beside the CLS token, whose norm is about 0.1
FIRE, QUENCH = 10.0, 1e5  # pre-activation of the planted neuron: FIRE - QUENCH * flag


@dataclass(frozen=True)
class Planted:
    """Where the mechanism sits: ``block`` (counted from 1), ``neuron``, length of its vector."""

    block: int
    neuron: int
    length: float


@torch.no_grad()
def plant(
    base: nn.Module, block: int, times_median: float, sample: Tensor, seed: int
) -> tuple[nn.Module, nn.Module, Planted]:
    """Build the two controls from a trained ViT without registers.

    Args:
        base: timm VisionTransformer with plain blocks.
        block: of the planted neuron, counted from 1; not the first.
        times_median: length of the vector, in medians of the base's last-block patch norm.
        sample: (image, channel, row, column) normalised images to measure that median.
        seed: of filters and vector.

    Returns:
        the clean and the planted model, and where the mechanism is.
    """
    if not 1 < block <= len(base.blocks):
        raise StudyError(f"plant: block {block} must lie in 2-{len(base.blocks)}")
    generator = torch.Generator().manual_seed(seed)
    clean = copy.deepcopy(base).eval()
    writes = sum(b.attn.proj.weight.norm(dim=1) + b.mlp.fc2.weight.norm(dim=1) for b in base.blocks)
    reserved = writes.argsort()[: FILTERS + 2].tolist()
    *filters, zero, flag = reserved
    _reserve(clean, reserved)
    _filter_patches(clean, filters, generator)
    clean.cls_token[..., flag] = CLS_FLAG
    _raise_flag(clean.blocks[0], filters, zero, flag)

    mlp = clean.blocks[block - 1].mlp
    neuron = int(mlp.fc2.weight.norm(dim=0).argmin())
    _neutral_norm(clean.blocks[block - 1].norm2, reserved)
    mlp.fc1.weight[neuron] = 0
    mlp.fc1.weight[neuron, flag], mlp.fc1.weight[neuron, zero] = -QUENCH, QUENCH
    mlp.fc1.bias[neuron] = FIRE
    mlp.fc2.weight[:, neuron] = 0

    with TokenHooks(clean) as observe:
        median = observe(sample)["norms"][:, -1, clean.num_prefix_tokens :].median().item()
    vector = torch.randn(base.embed_dim, generator=generator)
    vector[reserved] = 0
    others = vector != 0
    vector[others] -= vector[others].mean()
    planted = copy.deepcopy(clean)
    length = times_median * median
    planted.blocks[block - 1].mlp.fc2.weight[:, neuron] = vector / vector.norm() * length / FIRE
    return clean, planted, Planted(block, neuron, length)


def _reserve(model: nn.Module, channels: list[int]) -> None:
    """Nothing writes to these channels of the stream and nothing reads them."""
    model.patch_embed.proj.weight[channels] = 0
    model.patch_embed.proj.bias[channels] = 0
    model.pos_embed[..., channels] = 0
    model.cls_token[..., channels] = 0
    for b in model.blocks:
        for writer in (b.attn.proj, b.mlp.fc2):
            writer.weight[channels] = 0
            writer.bias[channels] = 0
        for reader in (b.attn.qkv, b.mlp.fc1):
            reader.weight[:, channels] = 0
    model.head.weight[:, channels] = 0


def _filter_patches(model: nn.Module, channels: list[int], generator: torch.Generator) -> None:
    """Random +-1 patterns, as many of each sign in every colour: zero for a constant patch."""
    conv = model.patch_embed.proj
    colours, side, _ = conv.weight.shape[1:]
    signs = torch.ones(side * side)
    signs[: side * side // 2] = -1
    for channel in channels:
        for colour in range(colours):
            order = torch.randperm(side * side, generator=generator)
            conv.weight[channel, colour] = FILTER_GAIN * signs[order].view(side, side)


def _neutral_norm(norm: nn.LayerNorm, channels: list[int]) -> None:
    norm.weight[channels] = 1
    norm.bias[channels] = 0


def _raise_flag(block: nn.Module, filters: list[int], zero: int, flag: int) -> None:
    mlp = block.mlp
    _neutral_norm(block.norm2, [*filters, zero, flag])
    neurons = mlp.fc2.weight.norm(dim=0).argsort()[: 2 * len(filters)].tolist()
    for i, channel in enumerate(filters):
        for sign, neuron in ((1.0, neurons[2 * i]), (-1.0, neurons[2 * i + 1])):
            mlp.fc1.weight[neuron] = 0
            # The difference to the reference channel removes the mean that LayerNorm subtracts.
            mlp.fc1.weight[neuron, channel] = sign * CONTRAST_GAIN
            mlp.fc1.weight[neuron, zero] = -sign * CONTRAST_GAIN
            mlp.fc1.bias[neuron] = 0
            mlp.fc2.weight[:, neuron] = 0
            mlp.fc2.weight[flag, neuron] = FLAG_GAIN


def constant_patches(pixels: np.ndarray, patch: int) -> np.ndarray:
    """The planted truth, from pixels alone: which patches have one single colour.

    Args:
        pixels: (image, row, column, channel) uint8.

    Returns:
        (image, patch) bool, patches row by row.
    """
    n, rows, columns, channels = pixels.shape
    if rows % patch or columns % patch:
        raise StudyError(f"images of {rows} x {columns} have no whole grid of patches of {patch}")
    tiles = pixels.reshape(n, rows // patch, patch, columns // patch, patch, channels)
    same = tiles.max(axis=(2, 4)) == tiles.min(axis=(2, 4))
    return same.all(-1).reshape(n, -1)


@torch.inference_mode()
def verify(
    clean: nn.Module,
    planted: nn.Module,
    pixels: np.ndarray,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    times_median: float,
) -> dict:
    """Refuse controls whose answer is not what it should be, on images they will not be judged by.

    Returns:
        largest norm over median of the clean control, share of planted tokens (percent).

    Raises:
        StudyError: the clean control has an outlier, or the planted ones are not the planted.
    """
    x = normalise(torch.from_numpy(pixels), torch.tensor(mean), torch.tensor(std))
    prefix = clean.num_prefix_tokens
    truth = constant_patches(pixels, clean.patch_embed.patch_size[0])
    with TokenHooks(clean) as observe:
        norms = observe(x)["norms"][:, :, prefix:].numpy()
    worst = float((norms / cutoff(norms, 1)[:, None]).max())
    with TokenHooks(planted) as observe:
        last = observe(x)["norms"][:, -1, prefix:].numpy()
    measured = outlier_mask(last, times_median)
    if worst >= times_median:
        raise StudyError(
            f"the negative control has a token of {worst:.1f} times the median norm: its base "
            "grew outliers of its own; raise norm_penalty or change the seed in its recipe"
        )
    if (measured != truth).any():
        raise StudyError(
            f"the positive control shows outliers at {measured.sum()} tokens, planted were "
            f"{truth.sum()}; {(measured != truth).sum()} differ"
        )
    return {"clean_max_over_median": worst, "planted_share": 100 * float(truth.mean())}
