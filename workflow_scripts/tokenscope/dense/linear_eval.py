"""Linear evaluation of frozen patch tokens: segmentation and depth heads are trained and tested.

Training images come as crops of one size, either fixed ones whose tokens are taken once and kept
(``cached``), or ones drawn, scaled, mirrored and changed in colour at each step (``augmented``,
as in the evaluation of DINOv2, Oquab et al., https://arxiv.org/abs/2304.07193). Steps count the
same in both. At test a window slides over the image and predictions are averaged where windows
overlap. Tokens are those after the final norm.
"""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, groupby
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from PIL import Image, ImageEnhance
from torch import Tensor, nn

from tokenscope.dense.crops import FrozenBackbone, Pair, windows
from tokenscope.dense.map_datasets import Maps
from tokenscope.errors import StudyError
from tokenscope.forward.inputs import on_host
from tokenscope.images.readers import prefetch
from tokenscope.jobs.job import Interrupted, log
from tokenscope.stores import checksums
from tokenscope.stores.checkpoint import Checkpoint
from tokenscope.stores.receipts import write_text


class Cached:
    """Fixed crops of the training images: their tokens are taken once, into files.

    Args:
        folder: of the files; those that an earlier attempt finished are used again.
        name: fingerprint of everything that decides the tokens.
    """

    def __init__(self, task: FrozenBackbone, maps: Maps, rows: list[dict], threads: int,
                 folder: Path, name: str, progress: Callable[[int, int], None]):  # fmt: skip
        self.task, complete = task, folder / "complete"
        if complete.exists() and _as_taken(complete, name):
            log.info("tokens of an earlier attempt are used again")
            parts = {p.stem: np.load(p, mmap_mode="r") for p in folder.glob("*.npy")}
            self.tokens, self.targets = parts["tokens"], parts["targets"]
            self.cls = parts.get("cls")
            return
        complete.unlink(missing_ok=True)
        self._take(maps, rows, threads, folder, progress)
        write_text(complete, json.dumps({"name": name, "files": _sums(folder)}))

    def _take(self, maps, rows, threads, folder, progress) -> None:
        task = self.task
        with ThreadPoolExecutor(threads) as pool:
            first = self._crops(maps, rows[0])
            tokens, cls = task.tokens([first[0][0]])
            places = [c for row in rows for c in self._places(row)]
            folder.mkdir(parents=True, exist_ok=True)

            def array(name, shape, dtype):
                path = folder / f"{name}.npy"
                return np.lib.format.open_memmap(path, "w+", dtype, (len(places), *shape))

            target = task.supervised(first[0][1])
            self.tokens = array("tokens", tokens.shape[1:], np.float16)
            self.cls = None if cls is None else array("cls", cls.shape[1:], np.float16)
            self.targets = array("targets", target.shape, target.dtype)
            done, ranges = 0, [(i, min(i + 8, len(rows))) for i in range(0, len(rows), 8)]
            read = lambda a, b: list(pool.map(lambda r: self._crops(maps, r), rows[a:b]))  # noqa: E731
            for _, last, crops in prefetch(read, ranges, ahead=1):
                crops = [pair for image in crops for pair in image]
                for start in range(0, len(crops), task.batch):
                    part = crops[start : start + task.batch]
                    tokens, cls = task.tokens([image for image, _ in part])
                    place = slice(done, done + len(part))
                    self.tokens[place] = tokens.half().cpu().numpy()
                    if cls is not None:
                        self.cls[place] = cls.half().cpu().numpy()
                    self.targets[place] = np.stack([task.supervised(t) for _, t in part])
                    done += len(part)
                progress(last, len(rows))

    def _places(self, row: dict) -> list[tuple[int, int]]:
        blank = np.zeros((row["height"], row["width"]), np.uint8)
        image = self.task.fit((np.repeat(blank[..., None], 3, 2), blank))[1]
        return windows(*image.shape, self.task.crop, self.task.stride)

    def _crops(self, maps: Maps, row: dict) -> list[Pair]:
        image, target = self.task.fit(maps.read(row))
        height, width = self.task.crop
        return [
            (
                image[t : t + height, left : left + width],
                target[t : t + height, left : left + width],
            )
            for t, left in windows(*target.shape, self.task.crop, self.task.stride)
        ]

    def draw(self, rng: np.random.Generator) -> tuple:
        """Tokens, CLS and maps of one step, on the host."""
        pick = np.sort(rng.integers(len(self.tokens), size=self.task.batch))
        parts = (self.tokens, self.cls, self.targets)
        return tuple(None if part is None else self._picked(part, pick) for part in parts)

    def _picked(self, part: np.ndarray, pick: np.ndarray) -> Tensor:
        dtype = torch.from_numpy(np.empty(0, part.dtype)).dtype
        rows = on_host((len(pick), *part.shape[1:]), dtype, self.task.device)
        np.take(part, pick, 0, out=rows.numpy(), mode="clip")  # "raise" would copy them twice
        return rows

    def features(self, drawn: tuple) -> tuple[Tensor, Tensor]:
        """What :meth:`draw` gave, as a map of tokens and targets on the device."""
        tokens, cls, target = (
            None if v is None else v.to(self.task.device, non_blocking=True) for v in drawn
        )
        return self.task.lay(tokens, cls), target


