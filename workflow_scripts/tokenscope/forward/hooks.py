"""Forward hooks that take everything the claims need from a backbone, out of one forward pass.

They reduce each block's output to norms on the device, so that no block's tokens are kept but the
last one's. The fused attention stays on: of the last block only the rows of the prefix tokens
(CLS, registers) are recomputed, from the very arguments that the attention was given, and of the
others the row of CLS, where it is asked for. Where q and k have a norm of their own, a GPU gives
them in float32 and rounds them to bfloat16 inside: the rows are then off by its 2^-9.
"""

from typing import Any

import torch
from torch import Tensor, nn

from tokenscope.errors import StudyError
from tokenscope.forward.attention import AttentionCall, AttentionInputs
from tokenscope.forward.neighbour_cosine import neighbour_cosine
from tokenscope.forward.precision import exact
from tokenscope.forward.tokens import pools_by_attention, registers_among, token_kinds


class TokenHooks:
    """Observes a backbone: ``with TokenHooks(model) as observe: out = observe(x)``.

    Args:
        model: a timm VisionTransformer or Eva, in evaluation mode.
        qkv: also return q, k, v of the last block.
        logits: also return the logits of the model's own head.
        cls_blocks: also return the CLS token of this many of the last blocks.
        block_attention: also return the attention of CLS in every block; without CLS there is none.
        tokens_after: number of the block, from 1, after which ``tokens`` are taken; None: the last.

    The call takes pixels, and a slice (or indices) of the images whose attention in every block is
    wanted. It returns a dict (N tokens, R registers, B batch, D width):
        norms (B, block, N): L2 norm of every token after every block, float32.
        tokens (B, N, D): after the last block (or ``tokens_after``), before the final norm.
        attention (B, queries, patch): rows of the prefix tokens in the last block.
        attention_received (B, patch): of models without CLS, what each patch gets in the last
            block, mean over all queries and heads: the row of no token.
        attention_pooling (B, patch): of models without CLS that pool by attention (MAP), the row of
            the latent query over the final tokens, mean over heads and latents.
        block_attention (images, block, patch): row of CLS in every block.
        neighbour_cosine (B, patch, 4): see :func:`neighbour_cosine`.
        cls (B, D), patch_mean (B, D), registers (B, R, D): of ``forward_features``, that is after
            the final norm, except in models that pool first and normalise then (``fc_norm``).
        cls_blocks (B, block, D): CLS token of the last blocks, each after the final norm.
        q, k, v (B, N, D): heads side by side.
        logits (B, classes).
    Keys without content (no CLS, no registers) are left out; a distillation token is no register.
    """

    def __init__(
        self, model: nn.Module, qkv: bool = False, logits: bool = False, cls_blocks: int = 0,
        block_attention: bool = False, tokens_after: int | None = None,
    ):  # fmt: skip
        self.model, self.qkv, self.logits, self.cls_blocks = model, qkv, logits, cls_blocks
        self.prefix = model.num_prefix_tokens
        kinds = token_kinds(model)
        self.has_cls, self.registers = "cls" in kinds, registers_among(kinds)
        self.pooling = not self.has_cls and pools_by_attention(model)
        self.block_attention = block_attention and self.has_cls
        self.tokens_after = len(model.blocks) if tokens_after is None else tokens_after
        if not 1 <= self.tokens_after <= len(model.blocks):
            raise StudyError(
                f"tokens after block {tokens_after} are asked for, {type(model).__name__} has "
                f"{len(model.blocks)}"
            )
        self.attention_inputs = AttentionInputs()
        self.norms: list[Tensor] = []
        self.cls: list[Tensor] = []
        self.calls: list[AttentionCall] = []  # the last block's
        self.rows: list[Tensor] = []  # of CLS, in every block
        self.counts: list[int] = []  # of calls of each block observed
        self.images: Any = slice(None)
        self.cosine: Tensor | None = None
        self.last: Tensor | None = None
        self.tokens: Tensor | None = None

    def __enter__(self) -> "TokenHooks":
        model = self.model
        observed = model.blocks if self.block_attention else model.blocks[-1:]
        self.hooks = [
            model.patch_embed.register_forward_hook(self._on_patches),
            *(block.attn.register_forward_pre_hook(self._before_attention) for block in observed),
            *(
                block.attn.register_forward_hook(self._after_attention, always_call=True)
                for block in observed
            ),
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

    # The mode sees every torch call while it is active, so it is so only in an attention.
    def _before_attention(self, *_) -> None:
        self.attention_inputs.calls.clear()
        self.attention_inputs.__enter__()

    def _after_attention(self, *_) -> None:
        self.attention_inputs.__exit__(None, None, None)
        self.calls = list(self.attention_inputs.calls)
        self.counts.append(len(self.calls))
        if self.block_attention and self.calls:
            self.rows.append(self.calls[0].rows(1, self.images)[:, 0, self.prefix :])

    def _on_block(self, _module, _inputs, output: Tensor) -> None:
        self.norms.append(torch.linalg.vector_norm(output, dim=-1, dtype=torch.float32))
        if self.cls_blocks:
            self.cls.append(output[:, 0])
        self.last = output
        if len(self.norms) == self.tokens_after:
            self.tokens = output

    def __call__(self, x: Tensor, images: slice | Tensor = slice(None)) -> dict[str, Tensor]:
        for kept in (self.norms, self.cls, self.calls, self.rows, self.counts):
            kept.clear()
        self.images = images
        patch = self.model.patch_embed.patch_size
        self.grid = (x.shape[2] // patch[0], x.shape[3] // patch[1])
        features = self.model.forward_features(x)
        self._check(self.grid)
        out = {
            "norms": torch.stack(self.norms, dim=1),
            "tokens": self.tokens,
            "neighbour_cosine": self.cosine,
            "patch_mean": features[:, self.prefix :].mean(1),
        }
        call = self.calls[0]
        if self.prefix:
            out["attention"] = call.rows(self.prefix)[:, :, self.prefix :]
        if not self.has_cls:
            out["attention_received"] = call.received(self.prefix)
        if self.pooling:
            out["attention_pooling"] = self._pooling_row(features)
        if self.block_attention:
            out["block_attention"] = torch.stack(self.rows, dim=1)
        if self.has_cls:
            out["cls"] = features[:, 0]
        if self.cls_blocks:
            out["cls_blocks"] = self.model.norm(torch.stack(self.cls[-self.cls_blocks :], 1))
        if self.registers:
            out["registers"] = features[:, self.registers]
        if self.qkv:
            for name, value in (("q", call.q), ("k", call.k), ("v", call.v)):
                out[name] = value.transpose(1, 2).flatten(2)
        if self.logits:
            with exact(x.device):  # in bfloat16 the leading classes tie
                out["logits"] = self.model.forward_head(features.float())
        return out

    def _pooling_row(self, features: Tensor) -> Tensor:
        with AttentionInputs() as inputs:
            self.model.pool(features)
        latents = inputs.calls[0].q.shape[2]
        patches = self.grid[0] * self.grid[1]
        return inputs.calls[0].rows(latents).mean(1)[:, -patches:]

    def _check(self, grid: tuple[int, int]) -> None:
        """Loud when hooks and tokens do not add up: a silent shift would look like a result."""
        blocks, tokens = len(self.model.blocks), self.prefix + grid[0] * grid[1]
        if len(self.norms) != blocks or self.last.shape[1] != tokens:
            raise StudyError(
                f"{type(self.model).__name__}: {len(self.norms)} block outputs of "
                f"{self.last.shape[1]} tokens, expected {blocks} of {tokens} "
                f"({self.prefix} prefix tokens and a grid of {grid[0]} x {grid[1]})"
            )
        for count in self.counts:
            if count != 1:
                raise StudyError(
                    f"{type(self.model).__name__}: a block called the fused attention {count} "
                    "times instead of once; its rows cannot be recomputed"
                )
