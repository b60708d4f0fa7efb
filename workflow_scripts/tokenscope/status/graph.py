"""The job graph of a study, kept on disk when a run begins, so that its state is known in a second.

Snakemake itself takes several seconds to say what there is to do. The file holds what the forecast
knows of each job; whether a job has been done since is told by events and records.
"""

import json
import time
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path

from tokenscope.cost.schedule import Machine

FILE = "accounting/graph.json"


@dataclass
class Planned:
    """One job as it was planned at ``time`` (seconds since 1970).

    ``modelled``: seconds by the cost model alone, None without a model; ``minutes``: its time
    limit; ``needs``: names of the jobs it waits for; ``todo``: whether it was still to be done.
    """

    rule: str
    wildcards: dict
    todo: bool
    beside: bool
    gpus: int
    threads: int
    minutes: float
    modelled: float | None
    needs: list[str]
    time: float


@dataclass
class Graph:
    """All jobs of a study by name, the machine they run on, and since when."""

    jobs: dict[str, Planned] = field(default_factory=dict)
    machine: Machine = field(default_factory=Machine)
    cluster: bool = False
    began: float = 0.0
    study: str = ""
    what: str = ""  # fingerprint of config and rules
    least_cores: float = 0  # of a job without a GPU at the site


def fingerprint(config: dict, rules: list[str]) -> str:
    """What decides which jobs there are; a graph of another is not continued."""
    return sha256(json.dumps([config, sorted(rules)], default=str).encode()).hexdigest()


def planned(tasks: list, now: float) -> dict[str, Planned]:
    """The jobs of a forecast (:class:`tokenscope.cost.job_graph.Task`) by name."""
    return {
        task.name: Planned(
            rule=task.rule, wildcards=task.wildcards, todo=task.todo, beside=task.beside,
            gpus=task.gpus, threads=task.threads, minutes=task.minutes, modelled=task.modelled,
            needs=[tasks[i].name for i in task.needs], time=now,
        )
        for task in tasks
    }  # fmt: skip


def update(results: str | Path, new: Graph) -> Graph:
    """Keep a graph: a run of a part of the study leaves the rest as it was known.

    Returns:
        the graph as it is now on disk.
    """
    old = load(results)
    if old.what == new.what:
        new.jobs = old.jobs | new.jobs
        new.began = old.began or new.began
    file = Path(results, FILE)
    file.parent.mkdir(parents=True, exist_ok=True)
    aside = file.with_suffix(".new")
    aside.write_text(json.dumps(asdict(new), default=str))
    aside.replace(file)
    return new


def load(results: str | Path) -> Graph:
    """The graph on disk; one without jobs where no run has begun, or another version wrote it."""
    try:
        known = json.loads(Path(results, FILE).read_text())
        jobs = {name: Planned(**job) for name, job in known.pop("jobs").items()}
        return Graph(jobs=jobs, machine=Machine(**known.pop("machine")), **known)
    except (OSError, ValueError, TypeError, KeyError):
        return Graph()


def of_tasks(tasks: list, **facts) -> Graph:
    """The graph of a forecast, as of now; ``facts``: further fields of :class:`Graph`."""
    now = time.time()
    return Graph(planned(tasks, now), began=now, **facts)