def _sums(folder: Path) -> dict[str, str]:
    return {file.name: checksums.digest_file(file) for file in sorted(folder.glob("*.npy"))}


def _as_taken(complete: Path, name: str) -> bool:
    """Whether an earlier attempt's tokens are of this work; those of others are taken anew.

    Raises:
        StudyError: they are, and are damaged.
    """
    try:
        said = json.loads(complete.read_text())
        if said["name"] != name:
            return False
    except (ValueError, KeyError, TypeError):
        return False
    if (found := _sums(complete.parent)) != said["files"]:
        files = {*said["files"], *found}
        file = min(f for f in files if said["files"].get(f) != found.get(f))
        raise StudyError(
            f"{complete.parent / file}: the tokens of unfinished work are damaged; delete the "
            "folder to begin anew"
        )
    return True


class Augmented:
    """Crops drawn anew at each step: scale 0.5 to 2 (segmentation), mirror, colour, place."""

    def __init__(self, task: FrozenBackbone, maps: Maps, rows: list[dict], threads: int):
        self.task, self.maps, self.rows = task, maps, rows
        self.pool = ThreadPoolExecutor(threads)

    def draw(self, rng: np.random.Generator) -> list[Pair]:
        """Crops (image, map) of one step, on the host."""
        seeds = rng.integers(2**32, size=self.task.batch)
        return list(self.pool.map(self._one, seeds))

    def _one(self, seed: int) -> Pair:
        rng = np.random.default_rng(seed)
        pair = self.maps.read(self.rows[rng.integers(len(self.rows))])
        scale = rng.uniform(1.0, 1.2) if self.task.depth else rng.uniform(0.5, 2.0)
        image, target = self.task.fit(pair, scale)
        height, width = self.task.crop
        top = rng.integers(image.shape[0] - height + 1)
        left = rng.integers(image.shape[1] - width + 1)
        image, target = (v[top : top + height, left : left + width] for v in (image, target))
        if rng.random() < 0.5:
            image, target = image[:, ::-1], target[:, ::-1]
        picture = Image.fromarray(np.ascontiguousarray(image))
        for change in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
            picture = change(picture).enhance(rng.uniform(0.75, 1.25))
        return np.asarray(picture), target

    def features(self, drawn: list[Pair]) -> tuple[Tensor, Tensor]:
        """Tokens of such crops as a map, and targets, on the device."""
        target = np.stack([self.task.supervised(target) for _, target in drawn])
        tokens = self.task.tokens([image for image, _ in drawn])
        return self.task.lay(*tokens), torch.from_numpy(target).to(self.task.device)


