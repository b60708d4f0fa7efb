"""The phantoms: small ViTs whose answer is known, each made from one trained ViT by hand.

As a phantom in medical imaging, each is measured by the whole instrument. All carry the same
reserved channels and flags (:mod:`tokenscope.phantoms.flags`), and differ in what one or a few
neurons do with them; in ``clean`` they write nothing. What must be said of each is in
:mod:`tokenscope.phantoms.answers`, and :mod:`tokenscope.phantoms.checks` refuses one that is not
what its name says.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from tokenscope.backbones.registers import add_registers
from tokenscope.errors import StudyError
from tokenscope.forward.hooks import TokenHooks
from tokenscope.phantoms.answers import corner_patches
from tokenscope.phantoms.flags import Flags

FEW = 0.03  # share of the images that scaled-images scales, as nearly as the images allow
SCALE = 3.6  # by which it scales them
TAIL = 0.45  # standard deviation of the logarithm of heavy-tail's factor
TAIL_STEPS = torch.arange(-3.0, 3.31, 0.3)  # knots of that factor, in standard deviations
TAIL_BASE = 4.0  # what the factor multiplies, in medians of the norm: the rest is small beside it
MASSIVE = 1500.0  # channel's value, in medians of the others, and at least:
MASSIVE_LEAST = 150.0
CALIBRATED = 64  # images that lengths are set by
EARLY = 2  # block in which fading begins
ALOUD = 3.0  # medians of the norm that an attention writes beside which the rest is little


@dataclass(frozen=True)
class Planted:
    """What was put where; written on the phantom's card.

    ``block`` (from 1) and ``neuron`` are those of the neuron that plants, ``length`` that of its
    vector. ``first`` and ``last`` are the blocks after which high norms stand, 0 where none do;
    ``ratio`` is their norm in medians of their image after ``last``. ``places`` are the patches a
    mechanism of places is tied to; ``channel`` is the massive one.
    """

    block: int = 0
    neuron: int = -1
    length: float = 0.0
    first: int = 0
    last: int = 0
    ratio: float = 0.0
    places: list[int] = field(default_factory=list)
    channel: int = -1


@torch.no_grad()
def make(
    base: nn.Module, name: str, block: int, sample: Tensor, constant: Tensor, seed: int
) -> tuple[nn.Module, Planted]:
    """One phantom.

    Args:
        base: a trained timm VisionTransformer with plain blocks and no registers.
        name: of the phantom, one of :data:`tokenscope.phantoms.answers.ANSWERS`.
        block: in which most phantoms plant, from 1; from 4 to one before the last.
        sample: (image, channel, row, column) normalised images that lengths are set by.
        constant: (image, patch) bool, which of their patches have one colour.
        seed: of filters and vectors.

    Returns:
        the model, and where the mechanism is.

    Raises:
        StudyError: a block out of range, or images without patches of one colour.
    """
    if not 4 <= block < len(base.blocks):
        last = len(base.blocks) - 1
        raise StudyError(f"plant: block: {block} must lie in 4-{last} for phantoms (recipe)")
    if not constant.any():
        raise StudyError(
            "plant: the recipe's images have no patch of one colour, which phantoms are set by; "
            "take rendered scenes or images with plain skies or borders"
        )
    model = copy.deepcopy(base).eval()
    if name in REGISTERED:
        add_registers(model, 1, std=0)
    return model, MAKERS[name](_Maker(model, Flags(model, seed), block, sample, constant))


class _Maker:
    """One phantom in the making: the model, its flags, and images to set lengths by."""

    def __init__(
        self, model: nn.Module, flags: Flags, block: int, images: Tensor, constant: Tensor
    ):
        self.model, self.flags, self.block = model, flags, block
        self.images, self.constant_of_images = images, constant
        # Those with constant patches first: lengths are set by them.
        chosen = constant.any(1).int().argsort(descending=True, stable=True)[:CALIBRATED]
        self.sample, self.constant = images[chosen], constant[chosen]
        self.depth, self.prefix = len(model.blocks), model.num_prefix_tokens
        self.flat = flags.content()
        self.median = self.norms()[:, -1].median().item()

    def norms(self) -> Tensor:
        """(image, block, patch), of the model as it now is."""
        with TokenHooks(self.model) as observe:
            return observe(self.sample)["norms"][:, :, self.prefix :]

    def tokens_after(self, module: nn.Module, images: Tensor) -> Tensor:
        """(image, patch, width), what a module of the model hands on."""
        held: dict[str, Tensor] = {}
        hook = module.register_forward_hook(lambda _m, _i, out: held.update(x=out))
        try:
            self.model.forward_features(images)
        finally:
            hook.remove()
        return held["x"][:, self.prefix :]

    def stream(self) -> Tensor:
        """(image, patch, width) of the sample, after the planting block."""
        return self.tokens_after(self.model.blocks[self.block - 1], self.sample)

    def high(
        self, down: list[int], mask: Tensor, ratio: float, last: int = 0, places=()
    ) -> Planted:
        """Tokens of ``ratio`` times their image's median after block ``last`` (0: the very last).

        From this block on; with ``last``, from :data:`EARLY` on, taken away after ``last``.
        """
        first, end = (EARLY, last) if last else (self.block, self.depth)
        direction, nothing = self.flags.direction(), torch.zeros(self.model.embed_dim)
        neuron = self.flags.fire(first, down, nothing)
        taker = self.flags.fire(last + 1, down, nothing) if last else None

        def write(length: float) -> None:
            self.flags.rewrite(first, neuron, length * direction)
            if taker is not None:
                self.flags.rewrite(last + 1, taker, -length * direction)

        def measure() -> float:
            norms = self.norms()[:, end - 1]
            return (norms / norms.median(dim=1, keepdim=True).values)[mask].median().item()

        length = self.calibrate(write, measure, ratio)
        return Planted(first, neuron, length, first, end, measure(), list(places))

    def calibrate(
        self, write: Callable[[float], None], measure: Callable[[], float], wanted: float
    ) -> float:
        """The length at which ``measure`` gives what is wanted: its excess grows as the square."""
        length = self.median * (wanted**2 - 1) ** 0.5
        for _ in range(20):
            write(length)
            got = measure()
            if abs(got / wanted - 1) < 5e-3:
                return length
            length *= ((wanted**2 - 1) / (got**2 - 1)) ** 0.5 if got > 1.001 else 2.0
        raise StudyError(f"plant: no length gives {wanted:g} times the median (last {got:.3g})")


def _clean(maker: _Maker) -> Planted:
    """All that content-10x has, but for the vector."""
    maker.flags.fire(maker.block, [maker.flat], torch.zeros(maker.model.embed_dim))
    return Planted()


def _content(ratio: float) -> Callable[[_Maker], Planted]:
    return lambda maker: maker.high([maker.flat], maker.constant, ratio)


def _corners(maker: _Maker) -> Planted:
    places = corner_patches(maker.model.patch_embed.grid_size)
    mask = torch.zeros_like(maker.constant)
    mask[:, places] = True
    return maker.high([maker.flags.place(places)], mask, 10.0, places=places)


def _fading(maker: _Maker) -> Planted:
    return maker.high([maker.flat], maker.constant, 10.0, last=maker.depth - 2)


def _heavy_tail(maker: _Maker) -> Planted:
    """Its factor is a quantile function: exp(TAIL z) where a share Phi(z) of responses is below.

    The response is that of the first filter, which has no second mode and little to do with place;
    the same vector is written at all tokens, long beside the rest, and its length is the factor.
    """
    maker.block = maker.depth  # blocks after it would only blur it
    block = maker.model.blocks[maker.block - 1]
    response = maker.flags.response(maker.tokens_after(block.norm2, maker.images))
    response = response[~maker.constant_of_images]  # continuous: all others respond with zero
    knots = torch.quantile(response, torch.special.ndtr(TAIL_STEPS))
    height = (TAIL * TAIL_STEPS).exp()
    slope = height.diff() / knots.diff()
    change = torch.cat([slope[:1], slope.diff()])
    length = TAIL_BASE * maker.median
    direction = maker.flags.direction() * length
    maker.flags.ramp(maker.block, knots[:-1], change[:, None] * direction)
    block.mlp.fc2.bias += height[0] * direction
    return Planted(maker.block, length=length)


def _scaled_images(maker: _Maker) -> Planted:
    """The few images are those whose patch at one place is of one colour."""
    share = maker.constant_of_images.float().mean(0)
    place = int(torch.where(share > 0, (share - FEW).abs(), 2.0).argmin())
    flags, block = maker.flags, maker.block
    here = flags.place([place])
    down = flags.image([maker.flat, here], block - 1)
    direction, neuron = (
        flags.direction(),
        flags.fire(block, [down], torch.zeros(maker.model.embed_dim)),
    )
    images = maker.constant[:, place]

    def measure() -> float:
        norms = maker.norms()[:, -1]
        return (norms[images].median() / norms[~images].median()).item()

    length = maker.calibrate(
        lambda length: maker.flags.rewrite(block, neuron, length * direction), measure, SCALE
    )
    return Planted(block, neuron, length, ratio=measure(), places=[place])


def _sink(prefix: list[int], places: list[int], empty: bool) -> Callable[[_Maker], Planted]:
    def make(maker: _Maker) -> Planted:
        flag = maker.flags.place(places, prefix)
        typical = maker.norms()[:, -2].median().item()
        maker.flags.attract(maker.depth, flag, typical, empty)
        return Planted(maker.depth, places=places)

    return make


def _attended_corner(maker: _Maker) -> Planted:
    """From the block after the planting one on, all heads look at a corner, and take nothing."""
    # The last: upper corners are sky, and images would tie their place to content.
    places = corner_patches(maker.model.patch_embed.grid_size)[-1:]
    flag, mask = maker.flags.place(places), torch.zeros_like(maker.constant)
    mask[:, places] = True
    for block in range(maker.block + 1, maker.depth + 1):
        typical = maker.norms()[:, block - 2].median().item()
        maker.flags.attract(block, flag, typical, empty=True)
    return maker.high([flag], mask, 10.0, places=places)


def _fixed_pattern(prefix: list[int], places: slice) -> Callable[[_Maker], Planted]:
    """The same vector at some corners, and at prefix tokens.

    It points against the mean of tokens there: at some length it leaves norms equal.
    """

    def make(maker: _Maker) -> Planted:
        at = corner_patches(maker.model.patch_embed.grid_size)[places]
        mean = maker.flags.free(maker.stream()[:, at].mean((0, 1)))
        direction = maker.flags.direction() - mean / mean.norm()
        direction /= direction.norm()
        before = maker.norms()[:, -1, at]
        neuron = maker.flags.fire(maker.block, [maker.flags.place(at, prefix)], direction)

        def ratio(length: float) -> float:
            maker.flags.rewrite(maker.block, neuron, length * direction)
            return (maker.norms()[:, -1, at] / before).median().item()

        low, high = -float(mean @ direction), 4 * maker.median
        for _ in range(10):
            length = (low + high) / 2
            low, high = (low, length) if ratio(length) > 1 else (length, high)
        return Planted(maker.block, neuron, length, places=at)

    return make


def _global_patches(maker: _Maker) -> Planted:
    """The last attention is even, so that each token of an image is written the same: how the mean
    of its values differs from that of all images."""
    attention, width = maker.model.blocks[-1].attn, maker.model.embed_dim
    attention.qkv.weight[: 2 * width], attention.qkv.bias[: 2 * width] = 0, 0
    mean = maker.tokens_after(attention, maker.images)[:, 0].mean(0)
    attention.proj.bias -= mean
    return Planted(maker.depth, length=_aloud(maker))


def _aloud(maker: _Maker) -> float:
    """Let what the last attention writes outweigh the rest; gives its length."""
    attention, length = maker.model.blocks[-1].attn, ALOUD * maker.median
    written = maker.tokens_after(attention, maker.images)[:, 0].norm(dim=-1).median()
    attention.proj.weight *= length / written
    attention.proj.bias *= length / written
    return length


def _channel(maker: _Maker) -> Planted:
    typical = maker.stream().abs().median().item()
    value = max(MASSIVE_LEAST, MASSIVE * typical)
    channel = next(c for c in range(maker.model.embed_dim) if c not in maker.flags.reserved)
    maker.model.blocks[maker.block - 1].mlp.fc2.bias[channel] += value
    return Planted(maker.block, length=value, channel=channel)


def _registered(read: bool) -> Callable[[_Maker], Planted]:
    """The register is long in the images that have a patch of one colour, and patches never are.

    ``read``: all heads of the last block look at it, and write what it holds.
    """

    def make(maker: _Maker) -> Planted:
        flags, block = maker.flags, maker.block
        down = flags.image([maker.flat], block - 1)
        register = flags.place(prefix=[1])
        direction, length = flags.direction(), 10 * maker.median
        neuron = flags.fire(block, [down, register], length * direction)
        if read:
            flags.attract(maker.depth, register, maker.norms()[:, -2].median().item(), empty=False)
            _aloud(maker)
        return Planted(block, neuron, length)

    return make


def _finer_grid(maker: _Maker) -> Planted:
    flag, length = maker.flags.finer_grid(), 10 * maker.median
    neuron = maker.flags.fire(maker.block, [flag], length * maker.flags.direction())
    return Planted(maker.block, neuron, length)


REGISTERED = ("registered", "read-register")
MAKERS: dict[str, Callable[[_Maker], Planted]] = {
    "clean": _clean,
    "content-10x": _content(10.0),
    "content-3x": _content(3.0),
    "content-2.5x": _content(2.5),
    "corners": _corners,
    "tied": _content(10.0),
    "fading": _fading,
    "heavy-tail": _heavy_tail,
    "scaled-images": _scaled_images,
    "sink-cls": _sink([0], [], empty=False),
    "sink-patch": _sink([], [0], empty=True),
    "attended-corner": _attended_corner,
    "fixed-pattern": _fixed_pattern([], slice(None)),
    "cls-corner": _fixed_pattern([0], slice(1)),
    "global-patches": _global_patches,
    "channel": _channel,
    "registered": _registered(read=False),
    "read-register": _registered(read=True),
    "finer-grid": _finer_grid,
}
