"""One forward pass in which each block is looked at on the device, and no block is kept."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from tokenscope.forward.attention import AttentionCall
from tokenscope.forward.block_hooks import BlockHooks
from tokenscope.forward.precision import exact
from tokenscope.forward.tokens import token_kinds


@dataclass(frozen=True)
class BlockView:
    """One block of one batch, while it is there.

    Attributes:
        number: of the block, from 1.
        block: the module.
        call: what its attention was given (q, k, v of shape (image, head, token, feature)).
        tokens: (image, token, width), its output.
        norm: the model's final norm. prefix: tokens before the patches. has_cls: the first of them.
        images: of the sample, which the batch holds.
        last: whether no block follows.
    """

    number: int
    block: nn.Module
    call: AttentionCall
    tokens: Tensor
    norm: nn.Module
    prefix: int
    has_cls: bool
    images: slice
    last: bool

    @cached_property
    def normed(self) -> Tensor:
        """Its output after the final norm, float32."""
        return self.norm(self.tokens).float()

    @property
    def patches(self) -> Tensor:
        """(image, patch, width) of :attr:`tokens`, float32."""
        return self.tokens[:, self.prefix :].float()


Look = Callable[[BlockView], dict[str, Tensor]]


def in_pieces(view: BlockView, look: Callable[[slice, Tensor], dict[str, Tensor]]) -> dict:
    """What ``look`` leaves of a block's attention matrices, which are built few images at a time.

    Args:
        look: of some images and of their matrices (image, head, query, key).
    """
    parts = [look(images, weights) for images, weights in view.call.pieces()]
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


class BlockPass(BlockHooks):
    """Observes a backbone: ``with BlockPass(model, look) as observe: seen = observe(x, images)``.

    Args:
        model: a timm VisionTransformer or Eva, in evaluation mode.
        look: is shown each block in turn and returns what is left of it, each (image, ...).

    The call returns what ``look`` returned, over blocks, each (image, block, ...) on the host, what
    only some blocks gave with as many of these; and ``features``, the tokens that
    ``forward_features`` gave, on the device.
    """

    def __init__(self, model: nn.Module, look: Look):
        super().__init__(model)
        self.look, self.images = look, slice(None)
        self.seen: dict[str, list[Tensor]] = {}
        self.norm = final_norm(model)
        self.has_cls = "cls" in token_kinds(model)

    def on_block(self, number: int, block: nn.Module, call: AttentionCall, output: Tensor) -> None:
        view = BlockView(
            number, block, call, output, self.norm, self.model.num_prefix_tokens, self.has_cls,
            self.images, number == len(self.model.blocks),
        )  # fmt: skip
        with exact(output.device):
            for name, value in self.look(view).items():
                self.seen.setdefault(name, []).append(value)

    def __call__(self, x: Tensor, images: slice) -> dict[str, Tensor]:
        self.images, self.seen = images, {}
        features = self.model.forward_features(x)
        out = {name: torch.stack(values, 1).cpu() for name, values in self.seen.items()}
        return out | {"features": features}


def final_norm(model: nn.Module) -> nn.Module:
    """What normalises the tokens at the end; where a model pools first, what comes after that."""
    for name in ("norm", "fc_norm"):
        norm = getattr(model, name, None)
        if norm is not None and not isinstance(norm, nn.Identity):
            return norm
    return nn.Identity()
