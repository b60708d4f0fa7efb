"""Where a study stands: sums by claim, time left, what runs, what failed, who controls it."""

import subprocess
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

from tokenscope.cost.accounting import DONE, collect
from tokenscope.cost.calibration import Calibration, Estimate, total
from tokenscope.cost.claims import claim_of
from tokenscope.cost.schedule import NODE_SECONDS, Step, simulate
from tokenscope.jobs import controllers, sacct, squeue
from tokenscope.status import events, graph, states
from tokenscope.status.attempts import Failed, failed
from tokenscope.status.states import LIVE, STATES, Job

HOURS = ("done", "running", "waiting", "failed")
ASKED = 10.0  # seconds that Slurm's programs may take


@dataclass
class Status:
    """All that `make status` says; ``notes`` tell what could not be asked.

    ``cluster``: whether its jobs are submitted to Slurm.
    """

    study: str
    time: float
    began: float
    controller: controllers.Controller | None
    alive: bool
    jobs: dict[str, Job]
    attempts: list[Failed]
    gpu_hours: dict[str, dict[str, float]]
    core_hours: dict[str, dict[str, float]]
    left: tuple[float, float, float] | None
    gpus: float
    notes: list[str] = field(default_factory=list)
    cluster: bool = False

    def counts(self, claim: str | None = None) -> dict[str, int]:
        """Jobs by state, of one claim or of all."""
        counts = Counter(j.state for j in self.jobs.values() if claim in (None, j.claim))
        return {state: counts[state] for state in STATES}


def look(
    study: str, results: str | Path, folder: Path = Path(),
    queue: Callable = squeue.ask, accounting: Callable | None = None,
) -> Status:  # fmt: skip
    """The status of a study.

    Args:
        study: its name.
        results: its folder of results.
        folder: where its runs are started.
        queue: the question to Slurm's queue, as :func:`tokenscope.jobs.squeue.ask`.
        accounting: the question to sacct, as :func:`tokenscope.jobs.sacct.ask`.
    """
    now, notes, results = time.time(), [], Path(results)
    plan = graph.load(results)
    attempts, problem = collect(
        results / "accounting", accounting or partial(sacct.ask, seconds=ASKED)
    )
    if problem:
        notes.append(f"{problem}: attempts that were killed are told by the controller alone")
    queued = None
    if plan.cluster:
        try:
            queued = queue(folder.resolve(), seconds=ASKED)
        except FileNotFoundError:
            notes.append("the queue of Slurm cannot be asked: squeue is not installed here")
        except (OSError, subprocess.SubprocessError) as error:
            what = getattr(error, "stderr", None) or error
            notes.append(f"the queue of Slurm cannot be asked: {' '.join(str(what).split())}")
    happened = events.read(results)
    control, alive = _controller(results, folder, queued)
    ended = {a["job"]: a["ended"] for a in attempts if a["state"] in DONE}
    jobs = states.states(plan, happened, ended, queued, alive, now)
    for job in jobs.values():
        if job.state in ("running", "failed"):
            job.log = states.last_line(results / "logs" / f"{job.name}.log")
    expected = _expected(plan, attempts)
    return Status(
        study=study, time=now, began=plan.began, controller=control, alive=alive, jobs=jobs,
        attempts=failed(attempts, happened), left=_left(plan, jobs, expected),
        gpu_hours=_hours(plan, attempts, jobs, expected, "gpus"),
        core_hours=_hours(plan, attempts, jobs, expected, "cores"),
        gpus=plan.machine.gpus, notes=notes, cluster=plan.cluster,
    )  # fmt: skip


def _controller(results: Path, folder: Path, queued) -> tuple[controllers.Controller | None, bool]:
    """The controller of the study that lives, or else the last one."""
    own = [c for c in controllers.read(folder) if c.results == str(results.resolve())]
    for controller in own:
        if controller.lives(queued):
            return controller, True
    return (own[0] if own else None), False


def _expected(plan: graph.Graph, attempts: list[dict]) -> dict[str, Estimate]:
    """Seconds of each job, by the cost model as all that ended so far corrects it."""
    calibration, last = Calibration(), {a["job"]: a for a in attempts if a["state"] in DONE}
    for name, attempt in last.items():
        if name in plan.jobs and attempt["source"] != "sacct":
            calibration.add(attempt["rule"], attempt["seconds"], plan.jobs[name].modelled)
    return {
        name: calibration.estimate(job.rule, job.modelled, 60 * job.minutes, job.beside)
        for name, job in plan.jobs.items()
    }


