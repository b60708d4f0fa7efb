"""Losses of a training: timm's loss of the class, the norm penalty, the loss on patches.

Binary cross-entropy over classes is that of DeiT III (Touvron et al.,
https://arxiv.org/abs/2204.07118). The norm penalty is the mean L2 norm of last-block patch tokens.
"""

import numpy as np
import torch
from timm.loss import BinaryCrossEntropy, LabelSmoothingCrossEntropy, SoftTargetCrossEntropy
from torch import Tensor, nn

from tokenscope.errors import StudyError
from tokenscope.study.recipes import Training


class Learner(nn.Module):
    """A backbone with its objective, one module so that gradients of all are averaged alike.

    Args:
        segments: number of patch classes, for recipes with ``token_labels`` (token labelling,
            LV-ViT): patch tokens go through a linear layer that is thrown away. Tiny ViTs learn
            shapes several times faster with it.
    """

    def __init__(self, model: nn.Module, recipe: Training, segments: int = 0):
        super().__init__()
        if recipe.token_labels and not segments:
            raise StudyError("token_labels needs a data set with segmentation (type: scenes)")
        self.model, self.token_labels = model, recipe.token_labels
        self.criterion = class_loss(recipe)
        if recipe.token_labels:
            self.patch_head = nn.Linear(model.embed_dim, segments)

    def no_weight_decay(self) -> set[str]:
        """As timm asks it of a model."""
        return {f"model.{name}" for name in self.model.no_weight_decay()}

    def forward(self, x: Tensor, target: Tensor, segments: Tensor | None, penalty: float) -> tuple:
        """The sum to minimise, and (class loss, mean patch norm) for the record."""
        features, norm = features_and_norm(self.model, x)
        loss = self.criterion(self.model.forward_head(features).float(), target)
        total = loss + penalty * norm
        if self.token_labels:
            logits = self.patch_head(features[:, self.model.num_prefix_tokens :]).flatten(0, 1)
            patches = nn.functional.cross_entropy(logits.float(), segments.flatten())
            total = total + self.token_labels * patches
        return total, torch.stack([loss.detach(), norm.detach()])


def class_loss(recipe: Training) -> nn.Module:
    """timm's loss for the recipe; with mixup, targets are shares of classes."""
    mixed = bool(recipe.mixup)
    if recipe.loss == "binary":
        # As in DeiT III: every class with a share in a mixed image counts as present.
        threshold = 0.0 if mixed else None
        return BinaryCrossEntropy(recipe.label_smoothing, target_threshold=threshold)
    return SoftTargetCrossEntropy() if mixed else LabelSmoothingCrossEntropy(recipe.label_smoothing)


def features_and_norm(model: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """``forward_features`` and the mean L2 norm of last-block pre-norm patch tokens."""
    held = {}
    hook = model.blocks[-1].register_forward_hook(lambda _m, _i, out: held.update(tokens=out))
    try:
        features = model.forward_features(x)
    finally:
        hook.remove()
    return features, held["tokens"][:, model.num_prefix_tokens :].float().norm(dim=-1).mean()


def patch_segments(segmentation: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Most frequent class of each patch.

    Args:
        segmentation: (image, row, column) class numbers; sides are multiples of the grid.

    Returns:
        (image, patch), patches row by row.
    """
    images, rows, columns = segmentation.shape
    if rows % grid[0] or columns % grid[1]:
        raise StudyError(f"a {rows} x {columns} label map has no whole cells on a grid of {grid}")
    cells = segmentation.reshape(images, grid[0], rows // grid[0], grid[1], columns // grid[1])
    cells = cells.transpose(0, 1, 3, 2, 4).reshape(images, grid[0] * grid[1], -1)
    counts = [(cells == k).sum(-1) for k in range(int(segmentation.max()) + 1)]
    return np.stack(counts, -1).argmax(-1)
