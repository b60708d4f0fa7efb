"""Segmentation head and depth head: linear, on patch tokens, with their losses.

Segmentation: batch norm and a 1 x 1 convolution (linear evaluation of DINOv2, Oquab et al.,
https://arxiv.org/abs/2304.07193). Depth: a 1 x 1 convolution of patch token and CLS to bins of
uniform width, four times finer by interpolation; the expected depth of the normalised bins;
scale-invariant log loss (AdaBins, Bhat et al., https://arxiv.org/abs/2011.14141; DINOv2's linear
evaluation, whose gradient loss is left out).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tokenscope.dense.map_datasets import IGNORE


class SegmentationHead(nn.Module):
    """Class scores (B, classes, row, column) from tokens (B, width, row, column)."""

    with_cls = False
    warm_up = 0

    def __init__(self, width: int, settings: dict, classes: int):
        super().__init__()
        self.norm = nn.BatchNorm2d(width)
        self.predict = nn.Conv2d(width, classes, 1)
        nn.init.normal_(self.predict.weight, std=0.01)
        nn.init.zeros_(self.predict.bias)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.predict(self.norm(tokens))

    def loss(self, scores: Tensor, target: Tensor, step: int) -> Tensor:
        """Cross-entropy over pixels that count."""
        return F.cross_entropy(scores, target.long(), ignore_index=IGNORE)

    def finish(self, scores: Tensor) -> Tensor:
        """Classes (B, row, column)."""
        return scores.argmax(1)


class DepthHead(nn.Module):
    """Depth in metres (B, 1, 4 x row, 4 x column) from tokens with CLS (B, 2 x width, ...)."""

    with_cls = True
    warm_up = 100  # steps of another loss

    def __init__(self, width: int, settings: dict, classes: int = 0):
        super().__init__()
        self.near, self.far = settings["nearest"], settings["farthest"]
        self.upsample = settings["upsample"]
        self.predict = nn.Conv2d(width, settings["bins"], 1)
        bins = torch.linspace(self.near, self.far, settings["bins"])
        self.register_buffer("bins", bins)

    def forward(self, tokens: Tensor) -> Tensor:
        # Interpolation and a 1 x 1 convolution are both linear: the cheaper one goes first.
        scores = F.interpolate(self.predict(tokens), scale_factor=self.upsample, mode="bilinear")
        weight = F.relu(scores) + 0.1
        return expected_depth(weight, self.bins)

    def loss(self, depth: Tensor, target: Tensor, step: int) -> Tensor:
        """See :func:`scale_invariant`; the first steps see the mean only, as in DINOv2."""
        return scale_invariant(depth[:, 0], target, warm_up=step < self.warm_up)

    def finish(self, depth: Tensor) -> Tensor:
        """Metres (B, row, column), between nearest and farthest."""
        return depth[:, 0].clamp(self.near, self.far)


def expected_depth(weight: Tensor, bins: Tensor) -> Tensor:
    """Mean of the bins' depths under weights (B, bin, row, column) >= 0: (B, 1, row, column)."""
    return torch.einsum("bkrc,k->brc", weight / weight.sum(1, keepdim=True), bins)[:, None]


def scale_invariant(depth: Tensor, target: Tensor, warm_up: bool = False) -> Tensor:
    """sqrt(var(g) + 0.15 mean(g)^2) of g = log depth - log target, where there is a target > 0."""
    # Others count nothing, rather than being picked out: a GPU would have to say how many are left.
    valid = target > 0
    count = valid.sum()
    depth, target = (torch.where(valid, v, torch.ones_like(v)) + 1e-3 for v in (depth, target))
    g = torch.log(depth) - torch.log(target)
    mean = g.sum() / count.clamp_min(1)
    spread = 0 if warm_up else ((g - mean).square() * valid).sum() / (count - 1).clamp_min(1)
    return torch.sqrt(spread + 0.15 * mean**2 + 1e-12) * (count > 1)


HEADS = {"segmentation": SegmentationHead, "depth": DepthHead}
