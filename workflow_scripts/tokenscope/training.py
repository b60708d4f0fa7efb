"""Train a ViT with registers from scratch, with timm's own optimiser, scheduler and loss."""

from collections.abc import Callable

import numpy as np
import torch
from timm.loss import LabelSmoothingCrossEntropy
from timm.optim import create_optimizer_v2
from timm.scheduler import CosineLRScheduler
from torch import Tensor, nn

from tokenscope.errors import StudyError
from tokenscope.taps import normalise


def train(
    model: nn.Module,
    pixels: np.ndarray,
    labels: np.ndarray,
    recipe: dict,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    device: str = "cpu",
    segments: np.ndarray | None = None,
    progress: Callable[[dict], None] = lambda row: None,
) -> list[dict]:
    """Train ``model`` in place; deterministic for the recipe's seed on one machine.

    Args:
        pixels: (image, row, column, channel) uint8, in memory.
        labels: (image,) class numbers.
        recipe: ``epochs, batch_size, optimizer, lr, weight_decay, warmup, label_smoothing,
            norm_penalty, token_labels, validation, seed``. ``norm_penalty`` weighs the mean L2
            norm of the patch tokens after the last block, before the final norm (tmlr-4353).
        segments: (image, patch) class of each patch, for recipes with ``token_labels`` above 0:
            the weight of a second loss, on patch tokens (token labelling, LV-ViT), through a
            linear layer that is thrown away. Tiny ViTs learn shapes several times faster with it.
        progress: called with the row of each epoch.

    Returns:
        a row per epoch: epoch, lr, loss, penalty (mean patch norm), validation top-1 in percent.

    Raises:
        StudyError: labels beyond the model's classes, or a loss that is no longer finite.
    """
    if labels.min() < 0 or labels.max() >= model.num_classes:
        raise StudyError(
            f"labels run from {labels.min()} to {labels.max()}, the model has "
            f"{model.num_classes} classes (recipe: model, num_classes)"
        )
    generator = torch.Generator().manual_seed(recipe["seed"])
    order = torch.randperm(len(labels), generator=generator)
    held = order[: int(recipe["validation"] * len(labels))]
    kept = order[len(held) :]
    images, targets = torch.from_numpy(pixels), torch.from_numpy(np.asarray(labels, np.int64))
    scale = [torch.tensor(v, device=device) for v in (mean, std)]
    model.to(device).train()
    patch_loss = _PatchLoss(model, segments, recipe["token_labels"]).to(device)
    optimizer = create_optimizer_v2(
        nn.ModuleList([model, patch_loss]),
        opt=recipe["optimizer"],
        lr=recipe["lr"],
        weight_decay=recipe["weight_decay"],
    )
    steps = len(kept) // recipe["batch_size"]
    if steps < 1:
        raise StudyError(f"{len(kept)} training images are fewer than one batch")
    scheduler = CosineLRScheduler(
        optimizer,
        t_initial=recipe["epochs"] * steps,
        lr_min=recipe["lr"] / 100,
        warmup_t=int(recipe["warmup"] * recipe["epochs"] * steps),
        warmup_lr_init=recipe["lr"] / 100,
        t_in_epochs=False,
    )
    criterion = LabelSmoothingCrossEntropy(recipe["label_smoothing"])
    history, update = [], 0
    for epoch in range(recipe["epochs"]):
        shuffled = kept[torch.randperm(len(kept), generator=generator)]
        losses, norms = [], []
        for batch in shuffled[: steps * recipe["batch_size"]].view(steps, -1):
            scheduler.step_update(update)
            update += 1
            flip = torch.rand(len(batch), generator=generator) < 0.5
            x = _mirror(images[batch], flip, 2).to(device)
            features, norm = features_and_norm(model, normalise(x, *scale))
            loss = criterion(model.forward_head(features), targets[batch].to(device))
            extra = patch_loss(features, batch, flip) + recipe["norm_penalty"] * norm
            (loss + extra).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            losses.append(loss.item())
            norms.append(norm.item())
        row = {
            "epoch": epoch + 1,
            "lr": optimizer.param_groups[0]["lr"],
            "loss": float(np.mean(losses)),
            "patch_norm": float(np.mean(norms)),
            "top1": accuracy(model, images[held], targets[held], scale),
        }
        if not np.isfinite(row["loss"]):
            raise StudyError(f"the loss is {row['loss']} in epoch {epoch + 1}: lower the lr")
        history.append(row)
        progress(row)
    model.eval()
    return history


def features_and_norm(model: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """``forward_features`` and the mean L2 norm of last-block pre-norm patch tokens."""
    held = {}
    hook = model.blocks[-1].register_forward_hook(lambda _m, _i, out: held.update(tokens=out))
    try:
        features = model.forward_features(x)
    finally:
        hook.remove()
    return features, held["tokens"][:, model.num_prefix_tokens :].norm(dim=-1).mean()


def _mirror(x: Tensor, flip: Tensor, dim: int) -> Tensor:
    """Mirror the chosen items of a batch along ``dim``."""
    return torch.where(flip.view(-1, *[1] * (x.ndim - 1)), x.flip(dim), x)


class _PatchLoss(nn.Module):
    """Weighted cross-entropy of patch tokens with the class of their patch; zero when unused."""

    def __init__(self, model: nn.Module, segments: np.ndarray | None, weight: float):
        super().__init__()
        if weight and segments is None:
            raise StudyError("token_labels needs a data set with segmentation (type: scenes)")
        self.weight, self.prefix = weight, model.num_prefix_tokens
        if weight:
            grid = model.patch_embed.grid_size
            self.segments = torch.from_numpy(segments.astype(np.int64)).unflatten(1, grid)
            self.head = nn.Linear(model.embed_dim, int(segments.max()) + 1)

    def forward(self, features: Tensor, batch: Tensor, flip: Tensor) -> Tensor | float:
        if not self.weight:
            return 0.0
        target = _mirror(self.segments[batch], flip, 2).flatten().to(features.device)
        logits = self.head(features[:, self.prefix :]).flatten(0, 1)
        return self.weight * nn.functional.cross_entropy(logits, target)


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


@torch.inference_mode()
def accuracy(model: nn.Module, images: Tensor, targets: Tensor, scale: list[Tensor]) -> float:
    """Top-1 in percent; NaN without images."""
    if not len(images):
        return float("nan")
    model.eval()
    hits = 0
    for x, y in zip(images.split(128), targets.split(128), strict=True):
        logits = model(normalise(x.to(scale[0].device), *scale))
        hits += (logits.argmax(-1).cpu() == y).sum().item()
    model.train()
    return 100 * hits / len(images)
