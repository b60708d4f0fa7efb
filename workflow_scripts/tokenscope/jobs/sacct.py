"""What Slurm's accounting knows of the jobs of a study: one question, answered by ``sacct``."""

import os
import re
import subprocess
from datetime import datetime, timedelta

FIELDS = (
    "jobidraw", "jobname", "state", "submit", "start", "end", "elapsedraw", "alloctres",
    "nodelist", "comment",
)  # fmt: skip


def ask(since: float, seconds: float = 120) -> tuple[list[dict], str]:
    """All jobs of this user since a time (seconds since 1970), and why there are none.

    Requeued jobs appear once for each time they ran. A site without accounting is no error.
    """
    begin = datetime.fromtimestamp(since) - timedelta(days=1)  # a failed job may have been first
    command = ["sacct", "-X", "-n", "-P", "--duplicates", "-u", str(os.getuid())]
    command += ["-S", f"{begin:%Y-%m-%dT%H:%M:%S}", "-o", ",".join(FIELDS)]
    environment = os.environ | {"SLURM_TIME_FORMAT": "%s"}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=seconds, env=environment
        )
    except FileNotFoundError:
        return [], "sacct is not installed here"
    except subprocess.TimeoutExpired:
        return [], f"sacct did not answer within {seconds:g} s"
    if done.returncode:
        return [], f"sacct failed: {(done.stderr.strip() or done.stdout.strip())[:200]}"
    return parse(done.stdout), ""


def parse(text: str) -> list[dict]:
    """Rows of ``sacct -P`` with :data:`FIELDS`; times in seconds, zero where there is none.

    Jobs that never ran hold nothing and are left out.
    """
    jobs = []
    for line in text.splitlines():
        cells = line.split("|", len(FIELDS) - 1)
        if len(cells) < len(FIELDS):
            continue
        row = dict(zip(FIELDS, cells, strict=True))
        elapsed = int(row["elapsedraw"] or 0)
        if not elapsed:
            continue
        submit, start = _seconds(row["submit"]), _seconds(row["start"])
        jobs.append({
            "slurm_job_id": row["jobidraw"], "run_name": row["jobname"],
            "state": row["state"].split()[0],  # "CANCELLED by 1000"
            "started": start, "ended": _seconds(row["end"]) or start + elapsed,
            "seconds": float(elapsed), "queue_seconds": max(0.0, start - submit),
            "gpus": _gpus(row["alloctres"]), "cores": _count(row["alloctres"], "cpu"),
            "host": row["nodelist"], "comment": row["comment"],
        })  # fmt: skip
    return jobs


def _seconds(text: str) -> float:
    """A time as seconds; Slurm before 20.02 has no choice of format."""
    if text.isdigit():
        return float(text)
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:  # Unknown, None
        return 0.0


def _count(tres: str, name: str) -> int:
    """Allocated number of a resource in ``cpu=4,gres/gpu=1,gres/gpu:h100=1,mem=8G``."""
    match = re.search(rf"(?:^|,){re.escape(name)}=(\d+)", tres)
    return int(match[1]) if match else 0


def _gpus(tres: str) -> int:
    """GPUs of all types; some sites account only the typed name."""
    typed = re.findall(r"(?:^|,)gres/gpu:[^=,]+=(\d+)", tres)
    return _count(tres, "gres/gpu") or sum(map(int, typed))


def of_study(rows: list[dict], known: set[str]) -> list[dict]:
    """The jobs of those runs of Snakemake in which one of the known jobs ran.

    All jobs of a run share their name; so jobs that were killed before they could record anything
    are found by their siblings.
    """
    runs = {row["run_name"] for row in rows if row["slurm_job_id"] in known}
    return [row for row in rows if row["run_name"] in runs]


def comment_of(rule: str, wildcards: dict) -> str:
    """The comment Snakemake's Slurm plugin gives a job: its rule and wildcards."""
    values = "_".join(str(v).replace("/", "_") for v in wildcards.values())
    return f"rule_{rule}_wildcards_{values}" if values else f"rule_{rule}"
