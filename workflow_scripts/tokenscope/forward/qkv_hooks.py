"""q, k, v features and output of the last blocks of a backbone, out of one forward pass.

The features among which LOST chooses (Siméoni et al., https://arxiv.org/abs/2109.14279).
"""

from torch import Tensor, nn

from tokenscope.forward.attention import AttentionCall
from tokenscope.forward.block_hooks import BlockHooks

FACETS = ("q", "k", "v", "output")


class QkvHooks(BlockHooks):
    """Observes a backbone: ``with QkvHooks(model, 4) as observe: features = observe(x)``.

    Args:
        model: a timm VisionTransformer or Eva, in evaluation mode.
        blocks: how many of the last blocks.

    The call returns ``{(block, facet): (batch, patch, feature)}``, blocks counted from 1, without
    CLS and registers. q, k, v are those that the attention is given (after q/k norms and rotary
    embedding where a backbone has them), heads side by side; ``output`` is the block's output,
    before the final norm.

    Raises:
        StudyError: see :class:`~tokenscope.forward.block_hooks.BlockHooks`.
    """

    def __init__(self, model: nn.Module, blocks: int = 4):
        super().__init__(model, blocks)
        self.features: dict[tuple[int, str], Tensor] = {}

    def on_block(self, number: int, block: nn.Module, call: AttentionCall, output: Tensor) -> None:
        prefix = self.model.num_prefix_tokens
        for facet, value in zip("qkv", (call.q, call.k, call.v), strict=True):
            self.features[number, facet] = value.transpose(1, 2).flatten(2)[:, prefix:]
        self.features[number, "output"] = output[:, prefix:]

    def __call__(self, x: Tensor) -> dict[tuple[int, str], Tensor]:
        self.features = {}
        self.model.forward_features(x)
        return self.features
