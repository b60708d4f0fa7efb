"""Everything the claims need from a backbone, out of one forward pass.

Hooks reduce each block's output to norms on the device, so that no block's tokens are kept but the
last one's. The fused attention stays on: of the last block only the rows of the prefix tokens
(CLS, registers) are recomputed, from the very q and k that the attention was given.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from tokenscope.errors import StudyError

SUPPORTED = ("Attention", "EvaAttention", "AttentionRope")
NEIGHBOURS = ("up", "right", "down", "left")


def refuse_unsupported(model: nn.Module, name: str) -> None:
    """Raise a StudyError unless every block of ``model`` is a plain attention + MLP block."""
    blocks = getattr(model, "blocks", None)
    if blocks is None or not hasattr(model, "num_prefix_tokens"):
        raise StudyError(
            f"{name} is a {type(model).__name__}, no Vision Transformer with a list of blocks; "
            "tokens can be taken from timm's VisionTransformer and Eva models"
        )
    for index, block in enumerate(blocks):
        kind = type(getattr(block, "attn", None)).__name__
        if kind not in SUPPORTED:
            raise StudyError(
                f"{name}: block {index} ({type(block).__name__}) has attention of kind '{kind}'; "
                f"its rows can be recomputed only for {', '.join(SUPPORTED)}"
            )


class AttentionTap(TorchFunctionMode):
    """Notes the arguments of scaled_dot_product_attention while it is active."""

    def __init__(self):
        super().__init__()
        self.calls: list[tuple] = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention:
            self.calls.append((args, kwargs))
        return func(*args, **kwargs)


def attention_rows(q: Tensor, k: Tensor, queries: int, scale: float | None = None) -> Tensor:
    """softmax(q k^T / sqrt d) of the first ``queries`` rows, mean over heads, in float32.

    Args:
        q, k: (batch, head, token, feature) as the attention sees them, after q/k norms and RoPE.

    Returns:
        (batch, queries, token).
    """
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    with torch.autocast(q.device.type, enabled=False):
        scores = (q[:, :, :queries].float() * scale) @ k.float().transpose(-2, -1)
        return scores.softmax(-1).mean(1)


def neighbour_cosine(patches: Tensor, grid: tuple[int, int]) -> Tensor:
    """Cosine similarity of each patch embedding with its neighbours; NaN where there is none.

    Args:
        patches: (batch, patch, feature), right after the patch embedding, without position.
        grid: rows and columns of the patch grid; rows do not wrap.

    Returns:
        (batch, patch, 4) in the order of :data:`NEIGHBOURS`, float32.
    """
    rows, columns = grid
    x = F.normalize(patches.float(), dim=-1).unflatten(1, grid)
    out = x.new_full((x.shape[0], rows, columns, 4), torch.nan)
    vertical = (x[:, 1:] * x[:, :-1]).sum(-1).clamp(-1, 1)
    horizontal = (x[:, :, 1:] * x[:, :, :-1]).sum(-1).clamp(-1, 1)
    out[:, 1:, :, 0], out[:, :-1, :, 2] = vertical, vertical
    out[:, :, :-1, 1], out[:, :, 1:, 3] = horizontal, horizontal
    return out.flatten(1, 2)


def normalise(pixels: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """uint8 (batch, row, column, channel) to float (batch, channel, row, column), standardised."""
    return ((pixels.float() / 255 - mean) / std).permute(0, 3, 1, 2)


class Taps:
    """Observes a backbone: ``with Taps(model) as observe: out = observe(x)``.

    Args:
        model: a timm VisionTransformer or Eva, in evaluation mode.
        qkv: also return q, k, v of the last block.
        logits: also return the logits of the model's own head.
        cls_blocks: also return the CLS token of this many of the last blocks.

    The call returns a dict (N tokens, R registers, B batch, D width):
        norms (B, block, N): L2 norm of every token after every block, float32.
        tokens (B, N, D): after the last block, before the final norm.
        attention (B, queries, patch): rows of the prefix tokens in the last block.
        neighbour_cosine (B, patch, 4): see :func:`neighbour_cosine`.
        cls (B, D), patch_mean (B, D), registers (B, R, D): of ``forward_features``, that is after
            the final norm, except in models that pool first and normalise then (``fc_norm``).
        cls_blocks (B, block, D): CLS token of the last blocks, each after the final norm.
        q, k, v (B, N, D): heads side by side.
        logits (B, classes).
    Keys without content (no CLS, no registers) are left out.
    """

    def __init__(
        self, model: nn.Module, qkv: bool = False, logits: bool = False, cls_blocks: int = 0
    ):
        self.model, self.qkv, self.logits, self.cls_blocks = model, qkv, logits, cls_blocks
        self.prefix = model.num_prefix_tokens
        self.has_cls = model.cls_token is not None
        self.tap = AttentionTap()
        self.norms: list[Tensor] = []
        self.cls: list[Tensor] = []
        self.cosine: Tensor | None = None
        self.last: Tensor | None = None

    def __enter__(self) -> "Taps":
        model, attention = self.model, self.model.blocks[-1].attn
        self.hooks = [
            model.patch_embed.register_forward_hook(self._on_patches),
            attention.register_forward_pre_hook(self._before_attention),
            attention.register_forward_hook(self._after_attention, always_call=True),
            *(block.register_forward_hook(self._on_block) for block in model.blocks),
        ]
        return self

    def __exit__(self, *_) -> None:
        for hook in self.hooks:
            hook.remove()

    # At once, so that the embedding need not be kept while the blocks run.
    def _on_patches(self, _module, _inputs, output: Tensor) -> None:
        patches = output.flatten(1, 2) if output.ndim == 4 else output
        self.cosine = neighbour_cosine(patches, self.grid)

    # The tap sees every torch call while it is active, so it is so only in the last attention.
    def _before_attention(self, *_) -> None:
        self.tap.__enter__()

    def _after_attention(self, *_) -> None:
        self.tap.__exit__(None, None, None)

    def _on_block(self, _module, _inputs, output: Tensor) -> None:
        self.norms.append(torch.linalg.vector_norm(output, dim=-1, dtype=torch.float32))
        if self.cls_blocks:
            self.cls.append(output[:, 0])
        self.last = output

    def __call__(self, x: Tensor) -> dict[str, Tensor]:
        self.norms.clear()
        self.cls.clear()
        self.tap.calls.clear()
        patch = self.model.patch_embed.patch_size
        self.grid = (x.shape[2] // patch[0], x.shape[3] // patch[1])
        features = self.model.forward_features(x)
        self._check(self.grid)
        out = {
            "norms": torch.stack(self.norms, dim=1),
            "tokens": self.last,
            "neighbour_cosine": self.cosine,
            "patch_mean": features[:, self.prefix :].mean(1),
        }
        (q, k, v, *_), options = self.tap.calls[0]
        if self.prefix:
            rows = attention_rows(q, k, self.prefix, options.get("scale"))
            out["attention"] = rows[:, :, self.prefix :]
        if self.has_cls:
            out["cls"] = features[:, 0]
        if self.cls_blocks:
            out["cls_blocks"] = self.model.norm(torch.stack(self.cls[-self.cls_blocks :], 1))
        if self.prefix > self.has_cls:
            out["registers"] = features[:, int(self.has_cls) : self.prefix]
        if self.qkv:
            for name, value in (("q", q), ("k", k), ("v", v)):
                out[name] = value.transpose(1, 2).flatten(2)
        if self.logits:
            out["logits"] = self.model.forward_head(features)
        return out

    def _check(self, grid: tuple[int, int]) -> None:
        """Loud when hooks and tokens do not add up: a silent shift would look like a result."""
        blocks, tokens = len(self.model.blocks), self.prefix + grid[0] * grid[1]
        if len(self.norms) != blocks or self.last.shape[1] != tokens:
            raise StudyError(
                f"{type(self.model).__name__}: {len(self.norms)} block outputs of "
                f"{self.last.shape[1]} tokens, expected {blocks} of {tokens} "
                f"({self.prefix} prefix tokens and a grid of {grid[0]} x {grid[1]})"
            )
        if len(self.tap.calls) != 1:
            raise StudyError(
                f"{type(self.model).__name__}: the last block called the fused attention "
                f"{len(self.tap.calls)} times instead of once; its rows cannot be recomputed"
            )


def token_kinds(model: nn.Module) -> list[str]:
    """Names of the prefix tokens in their order: cls, reg0, reg1 ..."""
    has_cls = model.cls_token is not None
    registers = model.num_prefix_tokens - has_cls
    return ["cls"] * has_cls + [f"reg{i}" for i in range(registers)]
