"""Forward hooks that show each block while it is there: its output and its attention's inputs."""

from functools import partial

from torch import Tensor, nn

from tokenscope.errors import StudyError
from tokenscope.forward.attention import AttentionCall, AttentionInputs


class BlockHooks:
    """Base of what observes a backbone block by block: ``with`` it, :meth:`on_block` is called.

    Args:
        model: a timm VisionTransformer or Eva, in evaluation mode.
        blocks: how many of the last blocks; None: all.

    Raises:
        StudyError: the backbone has fewer blocks; while it runs, an attention that does not call
            the fused attention once.
    """

    def __init__(self, model: nn.Module, blocks: int | None = None):
        depth = len(model.blocks)
        if blocks is not None and blocks > depth:
            raise StudyError(
                f"features of the last {blocks} blocks are asked for, "
                f"{type(model).__name__} has {depth} (config key: blocks)"
            )
        self.model, self.first = model, depth - (depth if blocks is None else blocks) + 1
        self.inputs = AttentionInputs()

    def on_block(self, number: int, block: nn.Module, call: AttentionCall, output: Tensor) -> None:
        """Called when a block (from 1) has run, with q, k, v of its attention and its output."""
        raise NotImplementedError

    def __enter__(self):
        self.hooks = []
        for number, block in enumerate(self.model.blocks[self.first - 1 :], self.first):
            self.hooks += [
                block.attn.register_forward_pre_hook(self._before_attention),
                block.attn.register_forward_hook(self._after_attention, always_call=True),
                block.register_forward_hook(partial(self._after_block, number)),
            ]
        return self

    def __exit__(self, *_) -> None:
        for hook in self.hooks:
            hook.remove()

    # The mode sees every torch call while it is active, so it is so only in an attention.
    def _before_attention(self, *_) -> None:
        self.inputs.calls.clear()
        self.inputs.__enter__()

    def _after_attention(self, *_) -> None:
        self.inputs.__exit__(None, None, None)

    def _after_block(self, number: int, block: nn.Module, _inputs, output: Tensor) -> None:
        if len(self.inputs.calls) != 1:
            raise StudyError(
                f"{type(self.model).__name__}: block {number} called the fused attention "
                f"{len(self.inputs.calls)} times instead of once; it cannot be recomputed"
            )
        self.on_block(number, block, self.inputs.calls.pop(), output)
