"""What waits and runs on Slurm of the runs that were started in a folder: one question."""

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

PREFIX = "tokenscope"  # slurm-jobname-prefix of profiles/slurm
FORMAT = "%i|%T|%r|%j|%M|%N|%Z|%k"


@dataclass(frozen=True)
class Queued:
    """One job in the queue; ``reason``: why it waits, ``elapsed``: seconds since it started."""

    id: str
    state: str
    reason: str
    name: str
    elapsed: float
    nodes: str
    comment: str
    controller: bool


def ask(folder: Path, prefix: str = PREFIX, seconds: float = 60) -> list[Queued]:
    """Live jobs of this user that were submitted from a folder under a prefix.

    Raises:
        FileNotFoundError: there is no squeue here.
        subprocess.SubprocessError: it did not answer within ``seconds``, or with an error.
    """
    command = ["squeue", "-h", "-u", str(os.getuid()), "-o", FORMAT]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=seconds)
    return parse(done.stdout, folder, prefix)


def parse(text: str, folder: Path, prefix: str = PREFIX) -> list[Queued]:
    """Jobs in what ``squeue`` prints by :data:`FORMAT`.

    A controller that was submitted itself is named ``<prefix>_controller`` or
    ``<prefix>-controller``, with anything behind.
    """
    jobs = []
    for line in text.splitlines():
        cells = line.strip().split("|", 7)
        if len(cells) < 8:
            continue
        number, state, reason, name, elapsed, nodes, place, comment = cells
        if not re.match(rf"{re.escape(prefix)}[_-]", name) or Path(place).resolve() != folder:
            continue
        controller = name[len(prefix) + 1 :].startswith("controller")
        jobs.append(
            Queued(number, state, reason, name, _seconds(elapsed), nodes, comment, controller)
        )
    return jobs


def _seconds(text: str) -> float:
    """``1-02:03:04`` or ``3:04`` in seconds; zero for what is no time."""
    days, _, clock = text.rpartition("-")
    try:
        parts = [int(part) for part in clock.split(":")]
        total = sum(part * 60**i for i, part in enumerate(reversed(parts)))
        return float(total + 86400 * int(days or 0))
    except ValueError:
        return 0.0