def _rest(plan: graph.Graph, job: Job, seconds: float) -> float:
    """Seconds that a job needs yet: by its own progress, or what is expected of it."""
    if job.state != "running":
        return seconds + (NODE_SECONDS if plan.cluster and not job.planned.beside else 0.0)
    own = states.remaining(job.log)
    return own if own is not None else max(seconds - job.elapsed, 0.1 * job.elapsed)


def _hours(plan, attempts, jobs, expected, what: str) -> dict[str, dict[str, float]]:
    """Hours by claim: ``done`` and ``failed`` are what the accounting counts of what has ended."""
    sums: dict[str, dict[str, float]] = defaultdict(lambda: dict.fromkeys(HOURS, 0.0))

    def held(gpus: float, cores: float, submitted: bool) -> float:
        """What a job holds: a site may give no fewer than so many cores."""
        if what == "gpus":
            return gpus
        return max(cores, plan.least_cores) if submitted and not gpus else cores

    counted = set()
    for a in attempts:
        kind = "done" if a["state"] in DONE else "failed"
        if a["state"] in LIVE:  # sacct counts its hours so far
            kind = "running"
            counted.add(a["slurm_job_id"])
        count = held(a["gpus"], a["cores"], bool(a["slurm_job_id"]))
        sums[claim_of(a["rule"], a["wildcards"])][kind] += count * a["seconds"] / 3600
    for name, job in jobs.items():
        planned, own = job.planned, sums[job.claim]
        count = held(planned.gpus, planned.threads, plan.cluster and not planned.beside)
        if job.state == "running" and job.slurm_job_id not in counted:
            own["running"] += count * job.elapsed / 3600
        if job.state != "done":
            own["waiting"] += count * _rest(plan, job, expected[name].seconds) / 3600
    return {claim: sums[claim] for claim in sorted(sums)}


def _left(plan: graph.Graph, jobs: dict[str, Job], expected) -> tuple[float, float, float] | None:
    """Seconds until all that can run has ended, without queueing, with their 90 % interval."""
    names = [n for n, job in jobs.items() if job.state in ("running", "queued", "waiting")]
    if not names:
        return None
    place = {name: i for i, name in enumerate(names)}
    steps, parts = [], []
    for name in names:
        job, planned = jobs[name], jobs[name].planned
        rest = _rest(plan, job, expected[name].seconds)
        needs = tuple(place[need] for need in planned.needs if need in place)
        steps.append(Step(rest, needs, planned.gpus, planned.threads, beside=planned.beside))
        weight = planned.gpus or planned.threads / 16  # as sites charge a GPU's share of cores
        own = expected[name]
        parts.append((job.rule, Estimate(rest, own.basis, own.bias, own.scatter), weight))
    seconds, _ = simulate(steps, plan.machine)
    middle, low, high = total(parts)
    return (seconds, seconds * low / middle, seconds * high / middle) if middle else None


def as_json(status: Status) -> dict:
    """The same for programs: ``status.json``."""
    active = [j for j in status.jobs.values() if j.state in ("running", "queued", "failed")]
    left = status.left
    controller = status.controller and asdict(status.controller) | {"alive": status.alive}
    return {
        "study": status.study, "time": status.time, "began": status.began,
        "controller": controller, "jobs": status.counts(),
        "claims": {
            claim: {
                "jobs": status.counts(claim), "gpu_hours": hours,
                "core_hours": status.core_hours[claim],
            }
            for claim, hours in status.gpu_hours.items()
        },
        "left_seconds": left and {"expected": left[0], "low": left[1], "high": left[2]},
        "active": [
            {
                "job": j.name, "rule": j.rule, "claim": j.claim, "state": j.state,
                "reason": j.reason, "slurm_job_id": j.slurm_job_id, "host": j.host,
                "seconds": j.elapsed, "log": j.log,
            }
            for j in active
        ],
        "attempts": [asdict(attempt) for attempt in status.attempts],
        "notes": status.notes,
    }  # fmt: skip
