"""Count how often the answers of the kinds of artifacts err, on draws whose answer is known.

Each kind is drawn without its effect, with it just at the bound and at twice the bound, and judged
by the functions that judge a backbone (:mod:`tokenscope.kinds`). ``python -m
tokenscope.calibration.kinds config/kinds_calibration.csv`` counts and keeps the counts. High norms
are counted beside (`counting.py`); another size (``resolution``) repeats their answer.
"""

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from tokenscope.code_hash import code_hash
from tokenscope.forward.attention import AttentionCall, top_count
from tokenscope.kinds import (
    across_images,
    attention_received,
    channels,
    locality,
    qkv,
    rank,
    replacement,
    shift_test,
    sinks,
)
from tokenscope.kinds.across_images import COMPARED
from tokenscope.kinds.answers import ONE_IN_TEN, ONE_IN_TWENTY, Found
from tokenscope.kinds.block_pass import BlockView
from tokenscope.stats.bootstrap import Bootstrap

COLUMNS = ["kind", "effect", "drawn", "images", "draws", "yes", "cannot_tell", "no"]
NONE, BOUND, TWICE = "none", "bound", "twice"
IMAGES, DRAWS, RESAMPLES, SEED = (50, 200), 200, 500, 20
PATCHES, WIDTH = 36, 32  # of drawn tokens
Rng = np.random.Generator


@dataclass(frozen=True)
class Case:
    """One kind, or one of the ways in which it can be there.

    Attributes:
        kind: in words. truth: by effect, what is planted, in units of the kind's own quantity.
        unit: of it. judge: draws so much in so many images and gives the kind's rows.
    """

    kind: str
    unit: str
    truth: dict[str, float]
    judge: Callable[[Rng, float, Bootstrap], list[Found]]


def _of_bound(bound: float, none: float = 0.0) -> dict[str, float]:
    return {NONE: none, BOUND: bound, TWICE: 2 * bound}


def _view(tokens: Tensor, call: AttentionCall | None = None, prefix: int = 1) -> BlockView:
    """A block that gave these tokens (image, token, width), of a model without a final norm."""
    block = nn.Module()
    block.attn = nn.Module()
    block.attn.proj = nn.Linear(8, 8, bias=False)
    call = call or AttentionCall(*[torch.zeros(len(tokens), 1, 1, 1)] * 3)
    return BlockView(
        1, block, call, tokens, nn.Identity(), prefix, prefix > 0, slice(0, len(tokens)), True
    )  # fmt: skip


def _seen(*blocks: dict[str, Tensor]) -> dict[str, np.ndarray]:
    """What looks at blocks left, as one pass gives it: (image, block, ...)."""
    return {n: torch.stack([b[n] for b in blocks], 1).numpy() for n in blocks[0]}


def _gauss(rng: Rng, *shape: int) -> Tensor:
    return torch.from_numpy(rng.standard_normal(shape, dtype=np.float32))


def _sink(rng: Rng, share: float, bootstrap: Bootstrap) -> list[Found]:
    """Two blocks of two heads; near misses, which eight queries of ten make, in a third of the
    images."""
    images, tokens, looks = bootstrap.images, 26, []
    tied = rng.random(images) < share
    for block in range(2):
        scores = 1.5 * _gauss(rng, images, 2, tokens, tokens)
        near = rng.random(images) < 1 / 3
        for chosen, head, queries in ((tied if block else near, 0, 25), (near, 1, 21)):
            at = torch.from_numpy(np.flatnonzero(chosen))
            key = torch.from_numpy(rng.integers(0, tokens, len(at)))
            scores[at[:, None], head, torch.arange(queries)[None], key[:, None]] += 9
        value = _gauss(rng, images, 2, tokens, 4)
        view = _view(torch.zeros(images, tokens, 1), AttentionCall(value, value, value))
        looks.append(sinks.look(view, slice(None), scores.softmax(-1)))
    seen = _seen(*looks) | {"tokens_in_image": np.array(tokens)}
    return sinks.found(seen, ["cls"], bootstrap)


def _outliers(rng: Rng, images: int, patches: int, share: float = 0.04) -> np.ndarray:
    """(image, patch); more in some images than in others."""
    return rng.random((images, patches)) < rng.gamma(2, share / 2, (images, 1))


