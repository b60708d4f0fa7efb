"""The Slurm plugin's own code, unmended and mended: who waits for jobs that will not come back?"""

import asyncio
import contextlib
import logging
import os
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
import snakemake_executor_plugin_slurm as plugin

from tokenscope.cluster import slurm_plugin
from tokenscope.cluster.requests import Asked
from tokenscope.cluster.slurm_plugin import FORGOTTEN, PATIENCE


class Executor(plugin.Executor):
    """The plugin's executor without threads, which keeps what it would tell Snakemake."""

    next_seconds_between_status_checks = 0

    def __init__(self, no_requeue=True):
        settings = SimpleNamespace(
            init_seconds_before_status_checks=1, status_attempts=2, status_command="squeue",
            keep_successful_logs=True, requeue=not no_requeue, no_requeue=no_requeue,
        )  # fmt: skip
        self.workflow = SimpleNamespace(executor_settings=settings)
        self.logger, self.run_uuid = logging.getLogger("plugin"), "tokenscope_1"
        self.status_rate_limiter = contextlib.nullcontext()
        self._status_query_calls = self._status_query_failures = 0
        self._status_query_total_seconds = self._status_query_max_seconds = 0.0
        self._status_query_min_seconds, self._status_query_cycle_rows = None, []
        self._preemption_warning, self._failed_nodes = False, set()
        self.failed, self.succeeded = [], []

    def report_job_error(self, job, msg=None, **kwargs):
        self.failed.append((job.external_jobid, msg))

    def report_job_success(self, job):
        self.succeeded.append(job.external_jobid)

    def look(self, *jobs):
        """The ids of the jobs that the plugin goes on to watch."""

        async def active():
            return [job.external_jobid async for job in self.check_active_jobs(list(jobs))]

        with ThreadPoolExecutor(1) as thread:  # a browser of other tests has a loop in this one
            return thread.submit(asyncio.run, active()).result()


class Rule:
    """A job of Snakemake's, as far as the plugin and its mending touch it."""

    _attempt = 1


def job(number):
    return SimpleNamespace(external_jobid=number, job=Rule(), aux={"slurm_logfile": None})


@pytest.fixture
def slurm(monkeypatch):
    """What Slurm answers (None: nothing), and its clock."""
    state = SimpleNamespace(answer={}, now=1000.0, queue=False)

    async def query(command, logger):
        return (state.answer, 0.1 if state.answer is not None else None)

    monkeypatch.setattr(plugin, "query_job_status", query)
    monkeypatch.setattr(plugin, "get_min_job_age", lambda: 300)
    for name in ("check_active_jobs", "run_job", "_report_job_error_threadsafe", "cancel_jobs"):
        monkeypatch.setattr(plugin.Executor, name, getattr(plugin.Executor, name))
    monkeypatch.setattr(plugin, "set_gres_string", plugin.set_gres_string)
    monkeypatch.setattr(slurm_plugin.time, "monotonic", lambda: state.now)
    monkeypatch.setattr(slurm_plugin, "_in_queue", lambda number: state.queue)
    return state


def test_the_plugin_as_it_is_waits_without_end(slurm):
    """Should this fail with a newer version, what is mended here may be gone there."""
    executor, preempted = Executor(), job("7")
    slurm.answer = {"7": "PREEMPTED"}
    assert [executor.look(preempted) for _ in range(3)] == [["7"]] * 3 and not executor.failed
    slurm.answer = None
    assert executor.look(preempted) == [] and not executor.failed  # dropped from the list


def test_a_preempted_job_is_submitted_again_and_uses_up_no_attempt(slurm):
    assert slurm_plugin.mend() == "" == slurm_plugin.mend()
    executor, preempted = Executor(), job("7")
    slurm.answer = {"7": "PREEMPTED", "8": "COMPLETED", "9": "RUNNING"}
    assert executor.look(preempted, job("8"), job("9")) == ["9"]
    assert executor.succeeded == ["8"]
    assert executor.failed == [("7", "SLURM-job '7' failed, SLURM status is: 'PREEMPTED'. ")]
    assert preempted.job._attempt == 0  # one more makes it the first again
    for number in map(str, range(100, 100 + slurm_plugin.MOST)):
        preempted.external_jobid, preempted.job._attempt = number, 1
        slurm.answer = {number: "PREEMPTED"}
        executor.look(preempted)
    assert preempted.job._attempt == 1  # enough is enough: from now on they count


def test_a_job_that_slurm_may_requeue_is_waited_for_a_while(slurm):
    slurm_plugin.mend()
    executor, preempted = Executor(no_requeue=False), job("7")
    for state, seconds, active in (
        ("PREEMPTED", 0, True), ("PREEMPTED", PATIENCE / 2, True), ("PENDING", 60, True),
        ("PREEMPTED", 600, True), ("PREEMPTED", PATIENCE, False),
    ):  # fmt: skip
        slurm.now += seconds
        slurm.answer = {"7": state}
        assert executor.look(preempted) == ["7"] * active
    assert len(executor.failed) == 1


def test_jobs_outlast_an_answer_that_does_not_come(slurm):
    slurm_plugin.mend()
    executor, one, two = Executor(), job("7"), job("8")
    slurm.answer = None
    assert executor.look(one, two) == ["7", "8"]
    slurm.answer = {"7": "COMPLETED", "8": "RUNNING"}
    assert executor.look(one, two) == ["8"] and executor.succeeded == ["7"]


