"""All kinds of one backbone: one pass over a few hundred images, and the experiments beside it."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from tokenscope.forward.inputs import normalise
from tokenscope.forward.out_of_memory import halving_batches
from tokenscope.forward.precision import autocast
from tokenscope.forward.tokens import registers_among, token_kinds
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
from tokenscope.kinds.answers import NOT_ABOUT, UNDECIDED, Found, does_not_apply, enough
from tokenscope.kinds.block_pass import BlockPass, BlockView, in_pieces
from tokenscope.norms.artifacts import Judgement
from tokenscope.norms.outlier_rule import judged_mask
from tokenscope.stats.bootstrap import Bootstrap


@dataclass(frozen=True)
class Images:
    """The images that are shown.

    Attributes:
        count: of them. read: pixels (image, row, column, channel) uint8 of a range (start, stop).
        mean, std: by which colours are scaled.
        labels: (image,) classes of the model's own head, None where it has none for them.
        inside: (image, patch) share of each patch that lies in a box, None where none are known.
    """

    count: int
    read: Callable[[int, int], np.ndarray]
    mean: tuple
    std: tuple
    labels: np.ndarray | None = None
    inside: np.ndarray | None = None


@dataclass(frozen=True)
class Known:
    """What the norms have said before (:func:`tokenscope.norms.artifacts.judge`).

    Attributes:
        verdict: yes, no or cannot tell. block, onset: from 1, 0 without artifacts.
        cutoff: in medians of an image.
        mask: (image, patch), the outliers of the images that are shown, none without artifacts.
        row: the answer of the kind ``high-norm``.
    """

    verdict: str
    block: int
    onset: int
    cutoff: float
    mask: np.ndarray
    row: Found = field(repr=False)

    @classmethod
    def of(cls, judgement: Judgement, norms: np.ndarray, chosen=slice(None)) -> "Known":
        """Of norms (image, block, patch) of all images; ``chosen`` are those that are shown."""
        j, yes = judgement, judgement.verdict == "yes"
        row = Found.of("high-norm", "share", (j.share, *j.share_interval), j.block, np.nan,
                       "percent", j.verdict, j.why)  # fmt: skip
        if not yes:
            return cls(j.verdict, 0, 0, np.inf, np.zeros_like(norms[chosen, 0], bool), row)
        mask = judged_mask(norms[:, j.block - 1], j.cutoff)[chosen]
        onset = int(j.onset) if j.onset == j.onset else j.block
        return cls(j.verdict, j.block, onset, j.cutoff, mask, row)

    @property
    def yes(self) -> bool:
        """Whether there are outliers."""
        return self.verdict == "yes"


def holding(known: Known, most: int, seed: int) -> np.ndarray:
    """Which images hold outliers, at most so many, drawn at random: their numbers, ascending.

    What is asked of outliers is asked of these: among images as they come, few may hold any.
    """
    held = np.flatnonzero(known.mask.any(1))
    return np.sort(np.random.default_rng(seed).permutation(held)[:most])


class Measure:
    """The kinds of one backbone.

    Images as they come are :meth:`observed` and :meth:`registers_replaced`; those of
    :func:`holding` are for what is asked of outliers: :meth:`of_outliers`,
    :meth:`outliers_replaced` and :meth:`shifted`.

    Args:
        model: a timm VisionTransformer or Eva, in evaluation mode, on its device.
        images: that it is shown. known: what norms said, of the same images.
        bootstrap: over them. batch: images at a time; halved where memory runs out.
    """

    def __init__(
        self, model: nn.Module, images: Images, known: Known, bootstrap: Bootstrap, batch: int = 16
    ):
        self.model, self.images, self.known, self.bootstrap = model, images, known, bootstrap
        self.batch, self.kinds = batch, token_kinds(model)
        self.prefix, self.grid = model.num_prefix_tokens, tuple(model.patch_embed.grid_size)
        self.device = next(model.parameters()).device
        self.registers = registers_among(self.kinds)
        self.colours = [torch.tensor(c, device=self.device) for c in (images.mean, images.std)]
        self.kept: Tensor | None = None  # registers after every block, of the pass

    def observed(self) -> list[Found]:
        """What one pass shows of all tokens."""
        seen = halving_batches(self, self._pass)
        known, bootstrap, depth = self.known, self.bootstrap, len(self.model.blocks)
        patches, cls = self.grid[0] * self.grid[1], "cls" in self.kinds
        of_last = {name: seen[name][:, 0] for name in
                   ("effective_rank", "stable_rank_of_patches", "spread_at_most")}  # fmt: skip
        final = torch.from_numpy(seen["final"][:, 0])
        resamples, seed = len(bootstrap.counts), bootstrap.seed
        over = Bootstrap(len(final), resamples, seed, bootstrap.confidence)
        return [
            known.row,
            *sinks.found(seen, self.kinds, bootstrap),
            *across_images.fixed_pattern(final, self.grid, over),
            *channels.found(seen, bootstrap),
            *locality.found(seen, patches, cls, bootstrap),
            *replacement.register_norms(seen["prefix_ratio"], self.kinds, bootstrap),
            *attention_received.registers(seen, self.kinds, bootstrap),
            *rank.found(of_last, depth, over),
            *locality.point_in_box(
                seen["cls_like"][:, -1], self.images.inside, self.grid, bootstrap
            ),
            *([] if known.yes else qkv.found(seen, patches, 0, bootstrap)),
        ]

    def of_outliers(self) -> list[Found]:
        """What one pass shows of outliers: attention, queries, keys and values, universality."""
        known, bootstrap = self.known, self.bootstrap
        if not known.yes:
            return [self._without(kind) for kind in ("attention-received", "universality")]
        seen = halving_batches(self, self._pass_over_outliers)
        judged = {
            n: seen[n][:, 0] for n in seen if n.startswith(("outlier_", "rest_", "ordinary_"))
        }
        patches = self.grid[0] * self.grid[1]
        return enough(
            [
                *attention_received.outliers(seen, self.prefix, known.mask, known.block, bootstrap),
                *across_images.universality(judged, known.block, bootstrap),
                *qkv.found(seen, patches, known.block, bootstrap),
            ],
            self.images.count,
        )

    def outliers_replaced(self) -> list[Found]:
        """Does the output hang on outliers?"""
        known, kind = self.known, "outlier-use"
        if not known.yes:
            return [self._without(kind)]
        other = replacement.random_like(known.mask, self.bootstrap.seed)

        def swaps(images: slice) -> dict[str, replacement.Swap]:
            here, instead = (torch.from_numpy(m[images]).to(self.device)
                             for m in (known.mask, other))  # fmt: skip
            return {
                way: replacement.outlier_swap(way, here, instead, known.onset, self.prefix)
                for way in replacement.OUTLIER_WAYS
            }

        changes = halving_batches(self, lambda: self._replace(swaps, ~(known.mask | other)))
        return enough(
            replacement.found(kind, changes, "control", np.any(known.mask, axis=1),
                              self.images.labels, known.onset, self.bootstrap),
            self.images.count,
        )  # fmt: skip

    def registers_replaced(self) -> list[Found]:
        """Does the output hang on registers? After :meth:`observed`, which keeps them."""
        kind, count = "register-use", self.images.count
        registers = self.registers
        if registers is None or self.kept is None:
            return [does_not_apply(kind, "pooled_change", "no registers")]
        stored = {
            way: replacement.other_registers(way, self.kept) for way in replacement.REGISTER_WAYS
        }

        def swaps(images: slice) -> dict[str, replacement.Swap]:
            return {way: replacement.register_swap(value[images], registers)
                    for way, value in stored.items()}  # fmt: skip

        changes = halving_batches(self, lambda: self._replace(swaps, ~self.known.mask))
        return replacement.found(kind, changes, "", np.ones(count, bool), self.images.labels, 0,
                                 self.bootstrap)  # fmt: skip

    def shifted(self, larger: Callable[[int, int], np.ndarray]) -> list[Found]:
        """The shift test; ``larger`` reads the same images with a margin of
        :func:`tokenscope.kinds.shift_test.margin` below and to the right."""
        known = self.known
        if not known.yes:
            return [self._without("shift")]
        looks: dict[str, list[np.ndarray]] = defaultdict(list)
        for _, x in self._batches(larger):
            size = tuple(self.model.patch_embed.img_size)
            cuts = shift_test.windows(x, size, self.model.patch_embed.patch_size[0])
            for name, cut in cuts._asdict().items():
                looks[name].append(self._norms_after(cut, known.block))
        masks = {n: judged_mask(np.concatenate(v), known.cutoff) for n, v in looks.items()}
        first = masks.pop("first")
        return shift_test.found(first, masks, self.grid, known.block, self.bootstrap)

    def norms(self) -> np.ndarray:
        """Norms of patches (image, block, patch), as at another size."""
        look = lambda view: {"norms": view.patches.norm(dim=-1)}  # noqa: E731
        return halving_batches(self, lambda: self._seen(look))["norms"]

    def _without(self, kind: str) -> Found:
        """The row of a kind that is about outliers, where norms say of none."""
        why, answer = "it is about outliers, and norms show none", NOT_ABOUT
        if self.known.verdict == UNDECIDED:
            why, answer = "it is about outliers, and norms cannot tell whether there are", UNDECIDED
        return Found(kind, "outliers", answer=answer, why=why)

    def _batches(self, read=None) -> Iterator[tuple[slice, Tensor]]:
        read = read or self.images.read
        for start in range(0, self.images.count, self.batch):
            images = slice(start, min(start + self.batch, self.images.count))
            pixels = torch.from_numpy(read(images.start, images.stop)).to(self.device)
            yield images, normalise(pixels, *self.colours)

    @torch.inference_mode()
    def _seen(self, look) -> dict[str, np.ndarray]:
        kept = defaultdict(list)
        with BlockPass(self.model, look) as observe, autocast(self.device):
            for images, x in self._batches():
                for name, value in observe(x, images).items():
                    if name != "features":
                        kept[name].append(value.numpy())
        return {name: np.concatenate(values) for name, values in kept.items()}

    def _pass(self) -> dict[str, np.ndarray]:
        mask, places = torch.from_numpy(self.known.mask), rank.thinned(self.grid)

        def look(view: BlockView) -> dict[str, Tensor]:
            out = channels.look(view) | locality.look(view)
            out |= {} if self.known.yes else qkv.look(view)
            gram = sinks.written(view.block, view.call.v.shape[1])

            def heads(images: slice, weights: Tensor) -> dict[str, Tensor]:
                received = weights.mean(2)
                return sinks.look(view, images, weights, gram, received) | (
                    attention_received.look(view, weights, received)
                )

            out |= in_pieces(view, heads)
            if view.last and view.images.start < COMPARED:
                out |= rank.look(view, places, mask[view.images].to(self.device))
                out["final"] = view.normed[:, view.prefix :].half()
            norms = view.tokens.float().norm(dim=-1)
            median = norms[:, view.prefix :].median(1, keepdim=True).values
            out["prefix_ratio"] = norms[:, : view.prefix] / median
            if self.registers is not None:
                out["registers"] = view.tokens[:, self.registers].float()
            return out

        seen = self._seen(look)
        if self.registers is not None:
            self.kept = torch.from_numpy(seen.pop("registers"))
        seen["tokens_in_image"] = np.array(seen["received"].shape[-1])
        return seen

    def _pass_over_outliers(self) -> dict[str, np.ndarray]:
        mask = torch.from_numpy(self.known.mask)
        expected = mask.float().mean(0).to(self.device)

        def look(view: BlockView) -> dict[str, Tensor]:
            out = qkv.look(view)
            out |= in_pieces(view, lambda _, w: attention_received.look(view, w, w.mean(2)))
            if view.number == self.known.block:
                out |= across_images.look(view, mask[view.images].to(self.device), expected)
            return out

        return self._seen(look)

    @torch.inference_mode()
    def _norms_after(self, x: Tensor, block: int) -> np.ndarray:
        """Norms of patches (image, patch) after a block, from 1."""
        held: list[Tensor] = []
        hook = self.model.blocks[block - 1].register_forward_hook(
            lambda _m, _i, out: held.append(out[:, self.prefix :].float().norm(dim=-1))
        )
        try:
            with autocast(self.device):
                self.model.forward_features(x)
        finally:
            hook.remove()
        return held[0].cpu().numpy()

    @torch.inference_mode()
    def _replace(
        self, swaps: Callable[[slice], dict[str, replacement.Swap]], rest: np.ndarray
    ) -> dict[str, dict[str, np.ndarray]]:
        """What changes, by way (``none``: nothing is replaced) and by name: each (image,).

        Args:
            swaps: of a range of images, by way. rest: (image, patch), patches that are compared.
        """
        changes: dict[str, dict[str, list[np.ndarray]]] = defaultdict(lambda: defaultdict(list))
        has_head = getattr(self.model, "num_classes", 0) > 0

        def after(x: Tensor, swap: replacement.Swap) -> dict[str, Tensor]:
            with replacement.Replaced(self.model, swap), autocast(self.device):
                return replacement.output(self.model, self.model.forward_features(x), has_head)

        for images, x in self._batches():
            before, kept = after(x, lambda _n, t: t), torch.from_numpy(rest[images]).to(self.device)
            results = {"none": before} | {w: after(x, swap) for w, swap in swaps(images).items()}
            for way, result in results.items():
                for name, value in replacement.change(before, result, kept).items():
                    changes[way][name].append(value.cpu().numpy())
        return {
            way: {name: np.concatenate(values) for name, values in of_way.items()}
            for way, of_way in changes.items()
        }