def _attention(rng: Rng, times: float, bootstrap: Bootstrap) -> list[Found]:
    """Log-normal attention; what outliers get varies by half between images."""
    mask = _outliers(rng, bootstrap.images, 196)
    own = times * np.exp(0.5 * rng.standard_normal((bootstrap.images, 1)) - 0.125)
    got = rng.lognormal(0, 0.8, mask.shape)
    part = {}
    for name, where in (("outliers", mask), ("rest", ~mask)):
        part[name] = got * where / (got * where).sum(1, keepdims=True).clip(1e-30)
    held = np.minimum(own * mask.mean(1, keepdims=True), 1)
    seen = {"received": (held * part["outliers"] + (1 - held) * part["rest"])[:, None]}
    return attention_received.outliers(seen, 0, mask, 1, bootstrap)


def _fixed(rng: Rng, gain: float, bootstrap: Bootstrap) -> list[Found]:
    """Two of the places hold a pattern; the upper half of all images shows a sky."""
    grid, images = (6, 6), min(bootstrap.images, COMPARED)
    tokens = _gauss(rng, images, PATCHES, WIDTH)
    tokens[:, : PATCHES // 2] += _gauss(rng, WIDTH)
    if gain:
        places = rng.choice(PATCHES, 2, replace=False)
        pattern = torch.nn.functional.normalize(_gauss(rng, 2, WIDTH), dim=-1) * WIDTH**0.5
        tokens[:, places] = _gauss(rng, images, 2, WIDTH) + (gain / (1 - gain)) ** 0.5 * pattern
    over = Bootstrap(images, len(bootstrap.counts), bootstrap.seed)
    return across_images.fixed_pattern(tokens, grid, over)


def _shift(rng: Rng, stays: float, bootstrap: Bootstrap) -> list[Found]:
    """Outliers of which so many stay at their place and the others move; -1: all are anew."""
    images, side, (down, right) = bootstrap.images, 14, shift_test.SHIFT
    shape = (images, side + down, side + right)
    if stays < 0:
        looks = [rng.random((images, side, side)) < 0.03 for _ in range(3)]
    else:
        places = rng.random((side, side)) < 0.1
        keeps = (rng.random(images) < stays)[:, None, None]  # the image is of one kind
        world = rng.random(shape) < places.mean()
        first = world[:, :side, :side]
        moved = (first, world[:, down:, right:], first[:, :, ::-1])
        there = [np.where(keeps, places, world) for world in moved]
        looks = [mask & (rng.random(mask.shape) < 0.9) for mask in there]
    first, shifted, mirrored = (look.reshape(images, -1) for look in looks)
    others = {"shifted": shifted, "mirrored": mirrored}
    return shift_test.found(first, others, (side, side), 1, bootstrap)


def _energy(rng: Rng, share: float, bootstrap: Bootstrap) -> list[Found]:
    """One channel of so much of the energy, more in some images than in others."""
    images = bootstrap.images
    tokens = 0.3 * _gauss(rng, images, PATCHES + 1, WIDTH)
    size = (share / (1 - share) * (WIDTH - 1)) ** 0.5
    vary = np.exp(0.2 * rng.standard_normal((images, 1), dtype=np.float32) - 0.04)
    tokens[:, :, 3] *= size * torch.from_numpy(vary)
    return channels.found(_seen(channels.look(_view(tokens))), bootstrap)


def _massive(rng: Rng, share: float, bootstrap: Bootstrap) -> list[Found]:
    """A massive activation in one patch of so many images; all have one in CLS, and a near miss.

    A third of the channels are large, so that no single one holds most of the energy.
    """
    images = bootstrap.images
    tokens = 0.1 * _gauss(rng, images, PATCHES + 1, WIDTH)
    tokens[:, :, 20:] = 30 * tokens[:, :, 20:].sign()
    tokens[:, 0, 5], tokens[:, 3, 7] = 200.0, 90.0
    held = np.flatnonzero(rng.random(images) < share)
    tokens[held, rng.integers(1, PATCHES + 1, len(held)), 9] = 150.0
    return channels.found(_seen(channels.look(_view(tokens))), bootstrap)


def _locality(rng: Rng, cosine: float, bootstrap: Bootstrap) -> list[Found]:
    """Patches that hold so much of their own image's CLS."""
    images = bootstrap.images
    cls = _gauss(rng, images, 1, WIDTH)
    vary = cosine * (1 + 0.2 * rng.uniform(-1, 1, (images, 1, 1)))
    part = torch.from_numpy((vary / np.sqrt(1 - vary**2)).astype(np.float32))
    patches = _gauss(rng, images, PATCHES, WIDTH) + part * cls
    seen = _seen(locality.look(_view(torch.cat([cls, patches], 1))))
    return locality.found(seen, PATCHES, True, bootstrap)


def _universality(rng: Rng, gap: float, bootstrap: Bootstrap) -> list[Found]:
    """All tokens share a tenth of their direction between images, outliers so much more."""
    images, width = bootstrap.images, 2 * WIDTH
    mask = _outliers(rng, images, PATCHES)
    # Noise has no direction in common: cosines of n + a u are a^2 / (1 + a^2).
    unit = torch.nn.functional.normalize(_gauss(rng, width), dim=-1) * width**0.5
    size = [(c / (1 - c)) ** 0.5 for c in (0.1, 0.1 + gap)]
    outlier = torch.from_numpy(mask)
    strength = torch.where(outlier, size[1], size[0])[..., None]
    view = _view(_gauss(rng, images, PATCHES, width) + strength * unit, prefix=0)
    left = across_images.look(view, outlier, outlier.float().mean(0))
    return across_images.universality({n: v.numpy() for n, v in left.items()}, 1, bootstrap)


def _use(kind: str) -> Callable[[Rng, float, Bootstrap], list[Found]]:
    """Changes of the output are gamma, and vary between images as much as they are large."""

    def judge(rng: Rng, extra: float, bootstrap: Bootstrap) -> list[Found]:
        n = bootstrap.images
        noise, own, rest = (rng.gamma(2, 0.5, n) for _ in range(3))
        change = {"mean": {"pooled": 0.002 * noise + extra * own}}
        control = "control" if kind == "outlier-use" else ""
        if control:
            change[control] = {"pooled": 0.002 * rest}
        return replacement.found(kind, change, control, np.ones(n, bool), None, 1, bootstrap)

    return judge


def _registers(rng: Rng, share: float, bootstrap: Bootstrap) -> list[Found]:
    """Four registers in six blocks; in one block one is high in so many images."""
    ratios = rng.lognormal(0, 0.2, (bootstrap.images, 6, 4))
    ratios[rng.random(bootstrap.images) < share, 3, 1] = 8
    return replacement.register_norms(ratios, [f"reg{i}" for i in range(4)], bootstrap)


def _rank(rng: Rng, share: float, bootstrap: Bootstrap) -> list[Found]:
    """Effective ranks of images vary by a third."""
    images, most = min(bootstrap.images, COMPARED), 192
    effective = most * share * np.exp(0.3 * rng.standard_normal((images, 2)) - 0.045)
    seen = {
        "effective_rank": effective, "stable_rank_of_patches": effective / 3,
        "spread_at_most": np.full(images, most),
    }  # fmt: skip
    return rank.found(seen, 12, Bootstrap(images, len(bootstrap.counts), bootstrap.seed))


def _boxes(rng: Rng, times: float, bootstrap: Bootstrap) -> list[Found]:
    """Boxes of every size; the patch lies in one so many times as often as by chance."""
    images, inside = bootstrap.images, np.zeros((bootstrap.images, 196))
    areas = rng.integers(10, 90, images)
    for image, area in enumerate(areas):
        inside[image, :area] = 1
    hit = rng.random(images) < times * areas / 196
    like = np.where(hit, 0, 195)
    return locality.point_in_box(like, inside, (14, 14), bootstrap)


def _qkv(rng: Rng, share: float, bootstrap: Bootstrap) -> list[Found]:
    """So many of the patches of the highest output are of the lowest query and value."""
    images, patches = bootstrap.images, 196
    count = top_count(patches)
    length = {name: rng.uniform(1, 2, (images, patches)) for name in ("q", "k", "v", "output")}
    chance = count / patches
    low = np.argsort(length["output"], 1)[:, -count:]
    for name in ("q", "v"):
        vary = rng.beta(2, 2, (images, 1)) * 2  # of mean one: images differ
        chosen = rng.random(low.shape) < vary * (share - chance) / (1 - chance)
        image, which = np.nonzero(chosen)
        length[name][image, low[image, which]] = rng.uniform(0, 0.5, len(image))
    tensor = {n: torch.from_numpy(v.astype(np.float32)) for n, v in length.items()}
    q, k, v = (tensor[n][:, None, :, None] for n in ("q", "k", "v"))
    view = _view(tensor["output"][..., None], AttentionCall(q, k, v), prefix=0)
    return qkv.found(_seen(qkv.look(view)), patches, 1, bootstrap)


CHANCE = top_count(196) / 196
CASES = [
    Case("sink", "of the images", _of_bound(ONE_IN_TEN), _sink),
    Case("attention-received", "x uniform", _of_bound(attention_received.MANY, 1), _attention),
    Case("fixed-pattern", "gain in cosine", _of_bound(across_images.GAIN), _fixed),
    Case("shift", "of the images keep outliers in place (-1: drawn anew)",
         {NONE: -1, BOUND: 0.5, TWICE: 2 / 3}, _shift),
    Case("channel, by energy", "of the energy, two thirds being twice the others'",
         {NONE: 1 / WIDTH, BOUND: channels.HALF, TWICE: 2 / 3}, _energy),
    Case("channel, by massive activations", "of the images", _of_bound(ONE_IN_TEN), _massive),
    # Cosines end at 1: twice as much of CLS beside what is the patch's own.
    Case("locality", "cosine with CLS, twice as much of it being 0.76",
         {NONE: 0, BOUND: locality.LOST, TWICE: float(np.sin(np.arctan(2 / 3**0.5)))}, _locality),
    Case("universality", "cosine over ordinary tokens", _of_bound(across_images.ALIKE),
         _universality),
    Case("outlier-use", "1 - cosine", _of_bound(replacement.CHANGE), _use("outlier-use")),
    Case("register-norm", "of the images", _of_bound(ONE_IN_TWENTY), _registers),
    Case("register-use", "1 - cosine beyond 0.002", _of_bound(replacement.CHANGE - 0.002),
         _use("register-use")),
    Case("rank", "of the directions", {NONE: 0.5, BOUND: rank.FEW, TWICE: rank.FEW / 2}, _rank),
    Case("point-in-box", "x chance", {NONE: 1.5, BOUND: 1, TWICE: 0.5}, _boxes),
    Case("qkv", "of the lowest", _of_bound(qkv.MANY * CHANCE, CHANCE), _qkv),
]  # fmt: skip


def count(case: Case, images: int, draws: int, seed: int = SEED) -> Iterator[dict]:
    """A row for each effect: how often which answer was given (columns :data:`COLUMNS`)."""
    for e, (effect, size) in enumerate(case.truth.items()):
        rng = np.random.default_rng([seed, e, images, *case.kind.encode()])
        said: Counter[str] = Counter()
        for draw in range(draws):
            found = case.judge(rng, size, Bootstrap(images, RESAMPLES, seed=draw))
            said[next(row.answer for row in found if row.answer)] += 1
        if extra := set(said) - {"yes", "no", "cannot tell"}:
            raise RuntimeError(f"{case.kind}: answered {extra}, which was not to be drawn")
        yield {
            "kind": case.kind, "effect": effect, "drawn": f"{size:.3g} {case.unit}",
            "images": images, "draws": draws, "yes": said["yes"],
            "cannot_tell": said["cannot tell"], "no": said["no"],
        }  # fmt: skip


def main(output: str | Path, draws: int = DRAWS) -> None:
    """Count all cases and write the table, with the hash of the code that was counted."""
    torch.set_num_threads(1)
    rows = [row for case in CASES for images in IMAGES for row in count(case, images, draws)]
    table = pd.DataFrame(rows, columns=COLUMNS)
    table.assign(code=code_hash(Path(__file__))).to_csv(output, index=False)


if __name__ == "__main__":
    main(sys.argv[1])