def train(head: nn.Module, source: Cached | Augmented, settings: dict, seed: int,
          progress: Callable[[int, int], None], checkpoint: Checkpoint,
          stop: Callable[[], str] = lambda: "") -> list[float]:  # fmt: skip
    """AdamW with linear warm-up and linear decay; returns the loss of every step.

    What a step sees depends on its number alone, so a training that goes on from ``checkpoint``
    ends with the head of one that was never interrupted: to the bit on a CPU. A GPU adds the slopes
    of interpolated pixels in no fixed order, so that two trainings differ in their last digits,
    interrupted or not.

    Raises:
        StudyError: the loss is no longer finite.
        Interrupted: ``stop`` gave a reason; the state is saved.
    """
    steps, warm = settings["steps"], max(1, min(1500, settings["steps"] // 10))
    optimizer = torch.optim.AdamW(
        head.parameters(), lr=settings["lr"], weight_decay=settings["weight_decay"]
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda i: min((i + 1) / warm, (steps - i) / max(1, steps - warm))
    )
    head.train()
    losses, first = [], 0
    if state := checkpoint.read():
        first, losses = state["step"], list(state["losses"].to(source.task.device))
        log.info("going on after %d of %d steps", first, steps)
        for part, name in ((head, "head"), (optimizer, "optimizer"), (schedule, "schedule")):
            part.load_state_dict(state[name])

    def save(step: int, now: bool) -> None:
        state = {"step": step, "losses": torch.stack(losses).cpu(), "head": head.state_dict()}
        state |= {"optimizer": optimizer.state_dict(), "schedule": schedule.state_dict()}
        checkpoint.write(state, now)

    draw = lambda step, _: source.draw(np.random.default_rng([seed, step]))  # noqa: E731
    for step, last, drawn in prefetch(draw, [(i, i + 1) for i in range(first, steps)], ahead=3):
        tokens, target = source.features(drawn)
        task = source.task
        # Tokens are made in inference mode; a copy may take part in a graph.
        prediction = task.upsampled(head(tokens.clone()), task.every)
        loss = head.loss(prediction, target, step)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.detach())
        if last % 100 == 0 or last == steps:
            if not torch.isfinite(loss):
                raise StudyError(f"the loss is {loss.item()} after {last} steps; lower lr")
            progress(last, steps)
        if reason := stop():
            save(last, now=True)
            raise Interrupted(f"{reason}: ended after {last:,} of {steps:,} steps")
        if last % 20 == 0 or last == steps:
            save(last, now=last == steps)
    return torch.stack(losses).cpu().tolist()


@torch.inference_mode()
def predict(
    heads: list[nn.Module], task: FrozenBackbone, pairs: list[Pair]
) -> list[list[np.ndarray]]:
    """Maps of images at the sizes of their own maps, by image and head: classes, or metres.

    Windows of all images go through the backbone in batches, once for all heads, and nothing waits
    for the device before all of it is under way.
    """
    images = [task.fit(pair)[0] for pair in pairs]
    height, width = task.crop
    places = [
        (i, slice(top, top + height), slice(left, left + width))
        for i, image in enumerate(images)
        for top, left in windows(*image.shape[:2], task.crop, task.stride)
    ]
    parts = [places[start : start + task.batch] for start in range(0, len(places), task.batch)]
    tokens = [task.lay(*task.tokens([images[i][y, x] for i, y, x in part])) for part in parts]
    by_head = []
    for head in heads:
        scored = chain.from_iterable(task.upsampled(head(batch)) for batch in tokens)
        found = []
        for i, own in groupby(zip(places, scored, strict=True), key=lambda window: window[0][0]):
            full = _averaged([(y, x, crop) for (_, y, x), crop in own], images[i].shape[:2])
            size = pairs[i][1].shape
            full = F.interpolate(full[None], size, mode="bilinear", align_corners=False)
            found.append(head.finish(full)[0])
        by_head.append(found)
    return [[found.cpu().numpy() for found in image] for image in zip(*by_head, strict=True)]


def _averaged(crops: list[tuple[slice, slice, Tensor]], size: tuple[int, int]) -> Tensor:
    """Scores (channel, row, column) of an image: the mean of the windows that see a pixel."""
    first = crops[0][2]
    total, count = first.new_zeros(len(first), *size), first.new_zeros(size)
    for y, x, crop in crops:
        total[:, y, x] += crop
        count[y, x] += 1
    return total / count


def constant(maps: Maps, facts: dict) -> float:
    """What one would guess without looking: the commonest class, or the mean depth in metres."""
    return facts["mean"] if maps.depth else float(np.argmax(facts["pixels"]))


def images_of_split(table: pd.DataFrame, split: str) -> list[dict]:
    """The images of a split as :meth:`Maps.read` takes them."""
    return table[table["split"] == split].to_dict("records")
