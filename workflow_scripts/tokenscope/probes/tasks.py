"""The three questions put to a token: where is it, what does its patch look like, which class.

Table 1 (:class:`Position`), Table 2 (:class:`Pixels`) and Table 3 (:class:`Classes`) of the main
paper, "On the Reproducibility of Vision Transformers Need Registers".

Many linear probes are trained as one (see tokenscope.probes.trainer): K pairs of a group of tokens
and a seed, each with L learning rates. Shapes: tokens x (K, B, D), weights w (K, D, L * C), outputs
z (K, B, L, C). Gradients are written out, because autograd would keep several copies of z.
"""

import torch
from torch import Tensor

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
CACHE = 2**18  # floats of z that a CPU works on at once; more would not stay in its cache


class Classes:
    """Which of C classes: softmax and cross-entropy. Targets are (row,) class numbers."""

    criterion, sign = "top1", 1.0
    decay, bias = 0.0, None

    def __init__(self, classes: int):
        self.outputs = classes

    def gradient(
        self, x: Tensor, w: Tensor, target: Tensor, rates: int, out: Tensor, kept: float = 0.0
    ) -> None:
        """Write the gradient (K, D, L * C) of the mean loss to ``out``; ``target`` is (K, B).

        ``kept`` is the share of what ``out`` holds that stays in it: a momentum takes the gradient
        of its step without another pass over either.
        """
        batch = x.shape[1]
        size = batch if x.is_cuda else max(32, CACHE // (x.shape[0] * w.shape[2]))
        for first in range(0, batch, size):
            part = x[:, first : first + size]
            z = torch.bmm(part, w).unflatten(2, (rates, self.outputs))
            true = target[:, first : first + size]
            slope = self._slope(softmax(z), true)
            at = true[:, :, None, None].expand(*slope.shape[:3], 1)
            slope.scatter_add_(3, at, torch.full_like(at, -1, dtype=slope.dtype))
            turned = part.transpose(1, 2)
            beta = 1.0 if first else kept
            out.baddbmm_(turned, slope.flatten(2), beta=beta, alpha=1 / batch)

    def _slope(self, p: Tensor, target: Tensor) -> Tensor:
        """d loss / d z from the probabilities, but for the 1 at the true class; may reuse p."""
        return p

    def scores(self, z: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Per token (K, B, L), not averaged: ``top1`` is 1 for a hit."""
        return {"top1": (z.argmax(-1) == target[:, :, None]).float()}


class Position(Classes):
    """Which place of the patch grid: cross-entropy + 0.5 x MSE of the expected coordinate.

    Coordinates are counted in patches; the expected one is the mean of all places under the
    softmax (main paper, section on local information; protocol, claim 4).
    """

    weight = 0.5

    def __init__(self, grid: tuple[int, int], device: str = "cpu"):
        super().__init__(grid[0] * grid[1])
        place = torch.meshgrid(*(torch.arange(n) for n in grid), indexing="ij")
        self.axes = torch.stack([p.flatten() for p in place]).float().to(device)
        self.place = self.axes.T.contiguous()
        self.plane = torch.cat([self.axes, torch.ones_like(self.axes[:1])])

    def _slope(self, p: Tensor, target: Tensor) -> Tensor:
        flat = p.view(-1, self.outputs)
        expected = torch.stack([torch.mv(flat, axis) for axis in self.axes], 1)
        expected = expected.view(*p.shape[:3], 2)
        # Slope of weight * (mean over both coordinates of the squared error) by the coordinate.
        error = self.weight * (expected - self.place[target][:, :, None])
        level = 1 - (error * expected).sum(-1, keepdim=True)
        factor = torch.cat([error, level], -1).view(-1, 3) @ self.plane
        return flat.mul_(factor).view(p.shape)

    def scores(self, z: Tensor, target: Tensor) -> dict[str, Tensor]:
        """``top1``, and ``distance`` in patches between the likeliest and the true place."""
        guess = z.argmax(-1)
        apart = self.place[guess] - self.place[target][:, :, None]
        hit = (guess == target[:, :, None]).float()
        return {"top1": hit, "distance": torch.linalg.vector_norm(apart, dim=-1)}


class Pixels:
    """The pixels of the patch itself: linear regression, mean squared error, weight decay.

    Targets (row, 3 p^2) are uint8, scaled as ImageNet's evaluation scales them (mean and standard
    deviation by channel), for every backbone: errors of different backbones then compare.
    The gradient is X^T X w - X^T y, whose dear factors all learning rates share. Training begins
    at ``bias`` (group, 3 p^2), the mean patch, so that no probe is worse for lack of steps.
    """

    criterion, sign = "l2_squared", -1.0
    decay = 0.01

    def __init__(self, pixels: int, device: str = "cpu", bias: Tensor | None = None):
        self.outputs = pixels
        self.bias = None if bias is None else bias.to(device)
        repeats = pixels // 3
        self.mean = 255 * torch.tensor(MEAN, device=device).repeat(repeats)
        self.std = 255 * torch.tensor(STD, device=device).repeat(repeats)

    def scaled(self, target: Tensor) -> Tensor:
        """uint8 pixels in units of the target."""
        return (target.float() - self.mean) / self.std

    def gradient(self, x: Tensor, w: Tensor, target: Tensor, rates: int, out: Tensor) -> None:
        """Write the gradient of half the squared error of a token; ``target`` is (K, B, C)."""
        turned, scale = x.transpose(1, 2), 1 / x.shape[1]
        gram, cross = torch.bmm(turned, x), torch.bmm(turned, self.scaled(target))
        out.unflatten(2, (rates, self.outputs)).copy_(cross[:, :, None])
        out.baddbmm_(gram, w, beta=-scale, alpha=scale)

    def scores(self, z: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Squared L2 error of a patch, and its root."""
        squared = (z - self.scaled(target)[:, :, None]).square().sum(-1)
        return {"l2_squared": squared, "l2": squared.sqrt()}


def softmax(z: Tensor) -> Tensor:
    """Over the last dimension; may reuse z."""
    if z.is_cuda or z.shape[-1] >= 16:
        return torch.softmax(z, -1)
    # On a CPU torch's own is slow where a row is shorter than a vector register.
    z.sub_(z.amax(-1, keepdim=True)).exp_()
    return z.div_(z.sum(-1, keepdim=True))
