"""The partitions of a Slurm cluster, as ``sinfo`` lists them: limits, and what their nodes have."""

import re
import subprocess
from dataclasses import dataclass, field

from tokenscope.errors import StudyError
from tokenscope.jobs.leases import gpus_of

FORMAT = "%P|%a|%l|%c|%m|%G"


@dataclass(frozen=True)
class Node:
    """Nodes of one kind: cores, memory in MB, GPUs by model (untyped ones by an empty name)."""

    cores: int
    mem_mb: int
    gpus: dict[str, int]

    def has(self, count: int, model: str = "") -> bool:
        """Whether so many GPUs of a model, or of any, are on one node."""
        mine = self.gpus.get(model.lower(), 0) if model else sum(self.gpus.values())
        return mine >= count


@dataclass
class Partition:
    """One partition; ``minutes``: its longest time, infinite where it has none."""

    name: str
    default: bool
    up: bool
    minutes: float
    nodes: list[Node] = field(default_factory=list)

    @property
    def models(self) -> list[str]:
        """Models of GPUs, as a job names them; an empty one where GPUs have no type."""
        return sorted({model for node in self.nodes for model in node.gpus})


def ask(seconds: float = 20) -> dict[str, Partition]:
    """All partitions by name.

    Raises:
        StudyError: no Slurm here, or it does not answer.
    """
    command = ["sinfo", "-h", "-a", "-e", "-o", FORMAT]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds)
    except FileNotFoundError:
        raise StudyError(
            "there is no sinfo on this machine: start Snakemake where jobs can be submitted, on a "
            "login node (and load its Slurm module, where it has one)"
        ) from None
    except subprocess.TimeoutExpired:
        raise StudyError(
            f"Slurm did not answer within {seconds:g} s: wait and try again; `scontrol ping` tells "
            "whether it is back"
        ) from None
    if done.returncode or not done.stdout.strip():
        said = (done.stderr.strip() or "no partitions").splitlines()[-1]
        raise StudyError(f"Slurm does not answer ({said}): `scontrol ping` tells when it is back")
    return parse(done.stdout)


def parse(text: str) -> dict[str, Partition]:
    """Partitions in what ``sinfo`` prints by :data:`FORMAT`, one line a kind of node."""
    found: dict[str, Partition] = {}
    for line in text.splitlines():
        cells = line.strip().split("|")
        if len(cells) != 6:
            continue
        name, up, limit, cores, memory, gres = cells
        plain = name.rstrip("*")
        partition = found.setdefault(
            plain, Partition(plain, name.endswith("*"), up == "up", minutes_of(limit))
        )
        partition.nodes.append(Node(_number(cores), _number(memory), gpus_of(gres)))
    return found


def minutes_of(limit: str) -> float:
    """``1-02:03:04``, ``30:00`` or ``infinite`` in minutes."""
    days, _, clock = limit.rpartition("-")
    parts = clock.split(":")
    if not all(part.isdigit() for part in parts) or not (days or "0").isdigit():
        return float("inf")
    hours, minutes, seconds = [0] * (3 - len(parts)) + [int(part) for part in parts]
    return int(days or 0) * 1440 + hours * 60 + minutes + seconds / 60


def _number(text: str) -> int:
    digits = re.match(r"\d+", text)
    return int(digits[0]) if digits else 0
