"""Attention maps beside the fused attention: rows recomputed from the q and k it was given."""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode


class AttentionInputs(TorchFunctionMode):
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
