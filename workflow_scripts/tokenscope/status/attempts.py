"""Attempts that did not end well, each with the reason in a sentence and what helps."""

from dataclasses import dataclass

from tokenscope.cost.accounting import DONE
from tokenscope.jobs import hints
from tokenscope.status.events import Event
from tokenscope.status.states import LIVE

NEAR = 600.0  # seconds between the end of a job and Snakemake's notice of it
UNSAID = "died before it could say why: it was killed, or ended before its script began"


@dataclass(frozen=True)
class Failed:
    """An attempt that failed, was killed or was preempted; ``ended`` in seconds since 1970."""

    job: str
    ended: float
    state: str
    why: str
    hint: str
    slurm_job_id: str = ""
    host: str = ""


def failed(attempts: list[dict], events: list[Event]) -> list[Failed]:
    """What did not end well, oldest first, told once by whoever knows most of it.

    Args:
        attempts: of :func:`tokenscope.cost.accounting.collect`, from records and sacct.
        events: of all controllers; they know of failures where nobody else does.
    """
    states = {e.slurm_job_id: e.state for e in events if e.kind == "failed" and e.state}
    found = []
    for a in attempts:
        state = a["state"]
        if state in DONE | LIVE:
            continue
        of_slurm = states.get(a["slurm_job_id"], "")
        if a["source"] == "sacct":
            of_slurm = state
        found.append(_failed(a["job"], a["ended"], state, a.get("reason", ""), of_slurm,
                             a["slurm_job_id"], a["host"]))  # fmt: skip
    known = list(found)
    told = {(f.job, f.slurm_job_id) for f in found if f.slurm_job_id}
    for e in events:
        if e.kind != "failed" or (e.job, e.slurm_job_id) in told:
            continue
        near = (f.job == e.job and abs(f.ended - e.time) < NEAR for f in known)
        if e.slurm_job_id or not any(near):
            found.append(_failed(e.job, e.time, e.state.lower() or "failed", e.why, e.state,
                                 e.slurm_job_id))  # fmt: skip
    return sorted(found, key=lambda f: f.ended)


def _failed(job: str, ended: float, state: str, why: str, slurm: str, number: str, host: str = ""):
    """``slurm``: the state that Slurm gave the job; it explains what the job could not know."""
    meaning, hint = hints.of_state(slurm) if slurm else ("", "")
    found = hints.of_text(why)
    hint = hint or (found[0] if found else "")
    told = "" if "SLURM status is" in why else why
    if meaning and slurm != "FAILED":
        told = f"{meaning} ({told})" if told else meaning
    return Failed(job, ended, state, told or meaning or UNSAID, hint, number, host)
