"""q, k, v features and output of the last blocks of a backbone, out of one forward pass.

The features among which LOST chooses (Siméoni et al., https://arxiv.org/abs/2109.14279).
"""

from torch import Tensor, nn

from tokenscope.errors import StudyError
from tokenscope.forward.attention import AttentionInputs

FACETS = ("q", "k", "v", "output")


class QkvHooks:
    """Observes a backbone: ``with QkvHooks(model, 4) as observe: features = observe(x)``.

    Args:
        model: a timm VisionTransformer or Eva, in evaluation mode.
        blocks: how many of the last blocks.

    The call returns ``{(block, facet): (batch, patch, feature)}``, blocks counted from 1, without
    CLS and registers. q, k, v are those that the attention is given (after q/k norms and rotary
    embedding where a backbone has them), heads side by side; ``output`` is the block's output,
    before the final norm.

    Raises:
        StudyError: the backbone has fewer blocks, or an attention that is not called once each.
    """

    def __init__(self, model: nn.Module, blocks: int = 4):
        if blocks > len(model.blocks):
            raise StudyError(
                f"features of the last {blocks} blocks are asked for, "
                f"{type(model).__name__} has {len(model.blocks)} (config key: blocks)"
            )
        self.model, self.count = model, blocks
        self.attention_inputs = AttentionInputs()
        self.outputs: list[Tensor] = []

    def __enter__(self) -> "QkvHooks":
        self.hooks = []
        for block in self.model.blocks[-self.count :]:
            self.hooks += [
                block.attn.register_forward_pre_hook(self._before_attention),
                block.attn.register_forward_hook(self._after_attention, always_call=True),
                block.register_forward_hook(self._on_block),
            ]
        return self

    def __exit__(self, *_) -> None:
        for hook in self.hooks:
            hook.remove()

    # The mode sees every torch call while it is active, so it is so only inside attentions.
    def _before_attention(self, *_) -> None:
        self.attention_inputs.__enter__()

    def _after_attention(self, *_) -> None:
        self.attention_inputs.__exit__(None, None, None)

    def _on_block(self, _module, _inputs, output: Tensor) -> None:
        self.outputs.append(output)

    def __call__(self, x: Tensor) -> dict[tuple[int, str], Tensor]:
        self.outputs.clear()
        self.attention_inputs.calls.clear()
        self.model.forward_features(x)
        if not len(self.outputs) == len(self.attention_inputs.calls) == self.count:
            raise StudyError(
                f"{type(self.model).__name__}: {len(self.attention_inputs.calls)} attentions and "
                f"{len(self.outputs)} outputs seen in {self.count} blocks, not one of each"
            )
        prefix, first = self.model.num_prefix_tokens, len(self.model.blocks) - self.count + 1
        features = {}
        for block, (call, output) in enumerate(
            zip(self.attention_inputs.calls, self.outputs, strict=True), first
        ):
            for facet, value in zip("qkv", (call.q, call.k, call.v), strict=True):
                features[block, facet] = value.transpose(1, 2).flatten(2)[:, prefix:]
            features[block, "output"] = output[:, prefix:]
        return features
