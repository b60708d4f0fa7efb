"""Which images make up which update, and their pixels.

Nothing random here is a state that has to be saved. The order of an epoch is a function of (seed,
epoch), an augmentation one of (seed, epoch, place in the epoch), and what a forward pass draws one
of (seed, update, micro-batch). A training can therefore go on after any update, and the same
micro-batches come out whatever the number of processes that share them.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from timm.data import create_transform
from timm.data.distributed_sampler import RepeatAugSampler
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from tokenscope.errors import StudyError
from tokenscope.images.geometry import Geometry
from tokenscope.images.location import ImageLocation
from tokenscope.images.preprocess import decode, open_rgb
from tokenscope.study.recipes import Training

ORDER, AUGMENT, FORWARD = range(3)  # what a seed is for
Key = tuple[int, int, int]  # epoch, place in the epoch, image


@dataclass(frozen=True)
class Batch:
    """One micro-batch: uint8 (image, row, column, channel), classes, classes of patches."""

    pixels: Tensor
    targets: Tensor
    segments: Tensor | None = None


@dataclass(frozen=True)
class UpdatePlan:
    """The micro-batches of a training, as one of ``size`` processes sees them.

    Raises:
        StudyError: fewer images than one update takes, or micro-batches that cannot be shared
            evenly among the processes.
    """

    recipe: Training
    images: list[int] = field(repr=False)
    rank: int = 0
    size: int = 1

    def __post_init__(self):
        r = self.recipe
        if len(self.images) < r.batch_size:
            raise StudyError(
                f"{len(self.images)} training images are fewer than one batch of {r.batch_size}"
            )
        if r.slots % self.size:
            raise StudyError(
                f"batch_size {r.batch_size} in micro-batches of {r.micro_batch} makes {r.slots} "
                f"parts, which {self.size} devices cannot share evenly; change micro_batch"
            )

    @property
    def steps(self) -> int:
        """Updates in an epoch; images that fill no batch wait for another epoch."""
        return len(self.images) // self.recipe.batch_size

    @property
    def total(self) -> int:
        """Updates in all."""
        return self.steps * self.recipe.epochs

    def slots(self) -> list[int]:
        """The micro-batches of each update that this process computes."""
        return list(range(self.rank, self.recipe.slots, self.size))

    def keys(self, start: int) -> Iterator[list[Key]]:
        """The images of each micro-batch of this process, from update ``start`` to the end."""
        r, order, known = self.recipe, [], -1
        for update in range(start, self.total):
            epoch, step = divmod(update, self.steps)
            if epoch != known:
                order, known = self._order(epoch), epoch
            first = step * r.batch_size
            for slot in self.slots():
                places = range(first + slot, first + r.batch_size, r.slots)
                yield [(epoch, place, self.images[order[place]]) for place in places]

    def _order(self, epoch: int) -> list[int]:
        sampler = RepeatAugSampler(
            range(len(self.images)), num_replicas=1, rank=0, num_repeats=self.recipe.repeats,
            selected_round=0,
        )  # fmt: skip
        sampler.set_epoch(derived(self.recipe.seed, ORDER, epoch))
        return list(sampler)


def derived(*parts: int) -> int:
    """A seed made of numbers."""
    return int(np.random.SeedSequence(parts).generate_state(1)[0])


def seed_all(*parts: int) -> None:
    """Seed what timm's transforms, timm's mixup and torch draw from."""
    seed = derived(*parts)
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 (timm draws from the global generator)
    torch.manual_seed(seed)


def split(images: int, recipe: Training) -> tuple[list[int], list[int]]:
    """Images to train on and images held out, by the recipe's seed."""
    generator = torch.Generator().manual_seed(recipe.seed)
    order = torch.randperm(images, generator=generator).tolist()
    held = int(recipe.validation * images)
    return order[held:], order[:held]


def check_labels(labels: np.ndarray, classes: int) -> None:
    """Raise a StudyError unless every label is a class of the model."""
    if labels.min() < 0 or labels.max() >= classes:
        raise StudyError(
            f"labels run from {labels.min()} to {labels.max()}, the model has {classes} classes "
            "(recipe: model, num_classes)"
        )


