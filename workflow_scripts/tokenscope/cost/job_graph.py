"""The jobs of a run as the forecast sees them, read from Snakemake's graph.

Works on what Snakemake hands over (a ``workflow`` after its graph is built), without importing it:
the graph of a dry run, or of a real run before its first job.
"""

import csv
import json
from dataclasses import dataclass, field
from pathlib import Path

from tokenscope.cost.calibration import Calibration, Estimate
from tokenscope.cost.claims import TARGETS, claim_of
from tokenscope.cost.schedule import NODE_SECONDS, Step
from tokenscope.cost.time_model import Job
from tokenscope.jobs.leases import gpus_asked
from tokenscope.jobs.records import read_records, record_file
from tokenscope.study.study import Study


@dataclass
class Task:
    """One job of the graph."""

    rule: str
    name: str  # path of its log below logs/, without suffix
    wildcards: dict
    todo: bool
    beside: bool
    gpus: int
    threads: int
    minutes: float  # time limit it would request
    estimate: Estimate
    flops: float
    bytes: float | None
    temporary: bool
    needs: tuple[int, ...]
    modelled: float | None = None  # seconds by the cost model alone
    claims: set[str] = field(default_factory=set)

    @property
    def backbone(self) -> str:
        """``family/size/registers`` where the job is about one backbone."""
        parts = [self.wildcards.get(c) for c in ("family", "size", "registers")]
        return "/".join(parts) if all(parts) else ""

    @property
    def claim(self) -> str:
        return claim_of(self.rule, self.wildcards)


def read_plan(workflow, study: Study) -> tuple[list[Task], Calibration, bool]:
    """All jobs of the graph, calibrated by what earlier ones took, and whether a cluster runs them.

    Reads one small record per finished job and nothing else.
    """
    dag, cluster = workflow.dag, workflow.nodes is not None
    jobs = [job for job in dag.jobs if not job.rule.norun]
    todo = set(dag.needrun_jobs(exclude_finished=False))
    place = {job: i for i, job in enumerate(jobs)}
    calibration = Calibration()
    requests = [_requests(job, workflow, cluster) for job in jobs]
    models = []
    for job, (threads, _, _) in zip(jobs, requests, strict=True):
        models.append(Job(study, job.rule.name, dict(job.wildcards_dict), threads))
        _measured(job, models[-1], calibration)
    tasks = []
    for job, model, (threads, gpus, minutes) in zip(jobs, models, requests, strict=True):
        rule, beside = job.rule.name, cluster and job.rule.name in workflow._localrules
        modelled = model.seconds()
        estimate = calibration.estimate(rule, modelled, 60 * minutes, beside)
        files = list(job.output)
        tasks.append(Task(
            rule=rule, name=name_of(job), wildcards=dict(job.wildcards_dict),
            todo=job in todo, beside=beside, gpus=gpus, threads=threads, minutes=minutes,
            estimate=estimate, modelled=modelled, flops=model.flops(), bytes=model.bytes(),
            temporary=bool(files) and all(f.flags.get("temp") for f in files),
            needs=tuple(place[need] for need in dag.dependencies[job] if need in place),
        ))  # fmt: skip
    _mark_claims(workflow, jobs, tasks)
    return tasks, calibration, cluster


def _requests(job, workflow, cluster: bool) -> tuple[int, int, float]:
    """Threads, GPUs and minutes as they will be asked for.

    A dry run scales threads down to the cores of its own machine, which a cluster will not do:
    where it did, threads and what may depend on them are asked for again.
    """
    resources, cores = job.resources, job.rule.resources["_cores"]
    gpus = gpus_asked(resources)
    if cluster and (cores.is_evaluable() or cores.value != resources["_cores"]):
        caps = workflow.global_resources
        own = caps["_cores"]
        caps["_cores"] = type(own)("_cores", None)
        others = {r.name for r in job.rule.resources.values()} - {"_cores", "runtime"}
        try:
            resources = job.rule.expand_resources(
                job.wildcards_dict, job.input, 1, skip_evaluation=others
            )
        finally:
            caps["_cores"] = own
    return int(resources["_cores"]), gpus, float(resources.get("runtime", 0) or 0)


def name_of(job) -> str:
    """What a job is called in logs, records and forecasts."""
    log = next(iter(job.log), "")
    return str(log).partition("/logs/")[2].removesuffix(".log") or job.rule.name


def _measured(job, model: Job, calibration: Calibration) -> None:
    """Add what this very job took when it last ran: by its records, or by Snakemake's benchmark."""
    file = record_file(next(iter(job.log), ""))
    done = [r for r in read_records(file) if r["outcome"] == "finished"] if file else []
    if done:
        record = done[-1]
        then = Job(
            model.study, model.rule, model.wildcards, record["threads"],
            record["work"].get("images"),
        )  # fmt: skip
        calibration.add(model.rule, record["seconds"], then.seconds())
        measured = [g["joules"] for g in record["gpus"] if g["joules"] is not None]
        if measured and len(measured) == len(record["gpus"]):
            calibration.add_energy(model.rule, sum(measured), len(measured) * record["seconds"])
    elif job.benchmark and Path(job.benchmark).is_file():
        with open(job.benchmark, newline="") as handle:
            for row in csv.DictReader(handle, delimiter="\t"):
                calibration.add(model.rule, float(row["s"]), model.seconds())


def _mark_claims(workflow, jobs: list, tasks: list[Task]) -> None:
    """Which claims each job is needed for: all that the targets of a claim rest on."""
    made = {str(file): i for i, job in enumerate(jobs) for file in job.output}
    for rule in workflow.rules:
        if not (rule.norun and rule.name in TARGETS):
            continue
        files, *_ = rule.expand_input({})
        stack = [made[str(f)] for f in files if str(f) in made]
        while stack:
            task = tasks[stack.pop()]
            if rule.name not in task.claims:
                task.claims.add(rule.name)
                stack.extend(task.needs)


def steps(tasks: list[Task], cluster: bool) -> list[Step]:
    """The jobs still to do, for a simulation."""
    position = {i: n for n, i in enumerate(i for i, task in enumerate(tasks) if task.todo)}
    return [
        Step(
            seconds=tasks[i].estimate.seconds + node_seconds(tasks[i], cluster),
            needs=tuple(position[need] for need in tasks[i].needs if need in position),
            gpus=tasks[i].gpus, threads=tasks[i].threads, beside=tasks[i].beside,
            bytes=tasks[i].bytes or 0.0, temporary=tasks[i].temporary,
        )
        for i in position
    ]  # fmt: skip


def node_seconds(task: Task, cluster: bool) -> float:
    """What a job costs on its node before its script starts."""
    return NODE_SECONDS if cluster and not task.beside else 0.0


def save(tasks: list[Task], file: Path) -> None:
    """Write the forecast of a run, job by job, for the accounting to compare with."""
    jobs = {
        task.name: {
            "rule": task.rule, "wildcards": task.wildcards,
            "seconds": round(task.estimate.seconds, 3), "basis": task.estimate.basis,
            "bias": round(task.estimate.bias, 4), "scatter": round(task.estimate.scatter, 4),
            "gpus": task.gpus, "threads": task.threads, "minutes": task.minutes,
        }
        for task in tasks
        if task.todo
    }  # fmt: skip
    file.parent.mkdir(parents=True, exist_ok=True)
    aside = file.with_name(f".{file.name}")
    aside.write_text(json.dumps(jobs, indent=0))
    aside.replace(file)
