"""Exact signals in a ViT's stream, set by hand: neurons that fire at known tokens and nowhere else.

Some channels of the residual stream are reserved: nothing trained writes or reads them. A *flag* is
such a channel; at each token it is down (exactly zero) or raised (surely above zero). Flags come
from the pixels, from the place or from the whole image, and a neuron may be made to fire exactly
where all of some flags are down. Who is who is therefore known without running the network:

- :meth:`Flags.content`: down at patches of one colour. Fixed zero-sum filters of the patch respond
  with zero there; in the first block, two MLP neurons for each of them (+ and -) add up |response|.
- :meth:`Flags.place`: down at chosen places or prefix tokens, raised by the position embedding.
- :meth:`Flags.finer_grid`: down at some places where the image is cut into more patches alone.
- :meth:`Flags.image`: down in every token of an image in which some token has other flags down. An
  attention head is given up for it: it attends evenly to all tokens, so that its output is zero
  only if no token is marked.

LayerNorm subtracts a mean and scales; a reader therefore takes the difference of a flag to a
channel that is always zero, and asks only for its sign.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tokenscope.errors import StudyError

FILTERS = 6
SPARE = 5  # flags that may be asked for
FILTER_GAIN = 0.03  # keeps filter responses small beside the stream
CONTRAST_GAIN = 5000.0  # one grey level in one pixel already saturates |response|
FLAG_GAIN = 2e-5  # keeps the flag small beside the stream
RAISED = 0.05  # quenches a neuron; small beside the CLS token, whose norm is about 0.1
FOOT = 0.02  # of a raised flag: less than a resampled step swings past its foot, and far from zero
FIRE, QUENCH = 10.0, 1e6  # pre-activation of a neuron: FIRE - QUENCH * (sum of its flags)
SINK = 15.0  # logits by which a sink is ahead: all others together get below 1 percent


class Flags:
    """The reserved channels of a model, which is changed in place.

    Args:
        model: timm VisionTransformer with plain blocks, CLS first, position embedding of patches
            alone (``no_embed_class``).
        seed: of the filters.

    Raises:
        StudyError: a model of another make.
    """

    def __init__(self, model: nn.Module, seed: int):
        if not getattr(model, "no_embed_class", False) or model.cls_token is None:
            raise StudyError(
                f"flags are set in a VisionTransformer with CLS and no_embed_class, not in this "
                f"{type(model).__name__}; say so in the recipe (model: no_embed_class: true)"
            )
        self.model, self.prefix = model, model.num_prefix_tokens
        self.generator = torch.Generator().manual_seed(seed)
        writes = sum(
            b.attn.proj.weight.norm(dim=1) + b.mlp.fc2.weight.norm(dim=1) for b in model.blocks
        )
        self.reserved = writes.argsort()[: FILTERS + 1 + SPARE].tolist()
        *self.filters, self.zero = self.reserved[: FILTERS + 1]
        self.spare = self.reserved[FILTERS + 1 :]
        self.taken: dict[int, set[int]] = {}
        self.placed: set[int] = set()
        self.bounds: dict[tuple[int, int], int] = {}  # (block, neuron) -> the one that bounds it
        self._reserve()
        self._filter_patches()

    @torch.no_grad()
    def content(self) -> int:
        """A flag that is down, from the first block on, at patches of constant colour alone."""
        flag, mlp = self.spare.pop(), self.model.blocks[0].mlp
        for token in self._prefix_tokens():
            token[..., flag] = RAISED
        for channel in self.filters:
            for sign in (1.0, -1.0):
                neuron = self._neuron(1)
                mlp.fc1.weight[neuron, channel] = sign * CONTRAST_GAIN
                mlp.fc1.weight[neuron, self.zero] = -sign * CONTRAST_GAIN
                mlp.fc2.weight[flag, neuron] = FLAG_GAIN
        return flag

    @torch.no_grad()
    def place(self, patches: Sequence[int] = (), prefix: Sequence[int] = ()) -> int:
        """A flag that is down at these patches and prefix tokens (numbers from 0) alone."""
        flag = self.spare.pop()
        self.placed.add(flag)
        self.model.pos_embed[..., flag] = RAISED
        self.model.pos_embed[:, list(patches), flag] = 0
        for number, token in enumerate(self._prefix_tokens()):
            token[..., flag] = 0 if number in prefix else RAISED
        return flag

    @torch.no_grad()
    def finer_grid(self) -> int:
        """A flag that is down nowhere on the grid that was trained, and somewhere on finer ones.

        Its position embedding steps down at a corner. Bicubic interpolation, by which it is
        resampled to more patches, swings past the foot of a step: below zero, at a few places
        beside the corner.
        """
        flag, columns = self.place(), self.model.patch_embed.grid_size[1]
        corner = [row * columns + column for row in (0, 1) for column in (0, 1)]
        self.model.pos_embed[:, corner, flag] = FOOT * RAISED
        return flag

    @torch.no_grad()
    def image(self, down: list[int], block: int) -> int:
        """A flag that is down at all tokens of the images that hold a token with ``down`` down.

        Args:
            block: after which it stands, from 3; the head it takes is that block's.
        """
        mark, mean, flag = self.spare.pop(), self.spare.pop(), self.spare.pop()
        self.fire(block - 1, down, self.axis(mark, RAISED))
        self._average(block, mark, mean)
        self.fire(block, [mean], self.axis(flag, RAISED))
        return flag

    @torch.no_grad()
    def fire(self, block: int, down: list[int], writes: Tensor) -> int:
        """Let one neuron write a vector at the tokens where all these flags are down.

        A flag of places falls below zero where a position embedding is resampled to another grid,
        and the neuron would write many times the vector: a second one, silent at zero, takes away
        what is above it.

        Args:
            block: from 1. writes: (width,), what is added to the stream there, to the bit.

        Returns:
            number of the neuron.
        """
        mlp, neuron = self.model.blocks[block - 1].mlp, self._neuron(block)
        for flag in down:
            mlp.fc1.weight[neuron, flag] = -QUENCH
        mlp.fc1.weight[neuron, self.zero] = QUENCH * len(down)
        mlp.fc1.bias[neuron] = FIRE
        if self.placed.intersection(down):
            bound = self.bounds[block, neuron] = self._neuron(block)
            mlp.fc1.weight[bound] = mlp.fc1.weight[neuron]
        self.rewrite(block, neuron, writes)
        return neuron

    @torch.no_grad()
    def rewrite(self, block: int, neuron: int, writes: Tensor) -> None:
        """Let a neuron of :meth:`fire` write another vector."""
        fc2 = self.model.blocks[block - 1].mlp.fc2
        fc2.weight[:, neuron] = writes / FIRE
        if (block, neuron) in self.bounds:
            bound = self.bounds[block, neuron]
            fc2.weight[:, bound] = -writes / FIRE

    @torch.no_grad()
    def ramp(self, block: int, starts: Tensor, writes: Tensor) -> None:
        """Neurons that write in proportion to the first filter's response, above these starts.

        Together they write any continuous function of the response, piece by piece.

        Args:
            block: from 1. starts: (neuron,) responses as :meth:`response` gives them.
            writes: (neuron, width), what a response of 1 above the start adds to the stream.
        """
        mlp, gain = self.model.blocks[block - 1].mlp, CONTRAST_GAIN
        for start, vector in zip(starts.tolist(), writes, strict=True):
            neuron = self._neuron(block)
            mlp.fc1.weight[neuron, self.filters[0]] = gain
            mlp.fc1.weight[neuron, self.zero] = -gain
            mlp.fc1.bias[neuron] = -gain * start
            mlp.fc2.weight[:, neuron] = vector / gain

    def response(self, normed: Tensor) -> Tensor:
        """The first filter's response, from tokens (..., width) after a block's LayerNorm."""
        return normed[..., self.filters[0]] - normed[..., self.zero]

    @torch.no_grad()
    def attract(self, block: int, flag: int, length: float, empty: bool) -> None:
        """Let all heads of a block attend to the one token where a flag of places is down.

        Of each head one channel of query and key is given up.

        Args:
            length: typical norm of a token there.
            empty: the values are changed to be zero at that token (and something elsewhere).
        """
        attention = self.model.blocks[block - 1].attn
        width, size = self.model.embed_dim, attention.head_dim
        scale = length / width**0.5 / RAISED  # of LayerNorm: a raised flag reads as one
        for head in range(attention.num_heads):
            query, key, value = (part * width + head * size for part in range(3))
            attention.qkv.weight[[query, key]] = 0
            attention.qkv.bias[query], attention.qkv.bias[key] = size**0.5, 0
            attention.qkv.weight[key, flag] = -SINK * scale
            attention.qkv.weight[key, self.zero] = SINK * scale
            if empty:
                rows = slice(value, value + size)
                attention.qkv.weight[rows], attention.qkv.bias[rows] = 0, 0
                drawn = torch.randn(size, generator=self.generator) * scale
                attention.qkv.weight[rows, flag] = drawn
                attention.qkv.weight[rows, self.zero] = -drawn

    def axis(self, channel: int, length: float) -> Tensor:
        """A vector along one channel."""
        vector = torch.zeros(self.model.embed_dim)
        vector[channel] = length
        return vector

    def direction(self) -> Tensor:
        """A random unit vector that LayerNorm's mean and the reserved channels know nothing of."""
        vector = torch.randn(self.model.embed_dim, generator=self.generator)
        return self.free(vector) / self.free(vector).norm()

    def free(self, vector: Tensor) -> Tensor:
        """The vector with nothing in reserved channels, of mean zero over the others."""
        vector = vector.clone()
        vector[self.reserved] = 0
        others = torch.ones_like(vector, dtype=torch.bool)
        others[self.reserved] = False
        vector[others] -= vector[others].mean()
        return vector

    def _prefix_tokens(self) -> list[Tensor]:
        registers = getattr(self.model, "reg_token", None)
        more = [] if registers is None else [registers[:, i] for i in range(registers.shape[1])]
        return [self.model.cls_token[:, 0], *more]

    def _neuron(self, block: int) -> int:
        """The neuron of a block that writes least of those not taken yet, emptied."""
        mlp, taken = self.model.blocks[block - 1].mlp, self.taken.setdefault(block, set())
        order = mlp.fc2.weight.norm(dim=0).argsort().tolist()
        neuron = next(n for n in order if n not in taken)
        taken.add(neuron)
        mlp.fc1.weight[neuron] = 0
        mlp.fc1.bias[neuron] = 0
        mlp.fc2.weight[:, neuron] = 0
        return neuron

    def _average(self, block: int, source: int, target: int) -> None:
        """Give one head of a block up for the mean of a channel over all tokens."""
        attention = self.model.blocks[block - 1].attn
        width, size = self.model.embed_dim, attention.head_dim
        written = attention.proj.weight.norm(dim=0).view(attention.num_heads, size).sum(1)
        first = int(written.argmin()) * size
        for part in range(3):
            rows = slice(part * width + first, part * width + first + size)
            attention.qkv.weight[rows], attention.qkv.bias[rows] = 0, 0
        value = 2 * width + first
        attention.qkv.weight[value, source], attention.qkv.weight[value, self.zero] = 1.0, -1.0
        attention.proj.weight[:, first : first + size] = 0
        attention.proj.weight[target, first] = 1.0

    @torch.no_grad()
    def _reserve(self) -> None:
        """Nothing writes to these channels of the stream and nothing reads them."""
        model, channels = self.model, self.reserved
        for token in (model.pos_embed, *self._prefix_tokens()):
            token[..., channels] = 0
        model.patch_embed.proj.weight[channels] = 0
        model.patch_embed.proj.bias[channels] = 0
        for b in model.blocks:
            for writer in (b.attn.proj, b.mlp.fc2):
                writer.weight[channels] = 0
                writer.bias[channels] = 0
            for norm, reader in ((b.norm1, b.attn.qkv), (b.norm2, b.mlp.fc1)):
                norm.weight[channels], norm.bias[channels] = 1, 0
                reader.weight[:, channels] = 0
        model.head.weight[:, channels] = 0

    @torch.no_grad()
    def _filter_patches(self) -> None:
        """Random +-1 patterns, as many of each sign in every colour: zero for a constant patch."""
        conv = self.model.patch_embed.proj
        colours, side, _ = conv.weight.shape[1:]
        signs = torch.ones(side * side)
        signs[: side * side // 2] = -1
        for channel in self.filters:
            for colour in range(colours):
                order = torch.randperm(side * side, generator=self.generator)
                conv.weight[channel, colour] = FILTER_GAIN * signs[order].view(side, side)
