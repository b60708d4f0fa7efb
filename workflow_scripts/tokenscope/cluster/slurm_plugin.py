"""What Snakemake's Slurm plugin 2.8.0 leaves undone: jobs that are gone, or not taken just now.

Each is mended from outside and for this version alone. Three ways to wait without end:
- A preempted job that Slurm will not start again (no requeue, or a partition that cancels) stays
  PREEMPTED, which is none of the states that count as failed. It is reported as failed here and
  submitted again; preemption uses up no attempt, so memory and time do not grow with it.
- When Slurm gives no answer about all jobs (its database is down for a minute), the plugin drops
  them from its list. They are kept here.
- A job that Slurm no longer knows (it ended, and its record was dropped before the next question)
  is asked after for ever. After a while it is reported as failed here.

And one not to wait at all: a job that sbatch does not take now (Slurm is restarted, the limit of
submitted jobs is reached) fails at once, and so do its next attempts, within seconds. It is put to
sbatch again here until it is taken, as the same attempt. GPUs may have a dash in their model.

``profiles/upstream-slurm-plugin.md`` says the same to the plugin's authors.
"""

import functools
import re
import subprocess
import sys
import threading
import time
from collections.abc import AsyncGenerator
from importlib.metadata import PackageNotFoundError, version

from tokenscope.cluster.refusals import passing
from tokenscope.cluster.requests import spelled

MODULE, PACKAGE = "snakemake_executor_plugin_slurm", "snakemake-executor-plugin-slurm"
MENDS = ("2.8.0",)
PATIENCE = 90.0  # seconds in which Slurm may put a preempted job back into the queue
FORGOTTEN = 600.0  # seconds without a word of a job, of which a question for itself is asked
MOST = 50  # preemptions of one job, after which they count as attempts
PAUSES = (10.0, 120.0)  # seconds between two calls of sbatch for one job: at first, at most
FRAME = re.compile(r"SLURM sbatch failed\. The error message was '|sbatch: (error: )?")
REFUSED = 86400.0  # seconds for which a job is not taken, after which that counts as an attempt


def mend() -> str:
    """Mend the plugin where it is in use; returns why not where it is of another version."""
    plugin = sys.modules.get(MODULE)
    if plugin is None or hasattr(plugin.Executor.check_active_jobs, "__wrapped__"):
        return ""
    try:
        found = version(PACKAGE)
    except PackageNotFoundError:
        found = "unknown"
    if found not in MENDS:
        return (
            f"the Slurm plugin is {found}, not {MENDS[-1]}: whether it waits for preempted jobs "
            "without end has not been tried"
        )
    watcher = Watcher()
    vars(plugin).update(
        query_job_status=watcher.remember(plugin.query_job_status),
        set_gres_string=spelled(plugin.set_gres_string),
    )
    executor, submitter = plugin.Executor, Submitter()
    executor.check_active_jobs = watcher.around(executor.check_active_jobs)
    executor.run_job = submitter.around(executor.run_job)
    executor._report_job_error_threadsafe = submitter.hear(executor._report_job_error_threadsafe)
    executor.cancel_jobs = submitter.until(executor.cancel_jobs)
    return ""


class Watcher:
    """What Slurm last said, and since when a job is preempted or not heard of."""

    def __init__(self):
        self.answer: dict[str, str] | None = None
        self.since: dict[str, float] = {}
        self.preempted: dict[object, int] = {}

    def remember(self, query):
        """Wraps the plugin's question about all jobs: keeps the answer."""

        @functools.wraps(query)
        async def asked(command, logger):
            self.answer, seconds = await query(command, logger)
            return self.answer, seconds

        return asked

    def around(self, check):
        """Wraps the plugin's look at its jobs, which yields those that are still active."""

        @functools.wraps(check)
        async def checked(executor, active_jobs) -> AsyncGenerator:
            self.answer = None
            executor._preemption_warning = True  # "We leave it to SLURM": not where nobody comes
            async for job in check(executor, active_jobs):
                if why := self.lost(job.external_jobid, _requeues(executor)):
                    self.report(executor, job, why)
                else:
                    yield job
            if self.answer is None:  # no answer: the plugin has yielded none of them
                for job in active_jobs:
                    yield job

        return checked

    def lost(self, number: str, requeues: bool) -> str:
        """Why a job that the plugin waits for will not end; empty for one that may."""
        state, now = (self.answer or {}).get(number), time.monotonic()
        if state is not None and state != "PREEMPTED":
            self.since.pop(number, None)
            return ""
        waited = now - self.since.setdefault(number, now)
        if state == "PREEMPTED" and (not requeues or waited >= PATIENCE):
            return "PREEMPTED"
        if state is None and waited >= FORGOTTEN and not _in_queue(number):
            return "UNKNOWN"
        return ""

    def report(self, executor, job, why: str) -> None:
        """Tell Snakemake that a job failed; a preempted one is submitted again as it was."""
        number = job.external_jobid
        self.since.pop(number, None)
        if why == "PREEMPTED":
            again = self.preempted[job.job] = self.preempted.get(job.job, 0) + 1
            if again <= MOST:
                # Snakemake adds one when it tries again. Through the property, which forgets what
                # the job asked for, it would free what an attempt of another number would hold.
                job.job._attempt -= 1
        log = job.aux.get("slurm_logfile")
        executor.report_job_error(
            job,
            msg=f"SLURM-job '{number}' failed, SLURM status is: '{why}'. ",
            aux_logs=[str(log)] if log else [],
        )


class Submitter:
    """Puts a job to sbatch again that Slurm does not take now; what is wrong for good fails."""

    def __init__(self):
        self.said: dict[object, str] = {}  # by job, what the last call was refused for
        self.over = threading.Event()

    def hear(self, report):
        """Wraps the plugin's word to Snakemake that a submission failed."""

        @functools.wraps(report)
        def heard(executor, job_info, msg):
            said = msg.partition("sbatch call:")[0]
            if job_info.job in self.said and passing(said):
                self.said[job_info.job] = " ".join(FRAME.sub("", said).split()).strip("' .")
            else:
                report(executor, job_info, msg)

        return heard

    def around(self, run_job):
        """Wraps the submission of one job, in a thread of its own kind."""

        @functools.wraps(run_job)
        def submitted(executor, job):
            pause, longest = PAUSES
            told, end = "", time.monotonic() + REFUSED
            while not self.over.is_set():
                if time.monotonic() < end:
                    self.said[job] = ""
                run_job(executor, job)
                if not (said := self.said.pop(job, "")):
                    return
                if said != told:
                    executor.logger.warning(f"Job {job.jobid} is not taken by Slurm now: {said}")
                told = said
                self.over.wait(pause)
                pause = min(2 * pause, longest)

        return submitted

    def until(self, cancel_jobs):
        """Wraps the end of a run that is interrupted: nothing is submitted from then on."""

        @functools.wraps(cancel_jobs)
        def cancelled(executor, active_jobs):
            self.over.set()
            cancel_jobs(executor, active_jobs)

        return cancelled


def _requeues(executor) -> bool:
    """Whether jobs were submitted so that Slurm may start them again by itself."""
    return not executor.workflow.executor_settings.no_requeue


def _in_queue(number: str) -> bool:
    """Whether squeue knows a job that has not ended; yes where it cannot be asked."""
    try:
        done = subprocess.run(
            ["squeue", "-h", "-j", number, "-o", "%T"], capture_output=True, text=True, timeout=60
        )
    except (OSError, subprocess.SubprocessError):
        return True
    if done.returncode:
        return "Invalid job id" not in done.stderr
    return bool(done.stdout.strip())
