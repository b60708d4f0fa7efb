"""The state of each job: planned, told by events, seen in the queue, recorded when done."""

import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from tokenscope.cost.claims import claim_of
from tokenscope.jobs.hints import WAITS
from tokenscope.jobs.sacct import comment_of
from tokenscope.jobs.squeue import Queued
from tokenscope.status.events import Event
from tokenscope.status.graph import Graph, Planned

# In the order in which a job goes through them; the last two are not on the way.
STATES = ("done", "running", "queued", "waiting", "failed", "blocked")
LIVE = {"RUNNING", "COMPLETING", "CONFIGURING", "STAGE_OUT", "SIGNALING", "SUSPENDED"}
TAIL = 4096  # bytes at the end of a log that hold its last line


@dataclass
class Job:
    """One job now; ``elapsed`` in seconds since it runs, ``log``: the last line it wrote."""

    name: str
    rule: str
    claim: str
    state: str
    planned: Planned
    reason: str = ""
    slurm_job_id: str = ""
    host: str = ""
    elapsed: float = 0.0
    log: str = ""


def states(
    graph: Graph, events: list[Event], done: dict[str, float], queued: list[Queued] | None,
    alive: bool, now: float,
) -> dict[str, Job]:  # fmt: skip
    """All jobs of the graph by name.

    Args:
        graph: as the last run began.
        events: what the controllers did, oldest first.
        done: by job, when it last ended well, by its own record (seconds since 1970).
        queued: what Slurm holds; None where it could not be asked.
        alive: whether a controller of the study runs.
        now: seconds since 1970.
    """
    last: dict[str, Event] = {}
    ids: dict[str, str] = {}
    for e in events:
        if e.job in graph.jobs and e.time >= graph.jobs[e.job].time:
            last[e.job] = e
            if e.kind == "submitted":
                ids[e.job] = e.slurm_job_id
    held = {job.id: job for job in queued or ()}
    named = {job.comment: job for job in queued or () if not job.controller}
    jobs = {}
    for name, planned in graph.jobs.items():
        job = Job(name, planned.rule, claim_of(planned.rule, planned.wildcards), "done", planned)
        jobs[name] = job
        if not planned.todo:
            continue
        comment = comment_of(planned.rule, planned.wildcards)
        slurm = held.get(ids.get(name, "")) or named.get(comment)
        event = last.get(name)
        if event and event.kind == "finished":
            continue
        if slurm and (not event or event.kind != "failed"):
            job.slurm_job_id, job.host, job.elapsed = slurm.id, slurm.nodes, slurm.elapsed
            job.state = "running" if slurm.state in LIVE else "queued"
            job.reason = "" if job.state == "running" else _waits(slurm)
        elif done.get(name, 0.0) >= planned.time and not (event and event.kind == "failed"):
            if event and event.kind in ("started", "submitted") and alive and graph.cluster:
                job.state, job.reason = "running", "has ended, Snakemake has yet to notice"
        else:
            _told(job, event, alive, graph.cluster, queued is not None, now)
            job.slurm_job_id = ids.get(name, "")
    _block(jobs)
    return jobs


def _waits(slurm: Queued) -> str:
    reason = slurm.reason.strip("()")
    state = "" if slurm.state == "PENDING" else f"{slurm.state}: "
    words = WAITS.get(reason.partition(",")[0], "")
    return state + (words if reason == "None" else ": ".join(filter(None, [reason, words])))


def _told(job: Job, event: Event | None, alive: bool, cluster: bool, asked: bool, now: float):
    """The state of a job that is in no queue, by the last thing the controller did with it."""
    job.state = "waiting"
    if event is None:
        return
    if event.kind == "failed":
        job.state, job.reason = "failed", event.why
    elif event.kind == "again":
        job.reason = "an attempt failed, the next is to come"
    elif not cluster or job.planned.beside:
        if alive:
            job.state, job.elapsed = "running", max(0.0, now - event.time)
        else:
            job.reason = "was interrupted"
    elif alive or not asked:
        job.state = "queued"
        refused = f"is put to Slurm again ({event.why})"
        others = {"started": "is being submitted", "refused": refused}
        unseen = "Slurm does not show it" if asked else "was submitted; Slurm cannot be asked here"
        job.reason = others.get(event.kind, unseen)
    else:
        job.reason = "was interrupted"


def _block(jobs: dict[str, Job]) -> None:
    """Jobs that wait for a failed one, directly or not, will not run before that is mended."""
    users: dict[str, list[str]] = defaultdict(list)
    for name, job in jobs.items():
        for need in job.planned.needs:
            users[need].append(name)
    stack = [(name, name) for name, job in jobs.items() if job.state == "failed"]
    while stack:
        name, cause = stack.pop()
        for user in users[name]:
            if jobs[user].state == "waiting":
                jobs[user].state, jobs[user].reason = "blocked", f"needs {cause}"
                stack.append((user, cause))


def last_line(file: str | Path) -> str:
    """The last line of a log that says something, without control characters; empty without one."""
    try:
        with open(file, "rb") as handle:
            handle.seek(0, 2)
            handle.seek(max(0, handle.tell() - TAIL))
            text = handle.read().decode(errors="replace")
    except OSError:
        return ""
    lines = [line.strip() for line in re.split(r"[\r\n]", text) if line.strip()]
    return "".join(c for c in lines[-1] if c.isprintable()) if lines else ""


def remaining(log: str) -> float | None:
    """Seconds that a job has left by its own progress, ``1,200 of 5,000 images, 30 images/s``."""
    found = re.search(r"([\d,]+) of ([\d,]+) (\w+), ([\d,]+) \3/s", log)
    if not found:
        return None
    done, of, _, rate = (part.replace(",", "") for part in found.groups())
    return (int(of) - int(done)) / int(rate) if int(rate) else None
