"""Unfinished work on disk: whole or absent, as it was written, and only for the same work.

Beside each file of a state stands its checksum (``.xxh3``). torch does not look at those in its
archives: a weight with one bit flipped would be trained on.
"""

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from tokenscope.errors import StudyError
from tokenscope.jobs.job import Interrupted, log
from tokenscope.stores import checksums, lock
from tokenscope.stores.receipts import sha256_file, write_text


class Checkpoint:
    """One file of tensors and plain values, written aside and renamed.

    Args:
        path: None for a computation that is not worth resuming.
        name: fingerprint of the work; a state of other work is ignored.
        every: seconds between two writes.
    """

    def __init__(self, path: str | Path | None, name: str, every: float = 60.0):
        self.path, self.name, self.every = Path(path) if path else None, name, every
        self.last = time.monotonic()

    def read(self) -> dict | None:
        """The state of an earlier attempt at the same work."""
        saved = loaded(self.path) if self.path else None
        return saved.get("state") if saved and saved.get("name") == self.name else None

    def write(self, state: dict, now: bool = False) -> None:
        """Save, unless the last save is recent; ``now`` saves in any case."""
        if not self.path or (not now and time.monotonic() - self.last < self.every):
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        aside = self.path.with_name(f"{self.path.name}.{os.getpid()}")
        torch.save({"name": self.name, "state": state}, aside)
        _replace(aside, self.path)
        self.last = time.monotonic()

    def train(self, training, epochs: int, stop: Callable[[], str], progress: Callable) -> None:
        """Train until ``done``, from where an earlier attempt ended, to the same numbers.

        ``training`` has ``epoch`` and ``done``, ``one_epoch``, ``state`` and ``load``.

        Raises:
            Interrupted: ``stop``, asked after each epoch, gave a reason; the state is saved.
        """
        if (state := self.read()) is not None:
            training.load(state)
            log.info("going on after epoch %d", training.epoch)
        while not training.done:
            progress(training.epoch, epochs)
            training.one_epoch()
            reason = stop()
            self.write(training.state, now=bool(reason))
            if reason:
                raise Interrupted(f"{reason}: ended after {training.epoch} of {epochs} epochs")
        progress(epochs, epochs)

    def remove(self) -> None:
        """The work is done."""
        if self.path:
            self.path.unlink(missing_ok=True)
            _sum_of(self.path).unlink(missing_ok=True)


class TrainingCheckpoint:
    """The unfinished work of one training: its last checkpoint and the snapshots taken so far.

    Args:
        partial: where the folder lies; its name carries this job.
        fingerprint: of everything that decides the weights; work of another is not continued.
        what: name of the backbone, for messages.
    """

    def __init__(self, partial: str | Path, fingerprint: str, what: str):
        self.what = what
        self.folder = lock.claim(
            partial, fingerprint, lambda new: (new / "snapshots").mkdir(parents=True)
        )
        self._file = self.folder / "checkpoint.pt"

    def load(self) -> dict | None:
        """The last checkpoint, on the CPU; None before the first."""
        return loaded(self._file)

    def save(self, state: dict) -> None:
        """Write a checkpoint aside and rename it: the old one or the new one is there, whole."""
        self._write(self._file, lambda aside: torch.save(state, aside))

    def snapshot(self, step: int, weights: dict[str, Tensor]) -> None:
        """Keep the weights after ``step`` updates."""
        file = self.folder / "snapshots" / f"{step:08d}.safetensors"
        self._write(file, lambda aside: save_weights(weights, aside))

    def check(self) -> None:
        """Raise Superseded when another job has taken this training over."""
        lock.check(self.folder, self.what)

    def _write(self, file: Path, write) -> None:
        self.check()
        aside = file.with_name(f".{file.name}")
        try:
            write(aside)
            with open(aside, "rb") as handle:
                os.fsync(handle.fileno())
            _replace(aside, file)
        except (FileNotFoundError, RuntimeError):  # torch says "parent directory does not exist"
            self.check()
            raise

    def publish_snapshots(self, final: str | Path) -> dict[str, str]:
        """Copy the snapshots to their place; a job killed right after still has them.

        Returns:
            SHA-256 of each, by its number of updates.

        Raises:
            StudyError: one of them is not as it was written.
        """
        self.check()
        shutil.rmtree(final, ignore_errors=True)
        Path(final).mkdir(parents=True)
        sums = {}
        for file in sorted((self.folder / "snapshots").glob("*.safetensors")):
            if not is_whole(file):
                raise _damaged(file, "its checksum is not the one that was written")
            shutil.copy2(file, final)
            sums[file.stem] = sha256_file(Path(final, file.name))
        return sums

    def remove(self) -> None:
        """Forget the unfinished work, because it is finished."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _sum_of(file: Path) -> Path:
    return file.with_name(f"{file.name}.xxh3")


def _replace(aside: Path, file: Path) -> None:
    """Give a finished file its name, and its checksum to those that the name may have.

    Whenever the job dies, the file that is there is one of the two: the one before or the new one.
    """
    before = _sums(file)[-1:]
    write_text(_sum_of(file), "\n".join([*before, checksums.digest_file(aside)]))
    os.replace(aside, file)


def _sums(file: Path) -> list[str]:
    place = _sum_of(file)
    return place.read_text(errors="replace").split() if place.is_file() else []


def is_whole(file: Path) -> bool:
    """Whether a file of unfinished work has a checksum that was written for it."""
    return checksums.digest_file(file) in _sums(file)


def _damaged(file: Path, how: str) -> StudyError:
    return StudyError(
        f"{file}: the state of unfinished work is damaged ({how}); delete it to begin anew"
    )


def loaded(file: Path) -> dict | None:
    """What a checkpoint holds; None where there is none, or one from before there were checksums.

    Raises:
        StudyError: it is damaged.
    """
    if not file.exists() or not (_sum_of(file).exists() or file.is_dir()):
        return None
    try:
        if not file.is_file():
            raise ValueError("it is no regular file")
        if not is_whole(file):
            raise ValueError("its checksum is not the one that was written")
        saved = torch.load(file, map_location="cpu", weights_only=True)
        if not isinstance(saved, dict):
            raise ValueError(f"it holds a {type(saved).__name__}")
    except Exception as error:  # what torch makes of damaged bytes has no common class
        first = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise _damaged(file, first) from None
    return saved


def save_weights(weights: dict[str, Tensor], path: str | Path) -> None:
    """A state dict as a safetensors file."""
    save_file({k: v.detach().contiguous().cpu() for k, v in weights.items()}, str(path))
