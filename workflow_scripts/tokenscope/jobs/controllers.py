"""The controllers of a folder: each says every few seconds that it lives, for whoever asks.

A controller is the Snakemake that starts the jobs of a study. Its heartbeat is a file below
``.snakemake``, on the disk that login nodes and compute nodes share, so that a second one can be
refused on whatever host the first runs. Whether one lives is told by its process where that can be
seen, else by Slurm where it was submitted itself, else by the age of its last beat.
"""

import contextlib
import json
import os
import platform
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from tokenscope.jobs.squeue import Queued

FOLDER = Path(".snakemake", "controllers")
EVERY = 15.0  # seconds between two beats
SILENT = 180.0  # seconds without a beat after which one that cannot be seen counts as dead
# Snakemake's Slurm plugin takes SLURM_* out of the environment before the first hook is called.
OWN_JOB = os.environ.get("SLURM_JOB_ID", "")


@dataclass
class Controller:
    """What a controller says of itself; ``ended`` (seconds since 1970) is 0 while it runs."""

    run: str
    study: str
    results: str
    host: str
    machine: str
    pid: int
    begun: int  # of the process, in ticks since the machine was started
    slurm_job_id: str
    started: float
    ended: float = 0.0
    outcome: str = ""
    age: float = 0.0  # seconds since the last beat, filled in by read()

    @classmethod
    def own(cls, run: str, study: str, results: str) -> "Controller":
        """This process."""
        own = os.getpid()
        return cls(run, study, str(Path(results).resolve()), platform.node(), machine(), own,
                   begin_of(own), OWN_JOB, time.time())  # fmt: skip

    def lives(self, queued: list[Queued] | None = None) -> bool:
        """Whether it still runs.

        Args:
            queued: what Slurm holds of this folder; None where nobody could be asked.
        """
        if self.ended:
            return False
        if self.machine == machine():
            return begin_of(self.pid) == self.begun
        if self.slurm_job_id and self.slurm_job_id == OWN_JOB:
            return False  # this very job, before Slurm put it into the queue again
        if self.slurm_job_id and any(job.id == self.slurm_job_id for job in queued or ()):
            return True
        return self.age < SILENT

    def who(self) -> str:
        """The controller in words, for a sentence."""
        job = f", Slurm job {self.slurm_job_id}" if self.slurm_job_id else ""
        return (
            f"the controller of study {self.study} on {self.host} (process {self.pid}{job}, "
            f"last heartbeat {self.age:.0f} s ago)"
        )


class Heartbeat:
    """Writes a controller's file until :meth:`end`; nothing that goes wrong here stops a run."""

    def __init__(self, controller: Controller, folder: str | Path = ".", every: float = EVERY):
        self.controller, self.every = controller, every
        self.file = Path(folder, FOLDER, f"{controller.run}-{controller.host}.json")
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, daemon=True, name="heartbeat")

    def start(self) -> None:
        """Forget those of the study that have ended, write the first beat, go on by itself."""
        for other in read(self.file.parent.parent.parent):
            if other.results == self.controller.results and not other.lives():
                with contextlib.suppress(OSError):
                    self.file.with_name(f"{other.run}-{other.host}.json").unlink()
        self.beat()
        self._thread.start()

    def beat(self) -> None:
        """Write the file anew: its time is the beat."""
        with self._lock, contextlib.suppress(OSError):
            self.file.parent.mkdir(parents=True, exist_ok=True)
            aside = self.file.with_suffix(".new")
            aside.write_text(json.dumps(asdict(self.controller)))
            aside.replace(self.file)

    def _run(self) -> None:
        while not self._stop.wait(self.every):
            self.beat()

    def end(self, outcome: str) -> None:
        """The last beat, which says how it ended; a second call changes nothing."""
        if not self._stop.is_set():
            self._stop.set()
            self.controller.ended, self.controller.outcome = time.time(), outcome
            self.beat()


def read(folder: str | Path = ".") -> list[Controller]:
    """All controllers that have a file in a folder, the last to start first."""
    place, found = Path(folder, FOLDER), []
    if not place.is_dir():
        return []
    now = _time_of_the_disk(place)
    for file in place.glob("*.json"):
        try:
            controller = Controller(**json.loads(file.read_text()))
            controller.age = max(0.0, now - file.stat().st_mtime)
        except (OSError, ValueError, TypeError):  # it ends just now, or is of other code
            continue
        found.append(controller)
    return sorted(found, key=lambda c: -c.started)


def _time_of_the_disk(place: Path) -> float:
    """Now, by the clock that dates the files: hosts and file servers differ by minutes."""
    mark = place / f".{platform.node()}-{os.getpid()}"
    try:
        mark.write_text("")
        return mark.stat().st_mtime
    except OSError:
        return time.time()
    finally:
        mark.unlink(missing_ok=True)


def machine() -> str:
    """What tells apart machines, and containers that do not see each other's processes."""
    parts = []
    for path in ("/proc/sys/kernel/random/boot_id", "/proc/self/ns/pid"):
        try:
            text = os.readlink(path) if path.endswith("pid") else Path(path).read_text().strip()
        except OSError:
            text = platform.node()
        parts.append(text)
    return " ".join(parts)


def begin_of(pid: int) -> int:
    """When a process began, in ticks since the machine was started; 0 where none lives."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return 0 if fields[0] in "ZX" else int(fields[19])
