"""What each attempt of a job took, as it says itself: one line of JSON when it ends.

The file of a job lies at ``<results>/accounting/jobs/<rule>/...jsonl``, beside its log in name;
each attempt adds a line. A killed attempt leaves none: sacct knows of it where there is a Slurm.
Nothing here fails a job.
"""

import json
import os
import platform
import sys
import time
from pathlib import Path

from tokenscope.jobs import software
from tokenscope.jobs.energy import CpuMeter, GpuMeter
from tokenscope.jobs.leases import asked_gpus

try:
    import resource
except ModuleNotFoundError:  # Windows
    resource = None  # type: ignore[assignment]

# Which run of Snakemake a job belongs to: set by the Snakefile, inherited by its jobs.
RUN = "TOKENSCOPE_RUN"
# What the job has worked through, by unit (images, ...): told by its progress.
WORK: dict[str, int] = {}
# Why it did not finish, in a sentence.
WHY: list[str] = []


class Recorder:
    """Watches one attempt from its start to :meth:`close`."""

    def __init__(self, log_file: str | Path, threads: int):
        self.file, self.outcome, self.threads = record_file(log_file), "failed", threads
        WHY.clear()
        context = getattr(sys.modules["__main__"], "snakemake", None)
        self.rule = getattr(context, "rule", "") or (self.file.parent.name if self.file else "")
        self.wildcards = dict(context.wildcards.items()) if context else {}
        resources = getattr(context, "resources", None)
        self.asked = {key: getattr(resources, key, None) for key in ("mem_mb", "runtime")}
        WORK.clear()
        self.cpu, self.gpu = CpuMeter(), GpuMeter(asked_gpus())

    def close(self) -> None:
        """Write the line."""
        now, started = time.time(), process_start()
        line = {
            "rule": self.rule, "wildcards": self.wildcards, "outcome": self.outcome,
            "reason": " ".join(WHY)[:500],
            "run": os.environ.get(RUN, ""), "started": started, "ended": now,
            "seconds": round(now - started, 3), "threads": self.threads, "work": dict(WORK),
            "gpus": self.gpu.stop(), "cpu": self.cpu.stop(), "host": platform.node(),
            "slurm_job_id": os.environ.get("SLURM_JOB_ID", ""),
            "asked": self.asked, "peak_mb": peak_mb(),
            "code": software.of_job(), "versions": software.versions(),
        }  # fmt: skip
        if self.file is None:
            return
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with self.file.open("a") as handle:
                handle.write(json.dumps(line) + "\n")
        except OSError as error:
            print(f"no accounting record: {error}", file=sys.stderr)


def record_file(log_file: str | Path) -> Path | None:
    """The record that belongs to a log: ``logs/x.log`` gives ``accounting/jobs/x.jsonl``."""
    head, logs, tail = str(log_file).partition("/logs/")
    return Path(head, "accounting", "jobs", tail).with_suffix(".jsonl") if logs else None


def read_records(file: str | Path) -> list[dict]:
    """All attempts of a job, oldest first; a torn last line (a full disk) is left out."""
    records = []
    try:
        lines = Path(file).read_text().splitlines()
    except FileNotFoundError:
        return []
    for number, line in enumerate(lines, 1):
        try:
            records.append(json.loads(line) | {"attempt": number})
        except ValueError:
            continue
    return records


def peak_mb() -> int:
    """Most host memory of this process, the Snakemake above it and the largest below, in MB.

    0 where the system does not say.
    """
    if resource is None:
        return 0
    try:
        status = Path(f"/proc/{os.getppid()}/status").read_text()
        above = int(status.partition("VmHWM:")[2].split()[0])
    except (OSError, ValueError, IndexError):
        above = 0
    whose = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    own = sum(resource.getrusage(who).ru_maxrss for who in whose)
    if sys.platform == "darwin":  # bytes there, elsewhere units of 1024
        own //= 1024
    return round((above + own) * 1024 / 1e6)


def process_start() -> float:
    """When this process began (seconds since 1970): imports are part of a job's time."""
    try:
        ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        uptime = float(Path("/proc/uptime").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return time.time()
    return time.time() - uptime + ticks / os.sysconf("SC_CLK_TCK")
