"""State of an interrupted computation on disk: whole or absent, and only for the same work."""

import os
import time
from pathlib import Path

import torch


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
        if not (self.path and self.path.exists()):
            return None
        saved = torch.load(self.path, weights_only=True)
        return saved["state"] if saved["name"] == self.name else None

    def write(self, state: dict, now: bool = False) -> None:
        """Save, unless the last save is recent; ``now`` saves in any case."""
        if not self.path or (not now and time.monotonic() - self.last < self.every):
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        aside = self.path.with_name(f"{self.path.name}.{os.getpid()}")
        torch.save({"name": self.name, "state": state}, aside)
        os.replace(aside, self.path)
        self.last = time.monotonic()

    def remove(self) -> None:
        """The work is done."""
        if self.path:
            self.path.unlink(missing_ok=True)