class Memory:
    """Decoded pixels in memory, mirrored at random; patches keep the class of what they show.

    Args:
        pixels: (image, row, column, channel) uint8. labels: (image,) class numbers.
        segments: (image, patch row, patch column) class of each patch, or None.
    """

    def __init__(self, pixels: np.ndarray, labels: np.ndarray, segments: np.ndarray | None = None):
        self.pixels, self.labels = torch.from_numpy(pixels), torch.as_tensor(labels).long()
        self.segments = None if segments is None else torch.from_numpy(segments).long()

    def training(self, plan: UpdatePlan, start: int) -> Iterator[Batch]:
        """The micro-batches of this process, from update ``start`` to the end."""
        for keys in plan.keys(start):
            epoch, place, _ = keys[0]
            index = [image for *_, image in keys]
            generator = torch.Generator()
            generator.manual_seed(derived(plan.recipe.seed, AUGMENT, epoch, place))
            flip = torch.rand(len(index), generator=generator) < 0.5
            segments = None if self.segments is None else _mirror(self.segments[index], flip)
            yield Batch(_mirror(self.pixels[index], flip), self.labels[index], segments)

    def held(self, index: list[int], size: int) -> Iterator[Batch]:
        """Images held out, by number, unchanged; ``size`` of them at once."""
        for part in torch.tensor(index, dtype=torch.long).split(size):
            yield Batch(self.pixels[part], self.labels[part])


def _mirror(x: Tensor, flip: Tensor) -> Tensor:
    """Mirror the chosen items of a batch along their columns."""
    return torch.where(flip.view(-1, *[1] * (x.ndim - 1)), x.flip(2), x)


class Files:
    """Image files, augmented by timm's transforms in worker processes.

    Args:
        places, labels: of all images. geometry: how held-out images are resized and cropped.
        workers: processes that decode; 0 decodes in this one.
    """

    def __init__(
        self, places: list[ImageLocation], labels: np.ndarray, geometry: Geometry, workers: int
    ):
        self.places, self.labels, self.geometry = places, labels, geometry
        self.workers = workers

    def training(self, plan: UpdatePlan, start: int) -> Iterator[Batch]:
        """The micro-batches of this process, from update ``start`` to the end."""
        r, size = plan.recipe, self.geometry.size
        given = {"interpolation": self.geometry.interpolation, **r.augment}
        # With use_prefetcher the transform ends in 8-bit pixels: a quarter of the bytes to move.
        transform = create_transform((3, size, size), True, use_prefetcher=True, **given)
        items = _Augmented(self.places, self.labels, transform, r.seed)
        return self._load(items, list_of=plan.keys(start))

    def held(self, index: list[int], size: int) -> Iterator[Batch]:
        """Images held out, by number, unchanged; ``size`` of them at once."""
        items = _Plain(self.places, self.labels, self.geometry)
        parts = [index[i : i + size] for i in range(0, len(index), size)]
        return self._load(items, list_of=parts)

    def _load(self, items: Dataset, list_of) -> Iterator[Batch]:
        loader = DataLoader(
            items, batch_sampler=list_of, num_workers=self.workers,
            pin_memory=torch.cuda.is_available(), multiprocessing_context="fork",
        ) if self.workers else DataLoader(items, batch_sampler=list_of)  # fmt: skip
        return (Batch(pixels, targets) for pixels, targets in loader)


class _Plain(Dataset):
    def __init__(self, places, labels, geometry):
        self.places, self.labels, self.geometry = places, labels, geometry

    def __getitem__(self, image: int):
        return np.array(decode(self.places[image], self.geometry)), int(self.labels[image])


class _Augmented(Dataset):
    def __init__(self, places, labels, transform, seed):
        self.places, self.labels, self.transform, self.seed = places, labels, transform, seed

    def __getitem__(self, key: Key):
        epoch, place, image = key
        seed_all(self.seed, AUGMENT, epoch, place)
        pixels = self.transform(open_rgb(self.places[image]))
        return pixels.permute(1, 2, 0).contiguous(), int(self.labels[image])