def test_a_job_that_slurm_has_forgotten_is_given_up(slurm):
    slurm_plugin.mend()
    executor, gone, slurm.answer = Executor(), job("7"), {}
    assert executor.look(gone) == ["7"]  # maybe not in the database yet
    slurm.now += FORGOTTEN
    slurm.queue = True
    assert executor.look(gone) == ["7"]
    slurm.queue = False
    assert executor.look(gone) == []
    assert "SLURM status is: 'UNKNOWN'" in executor.failed[0][1]


LIMIT = "sbatch: error: QOSMaxSubmitJobPerUserLimit"
SILENT = "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation"


class Submitted(SimpleNamespace):
    """A job as the plugin submits it."""

    __hash__ = object.__hash__


@pytest.fixture
def submit(slurm, tmp_path, monkeypatch):
    """The plugin's own submission of one job, by an sbatch that answers as it is told."""
    calls = tmp_path / "calls"
    calls.touch()
    executor = Executor()
    executor._main_event_loop, executor.slurm_logdir = None, tmp_path / "logs"
    executor._fallback_account_arg, executor._fallback_partition = "", None
    executor._submitted_job_clusters, executor._partitions = set(), None
    vars(executor.workflow.executor_settings).update(
        qos=None, reservation=None, pass_command_as_script=False
    )
    executor.workflow.workdir_init = str(tmp_path)
    executor.format_job_exec = lambda job: "true"
    executor.report_job_submission = lambda info: executor.succeeded.append(info.external_jobid)
    resources = Asked(slurm_partition="gpu", gpu=1, gpu_model="a100-80gb", runtime=5, mem_mb=9)
    one = Submitted(
        name="extract", jobid=3, wildcards=["a"], is_group=lambda: False, resources=resources,
        threads=2, rule=SimpleNamespace(name="extract"),
    )  # fmt: skip

    def asked(*answers, model="a100-80gb"):
        """``answers``: what sbatch says of each call, in turn; one without any takes the job."""
        for number, answer in enumerate(answers):
            (tmp_path / str(number)).write_text(answer)
        sbatch = tmp_path / "sbatch"
        sbatch.write_text(
            f"#!/bin/sh\ncd {tmp_path}; n=$(wc -l < calls)\necho $@ >> calls\n"
            "test -s $n || { echo 77; exit; }\ncat $n >&2; exit 1\n"
        )
        sbatch.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        resources["gpu_model"] = model
        executor.run_job(one)
        return executor, calls.read_text().splitlines()

    return asked


def test_the_plugin_as_it_is_fails_a_job_that_is_not_taken_now(submit):
    """Should this fail with a newer version, what is mended here may be gone there."""
    executor, calls = submit(LIMIT)
    assert "Invalid GPU model format" in executor.failed[0][1] and not calls
    executor, calls = submit(LIMIT, model="a100")
    assert "QOSMaxSubmitJobPerUserLimit" in executor.failed[1][1] and len(calls) == 1


def test_a_job_that_is_not_taken_now_is_put_to_slurm_again(submit, monkeypatch, caplog):
    pauses = []
    monkeypatch.setattr(slurm_plugin.threading.Event, "wait", lambda self, t: pauses.append(t))
    slurm_plugin.mend()
    executor, calls = submit(LIMIT, LIMIT, SILENT)
    assert executor.succeeded == ["77"] and not executor.failed and len(calls) == 4
    assert pauses == [10, 20, 40] and "--gpus=a100-80gb:1" in calls[0]
    told = [m for m in caplog.messages if "not taken" in m]
    assert told[0] == "Job 3 is not taken by Slurm now: QOSMaxSubmitJobPerUserLimit"
    assert len(told) == 2


def test_what_is_wrong_for_good_fails_at_once_and_silence_in_the_end(submit, monkeypatch):
    monkeypatch.setattr(slurm_plugin.threading.Event, "wait", lambda self, t: None)
    monkeypatch.setattr(slurm_plugin, "REFUSED", -1.0)
    slurm_plugin.mend()
    executor, calls = submit("sbatch: error: Invalid qos specification")
    assert len(calls) == 1 and "Invalid qos" in executor.failed[0][1]
    executor, calls = submit(SILENT, SILENT)
    assert len(calls) == 2 and "Socket timed out" in executor.failed[1][1]


def test_nothing_is_submitted_after_a_run_was_interrupted(submit, monkeypatch):
    monkeypatch.setattr(plugin, "cancel_slurm_jobs", lambda *_: None)
    slurm_plugin.mend()
    Executor.cancel_jobs(SimpleNamespace(_submitted_job_clusters=(), logger=None), [])
    executor, calls = submit()
    assert not calls and not executor.succeeded


def test_another_version_is_left_alone(slurm, monkeypatch):
    monkeypatch.setattr(slurm_plugin, "version", lambda name: "3.1.0")
    before = plugin.Executor.check_active_jobs
    assert "the Slurm plugin is 3.1.0, not 2.8.0" in slurm_plugin.mend()
    assert plugin.Executor.check_active_jobs is before
