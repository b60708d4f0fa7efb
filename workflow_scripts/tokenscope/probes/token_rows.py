"""Rows of the bank that probes are trained on: who is in them, split by image, read in windows.

They serve Tables 1 to 3 of the main paper, "On the Reproducibility of Vision Transformers Need
Registers": normal and outlier tokens in equal numbers, for Table 3 also CLS and registers.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tokenscope.errors import StudyError
from tokenscope.probes.trainer import Window
from tokenscope.stores.zarr_store import open_array, open_store

PIECE = 4096  # rows read at once
SAME_PLACES = "normal_same_places"  # normal tokens that were drawn where outliers use to be


class Bank:
    """The feature stores of one backbone, shard by shard, read as one.

    Args:
        stores: of the data set that probes are trained on.
        tested: of the one that they are tested on, whose images stand last; empty where a share of
            the first tests them.
        dropped: ids of images of the first that are in the other as well, and train nothing.
    """

    def __init__(self, stores: list[str], tested: Sequence[str] = (), dropped: Sequence[str] = ()):
        self.stores = [*stores, *tested]
        self.shards = [open_store(store) for store in self.stores]
        self._arrays: dict = {}  # by shard and name
        first = self.shards[0]
        if "slot_kind" not in first.coords:
            raise StudyError(f"{stores[0]} holds no drawn tokens: it is no bank")
        self.attrs, self.width = first.attrs, first.sizes["feature"]
        self.grid, self.patch = tuple(first.attrs["grid"]), first.attrs["patch"]
        self.slot_kind = first["slot_kind"].values
        self.prefix = first["prefix_kind"].values.tolist() if "prefix_kind" in first.coords else []
        names = [n for n in ("patch_index", "norm", "label", "norm_over_median") if n in first]
        small = {n: [] for n in names}
        for shard in self.shards:
            for name, parts in small.items():
                parts.append(shard[name].values)
        joined = {name: np.concatenate(parts) for name, parts in small.items()}
        self.patch_index, self.norm, self.label = (joined[name] for name in names[:3])
        self.norm_over_median = joined.get("norm_over_median")
        self.ends = np.cumsum([shard.sizes["image"] for shard in self.shards])
        self.test_images = sum(shard.sizes["image"] for shard in self.shards[len(stores) :])
        self.dropped = np.zeros(self.images, bool)
        if len(dropped):
            ids = np.concatenate([shard["image_id"].values for shard in self.shards])
            self.dropped[: self.images - self.test_images] = np.isin(
                ids[: self.images - self.test_images], list(dropped)
            )

    @property
    def images(self) -> int:
        return len(self.label)

    @property
    def with_outlier(self) -> np.ndarray:
        """Which images have a token that was drawn as an outlier (image,)."""
        return ((self.patch_index >= 0) & (self.slot_kind == "outlier")).any(1)

    def take(self, name: str, images: np.ndarray, slots: np.ndarray) -> np.ndarray:
        """The entries ``[images[i], slots[i]]`` of an array, across shards: they alone are copied.

        Raises:
            StudyError: a chunk that they are in is not as it was written.
        """
        images, shards = np.asarray(images), np.searchsorted(self.ends, images, side="right")
        taken = None
        for number in np.unique(shards).tolist():
            mine = shards == number
            first = self.ends[number] - self.shards[number].sizes["image"]
            if (number, name) not in self._arrays:
                self._arrays[number, name] = open_array(self.stores[number], name)
            values = self._arrays[number, name].points(images[mine] - first, slots[mine])
            if taken is None:
                taken = np.empty_like(values, shape=(len(images), *values.shape[1:]))
            taken[mine] = values
        return taken

    @cached_property
    def final_norm(self) -> tuple[Tensor, Tensor, float]:
        """Weight, bias and epsilon of the final norm. Raises StudyError where there is none."""
        first = self.shards[0]
        if "final_norm_weight" not in first.coords:
            raise StudyError("this backbone has no final norm on its tokens")
        affine = (torch.from_numpy(first[f"final_norm_{n}"].values) for n in ("weight", "bias"))
        return *affine, self.attrs["final_norm_eps"]


@dataclass(frozen=True)
class Choice:
    """Which stored tokens make up the rows: ``image`` (row,), ``slots`` (row,) by group.

    Slots count the bank's slots first, then the prefix tokens.
    """

    image: np.ndarray
    slots: dict[str, np.ndarray]

    def only(self, groups: list[str]) -> "Choice":
        return Choice(self.image, {g: self.slots[g] for g in groups})


def choose(
    bank: Bank,
    groups: list[str],
    per_image: int,
    cutoff: float | None = None,
    normal: str = "normal",
    in_medians: bool = False,
) -> Choice:
    """Rows with one token of each group, all of one image: equal numbers by construction.

    Args:
        groups: of ``normal``, ``outlier``, :data:`SAME_PLACES`, ``cls``, ``reg0`` ...
        per_image: rows an image may have.
        cutoff: norm that divides drawn tokens into normal and outlier; by default the bank's own.
        normal: kind of slot that normal tokens are taken from, ``normal`` or ``lowest``.
        in_medians: whether the cutoff is a multiple of the image's median norm.
    """
    stored = bank.patch_index >= 0
    kind = bank.slot_kind
    masks = {"normal": stored & (kind == normal)}
    masks |= {group: stored & (kind == group) for group in ("outlier", SAME_PLACES)}
    if cutoff is not None:
        drawn = stored & np.isin(kind, ["normal", "outlier"])
        above = np.nan_to_num(bank.norm_over_median if in_medians else bank.norm) > cutoff
        masks = {"normal": drawn & ~above, "outlier": drawn & above}
    wanted = {g: masks[g] for g in groups if g in masks}
    counts = np.min([mask.sum(1) for mask in wanted.values()], axis=0)
    counts = np.minimum(counts, per_image)
    image = np.repeat(np.arange(bank.images), counts)
    turn = np.arange(len(image)) - np.repeat(np.cumsum(counts) - counts, counts)
    slots = {}
    for group in groups:
        if group in masks:
            slots[group] = np.argsort(~masks[group], axis=1, kind="stable")[image, turn]
        else:
            slots[group] = np.full(len(image), len(kind) + bank.prefix.index(group))
    return Choice(image, slots)


def split(
    images: int, shares: list[float], seeds: int, seed: int, tested: int = 0,
    usable: np.ndarray | None = None, most: int | None = None,
) -> tuple[np.ndarray, ...]:  # fmt: skip
    """Train and validation (seed, image), and test (image,): the last is the same for all seeds.

    Args:
        shares: of training, validation and test images.
        tested: number of images, the last ones, that test and are of another data set; the others
            are then shared by training and validation, in the ratio of their shares.
        usable: (image,) which images may train and validate; all by default.
        most: of them, at most so many are used.
    """
    order = np.random.default_rng([seed, images]).permutation(images)
    test = np.zeros(images, bool)
    if tested:
        test[-tested:] = True
    else:
        test[order[: round(shares[2] * images)]] = True
    rest = order[~test[order] & (True if usable is None else usable[order])][:most]
    count, of_rest = images, shares[1]
    if tested or usable is not None:
        count, of_rest = len(rest), shares[1] / (shares[0] + shares[1])
    train, validation = np.zeros((2, seeds, images), bool)
    rest = np.sort(rest)
    for s in range(seeds):
        shuffled = np.random.default_rng([seed, images, s]).permutation(rest)
        held = round(of_rest * count)
        validation[s, shuffled[:held]] = True
        train[s, shuffled[held:]] = True
    return train, validation, test


@dataclass
class Tokens:
    """The rows of a choice as :class:`tokenscope.probes.trainer.Data`.

    Each feature is standardised by mean and deviation over all images but the test images, group
    by group: an affine map that a linear layer could undo, so that what can be learned is the
    same, and learning rates mean the same for tokens of norm 20 and of norm 400.

    Args:
        target: ``position``, ``pixels`` or ``class``.
        masks: train, validation (seed, image) and test (image,) of :func:`split`.
        memory_gb: what tokens and targets may take on the device; above, windows are read anew.
        final_norm: whether tokens are taken after the final norm.
        standardise: whether features are standardised at all.
    """

    bank: Bank
    choice: Choice
    target: str
    masks: tuple[np.ndarray, np.ndarray, np.ndarray]
    device: str = "cpu"
    memory_gb: float = 16.0
    final_norm: bool = False
    standardise: bool = True
    broken: list[str] = field(default_factory=list)

    def __post_init__(self):
        image = self.choice.image
        train, validation, test = (torch.from_numpy(m[..., image]) for m in self.masks)
        self.train, self.validation, self.test = train, validation, test
        self.groups = list(self.choice.slots)
        self.features = self.bank.width + 1
        self.classes, self.class_number = np.unique(self.bank.label[image], return_inverse=True)
        row = len(self.groups) * (4 * self.features + 3 * self.bank.patch**2)
        size = max(1, int(1e9 * self.memory_gb / row))
        count = max(1, -(-len(image) // size))
        edges = np.linspace(0, len(image), count + 1).astype(int)
        self.spans = [slice(int(a), int(b)) for a, b in zip(edges, edges[1:], strict=False)]
        self._held: Window | None = None
        self._scale, self._raw = None, None
        self._measure()

    def windows(self) -> Iterator[Window]:
        """All rows in order; held on the device where they fit as one window."""
        if self._held is not None:
            yield self._held
            return
        for span in self.spans:
            tokens, self._raw = self._tokens(span) if self._raw is None else self._raw, None
            if self._scale is not None:
                mean, scale = self._scale
                tokens[..., :-1].sub_(mean).mul_(scale)
            window = Window(tokens.to(self.device), self.targets(span).to(self.device), span.start)
            if len(self.spans) == 1:
                self._held = window
            yield window

    def _measure(self) -> None:
        """Mean and deviation by feature, and which groups hold tokens that are no numbers."""
        total, squares = 0.0, 0.0
        for span in self.spans:
            self._raw = self._tokens(span)
            tokens = self._raw[..., :-1]
            bad = ~torch.isfinite(tokens).flatten(1).all(1)
            self.broken += [g for g, b in zip(self.groups, bad, strict=True) if b]
            not_test = tokens[:, ~self.test[span]]
            total += not_test.sum(1, keepdim=True, dtype=torch.float64)
            squares += not_test.double().square().sum(1, keepdim=True)
        if len(self.spans) > 1:
            self._raw = None
        count = max(1, int((~self.test).sum()))
        self._sums = total, squares
        mean = total / count
        deviation = (squares / count - mean.square()).clamp(min=0).sqrt()
        # A feature that never changes says nothing; its rounding noise must not be blown up.
        scale = torch.where(deviation > 1e-6 * (1 + mean.abs()), 1 / deviation, 0.0)
        if self.standardise:
            self._scale = mean.float(), scale.float()

    @property
    def digest(self) -> str:
        """Hash of the rows: sums of their tokens by feature, images, slots and split."""
        arrays = [*self._sums, self.train, self.validation, self.test, self.choice.image]
        hashed = hashlib.sha256(f"{self.groups} {self.target}".encode())
        for array in [*arrays, *self.choice.slots.values()]:
            hashed.update(np.ascontiguousarray(array).tobytes())
        return hashed.hexdigest()

    def _tokens(self, span: slice) -> Tensor:
        """float32 (group, row, D + 1) of some rows, copied in pieces from their chunks."""
        image = self.choice.image[span]
        out = torch.ones(len(self.groups), len(image), self.features)
        slots = len(self.bank.slot_kind)
        for rows in _pieces(image):
            for g, group in enumerate(self.groups):
                slot = self.choice.slots[group][span][rows]
                name, slot = ("prefix", slot - slots) if slot[0] >= slots else ("tokens", slot)
                values = torch.from_numpy(self.bank.take(name, image[rows], slot)).float()
                if self.final_norm:
                    weight, bias, eps = self.bank.final_norm
                    values = F.layer_norm(values, (self.bank.width,), weight, bias, eps)
                out[g, rows, :-1] = values
        return out

    def targets(self, span: slice) -> Tensor:
        """(group, row, ...): place on the grid, class number, or uint8 pixels."""
        image, slots = self.choice.image[span], [s[span] for s in self.choice.slots.values()]
        if self.target == "class":
            number = torch.from_numpy(self.class_number[span])
            return number.expand(len(slots), -1)
        if self.target == "position":
            return torch.from_numpy(
                np.stack([self.bank.patch_index[image, slot] for slot in slots]).astype(np.int64)
            )
        out = np.empty((len(slots), len(image), 3 * self.bank.patch**2), np.uint8)
        for rows in _pieces(image):
            for g, slot in enumerate(slots):
                out[g, rows] = self.bank.take("pixels", image[rows], slot[rows])
        return torch.from_numpy(out)


def _pieces(image: np.ndarray) -> Iterator[slice]:
    """Rows that are read at once."""
    return (slice(a, a + PIECE) for a in range(0, len(image), PIECE))
