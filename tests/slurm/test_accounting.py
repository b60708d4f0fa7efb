"""The accounting on a real Slurm: its sums are sacct's, and killed attempts are in it.

TOKENSCOPE_SLURM_TESTS=1 pytest tests/slurm/test_accounting.py      # about 5 minutes on two cores
"""

import csv
import os
import signal
import time

import pytest
from cluster import ClusterError
from runs import (
    SWITCH,
    TARGETS,
    cluster_in,
    copy,
    extraction,
    frozen,
    small_sets,
    unfinished,
    until,
)

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.skipif(os.environ.get(SWITCH) != "1", reason=f"takes minutes; set {SWITCH}=1"),
]
FIELDS = ("jobidraw", "state", "elapsedraw", "alloctres", "comment")


def gpus(tres):
    return int(dict(part.split("=") for part in tres.split(",")).get("gres/gpu", 0))


def cores(tres):
    return int(dict(part.split("=") for part in tres.split(","))["cpu"])


def test_the_sum_over_jobs_is_sacct_s(local, tmp_path_factory, tmp_path):
    """One extraction is killed before it can record anything; its retry succeeds."""
    cluster = cluster_in(tmp_path_factory.mktemp("sacct"), accounting=True)
    try:
        env = cluster.env | {"SBATCH_ACCOUNT": "research"}
        project = unfinished(local, tmp_path / "project", env)
        project.profile(**{"slurm-status-command": "sacct"})
        (project.results / "tables" / "accounting.csv").unlink()  # else nothing asks for the rest
        run = project.start("carbon")
        os.kill(extraction(project), signal.SIGKILL)
        assert "Trying to restart job" in project.finish(run)

        with open(project.results / "tables" / "accounting.csv", newline="") as handle:
            rows = list(csv.DictReader(handle))
        command = ("sacct", "-nXP", "--duplicates", "-o", ",".join(FIELDS))
        lines = [line.split("|") for line in cluster.run(*command).splitlines()]
        slurm = [dict(zip(FIELDS, line, strict=True)) for line in lines]
        submitted = [row for row in rows if row["slurm_job_id"]]
        assert {row["slurm_job_id"] for row in submitted} == {job["jobidraw"] for job in slurm}
        for name, count in (("gpu_hours", gpus), ("core_hours", cores)):
            theirs = sum(int(job["elapsedraw"]) * count(job["alloctres"]) for job in slurm) / 3600
            ours = sum(float(row[name]) for row in submitted)
            assert ours == pytest.approx(theirs, rel=1e-5) and theirs > 0

        (killed,) = (row for row in submitted if row["source"] == "sacct")
        assert (killed["rule"], killed["state"], killed["work"]) == ("extract", "FAILED", "new")
        again = [row for row in rows if row["job"] == killed["job"]]
        assert [(row["work"], row["source"]) for row in again] == [
            ("spent", "record"),  # before its store was taken away
            ("new", "sacct"),
            ("new", "record, sacct"),
        ]
        assert float(killed["kwh"]) > 0 and float(killed["co2_kg"]) > 0
        assert killed["gpu_method"] == "formula (no record of the job)"
        # Pretended GPUs: allocated and charged, but there is no driver to ask.
        assert "no NVML" in again[-1]["gpu_method"]
        assert all(float(row["units"]) > 0 and row["queue_seconds"] for row in submitted)
        assert {row["work"] for row in rows if row["rule"] == "train"} == {"reused"}
        assert {row["source"] for row in rows if row["rule"] == "gather"} == {"record"}
    finally:
        cluster.stop()


def test_what_slurm_does_not_take_now_is_no_attempt(tmp_path_factory, tmp_path):
    """One submitted job is allowed where the profile has six."""
    cluster = cluster_in(tmp_path_factory.mktemp("limit"), accounting=True)
    try:
        cluster.run(*["sacctmgr", "-i", "modify", "qos", "normal", "set", "maxsubmitjobsperuser=1"])
        (tmp_path / "project").mkdir()
        project = copy(tmp_path / "project", cluster.env | {"SBATCH_ACCOUNT": "research"})
        samples = small_sets(project, 2)
        project.profile(retries=0, **{"slurm-status-command": "sacct"})
        run = project.start(*samples, seconds=900)
        until(lambda: "not taken by Slurm now" in project.log.read_text(), 120, "a refusal")
        waits = [job["reason"] for job in project.status()["active"] if job["state"] == "queued"]
        assert any("put to Slurm again" in why for why in waits)
        assert "QOSMaxSubmitJobPerUserLimit" in project.finish(run)
        rows = cluster.run("sacct", "-nXP", "-o", "state,reqmem").splitlines()
        assert len(rows) == 4 and {row.split("|")[0] for row in rows} == {"COMPLETED"}
        assert project.status()["attempts"] == []
    finally:
        cluster.stop()


def test_a_database_that_is_down_for_two_minutes(local, tmp_path_factory, tmp_path):
    """The plugin gets no answer at several looks; it must not forget the jobs it asked for."""
    cluster = cluster_in(tmp_path_factory.mktemp("down"), accounting=True)
    try:
        env = cluster.env | {"SBATCH_ACCOUNT": "research"}
        project = unfinished(local, tmp_path / "project", env)
        project.profile(**{"slurm-status-command": "sacct"})
        run = project.start(*TARGETS, seconds=900)
        pid = frozen(project)
        cluster.stop_daemon("slurmdbd")
        with pytest.raises(ClusterError):
            cluster.run("sacct")
        time.sleep(120)
        cluster.start_daemon("slurmdbd")
        os.kill(pid, signal.SIGCONT)
        project.finish(run)
        project.agrees_with(local)
    finally:
        cluster.stop()
