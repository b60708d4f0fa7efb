"""The status of a study as lines for a terminal, and as a section of the report."""

import time
from datetime import datetime

from tokenscope.jobs.hints import of_text
from tokenscope.status.attempts import UNSAID
from tokenscope.status.states import Job
from tokenscope.status.summary import HOURS, Status

MOST = 20  # jobs or attempts on a terminal; status.json has all
WIDTH = 120


def lines(status: Status, most: int = MOST) -> list[str]:
    """What `make status` prints."""
    if not status.jobs:
        text = [f"Status of {status.study}: no run has begun here yet (make forecast: its cost)"]
        return text + _notes(status)
    text = [f"Status of {status.study} at {_clock(status.time)}"]
    for name, words in headline(status):
        text.append(f"  {name:11} {words}")
    text += ["", *_aligned(claims(status))]
    active = [j for j in status.jobs.values() if j.state in ("running", "queued", "failed")]
    for state, title in (
        ("running", "Running"), ("queued", "Waiting in the queue"), ("failed", "Failed for good"),
    ):  # fmt: skip
        own = [job for job in active if job.state == state]
        if own:
            text += ["", f"{title}: {len(own)}"]
            for job in own[:most]:
                text += [line[:WIDTH] for line in _job(job)]
            text += _more(len(own), most)
    recent = status.attempts[::-1]
    if recent:
        text += ["", f"Attempts that did not end well: {len(recent)}, the last first"]
        for attempt in recent[:most]:
            number = f", Slurm job {attempt.slurm_job_id}" if attempt.slurm_job_id else ""
            where = f" on {attempt.host}" if attempt.host else ""
            text.append(f"  {_clock(attempt.ended)} {attempt.job}{where}{number}")
            text.append(f"      {attempt.why}")
        text += _more(len(recent), most)
    text += _notes(status)
    return text


def headline(status: Status) -> list[tuple[str, str]]:
    """The state in a few lines: name and words."""
    n = status.counts()
    jobs = f"{n['done']:,} of {sum(n.values()):,} done"
    others = [f"{count:,} {state}" for state, count in n.items() if count and state != "done"]
    jobs = "; ".join([jobs, *([", ".join(others)] if others else [])])
    found = [("controller", _controller(status)), ("jobs", jobs)]
    unit, hours = _hours(status)
    sums = {kind: sum(row[kind] for row in hours.values()) for kind in HOURS}
    words = (
        f"{sums['done']:.3g} done, {sums['running']:.3g} running, {sums['waiting']:.3g} to do, "
        f"{sums['failed']:.3g} in attempts that failed"
    )
    found.append((f"{unit}-hours", words))
    if status.left:
        expected, low, high = status.left
        many, limited = "" if status.gpus == 1 else "s", status.gpus != float("inf")
        gpus = f" with {status.gpus:g} GPU{many}" if limited and unit == "GPU" else ""
        when = f": about {_clock(status.time + expected)}" if status.alive else ""
        found.append((
            "left",
            f"{span(expected)} (90 %: {span(low)} to {span(high)}){gpus}, without queueing{when}",
        ))  # fmt: skip
    unfinished = {job.name for job in status.jobs.values() if job.state != "done"}
    hints = [a.hint for a in status.attempts if a.hint and a.job in unfinished]
    for job in status.jobs.values():
        if job.state == "queued":
            hints += of_text(f"reason: {job.reason}")
    found += [("hint", hint) for hint in dict.fromkeys(hints)]
    return found


def claims(status: Status) -> list[list[str]]:
    """A table: a row for each claim, with a head."""
    kinds, (unit, of_claims) = list(status.counts()), _hours(status)
    rows = [["claim", "jobs", *kinds, *(f"{unit}-h {kind}" for kind in HOURS)]]
    named = {job.claim for job in status.jobs.values()} | set(of_claims)
    for claim in [*sorted(named), None]:
        counts = status.counts(claim)
        hours = [
            sum(row[kind] for name, row in of_claims.items() if claim in (None, name))
            for kind in HOURS
        ]
        rows.append([
            claim or "all", f"{sum(counts.values()):,}", *(f"{c:,}" for c in counts.values()),
            *(f"{h:.3g}" for h in hours),
        ])  # fmt: skip
    return rows


def _hours(status: Status) -> tuple[str, dict[str, dict[str, float]]]:
    """The hours that matter, by claim: of GPUs where a job has one, else of cores."""
    if any(job.planned.gpus for job in status.jobs.values()):
        return "GPU", status.gpu_hours
    return "core", status.core_hours


def section(status: Status) -> dict:
    """What the report shows: empty tables where nothing runs or failed."""
    return {
        "headline": [h for h in headline(status) if h[0] != "controller"] if status.jobs else [],
        "claims": claims(status) if status.jobs else [],
        "attempts": [
            [_clock(a.ended), a.job, a.host, a.slurm_job_id, a.why, a.hint]
            for a in status.attempts[::-1]
        ],
        "notes": status.notes,
    }


def _controller(status: Status) -> str:
    c = status.controller
    if c is None:
        return "none has left a heartbeat in this folder"
    job = f", Slurm job {c.slurm_job_id}" if c.slurm_job_id else ""
    who = f"on {c.host}, process {c.pid}{job}, run {c.run}"
    if status.alive:
        since = span(status.time - c.started)
        return f"lives {who}, for {since}; last heartbeat {c.age:.0f} s ago"
    if c.ended:
        return f"none lives; the last {c.outcome} at {_clock(c.ended)} ({who})"
    again = "start it again: it goes on where it was"
    if status.cluster:
        again = f"make resume STUDY={status.study} waits for its jobs and goes on"
    return (
        f"DEAD: the last was {who}, its last heartbeat is {span(c.age)} old and it did not say "
        f"that it ended; {again}"
    )


def _job(job: Job) -> list[str]:
    where = " ".join(filter(None, [job.host, job.slurm_job_id and f"job {job.slurm_job_id}"]))
    since = f"{span(job.elapsed)}" if job.state == "running" and job.elapsed else ""
    about = ", ".join(filter(None, [where, since, job.reason]))
    silent = {"running": "its log is empty so far", "failed": UNSAID}.get(job.state, "")
    said = job.log or silent
    return [f"  {job.name}{f' ({about})' if about else ''}", *([f"      {said}"] * bool(said))]


def _notes(status: Status) -> list[str]:
    return [f"  note: {note}" for note in status.notes]


def _more(count: int, most: int) -> list[str]:
    return [f"  and {count - most} more, all in status.json"] if count > most else []


def span(seconds: float) -> str:
    """A length of time in the unit that fits."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} days"


def _clock(seconds: float) -> str:
    """Time of day, with the day where it is not today."""
    moment = datetime.fromtimestamp(seconds)
    today = datetime.fromtimestamp(time.time()).date() == moment.date()
    return f"{moment:%H:%M}" if today else f"{moment:%Y-%m-%d %H:%M}"


def _aligned(cells: list[list[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    rows = ([c.rjust(w) for c, w in zip(row, widths, strict=True)] for row in cells)
    return ["  ".join([row[0].strip().ljust(widths[0]), *row[1:]]) for row in rows]
