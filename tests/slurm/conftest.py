"""The cluster, the study done without it, and a copy of that with work left."""

import contextlib
import os
import signal
from pathlib import Path

import pytest
from runs import (
    KEPT,
    cluster_in,
    copy,
    processes,
    unfinished,
)


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    cluster = cluster_in(tmp_path_factory.mktemp("slurm"))
    yield cluster
    cluster.stop()


@pytest.fixture(scope="session")
def local(tmp_path_factory):
    """The study done on this machine, without Slurm; in a folder that is kept, only what is new."""
    kept = os.environ.get(KEPT)
    folder = Path(kept).resolve() if kept else tmp_path_factory.mktemp("local")
    folder.mkdir(parents=True, exist_ok=True)
    project = copy(folder, os.environ.copy())
    project.run("all", profile="profiles/local", seconds=3600)
    return project


@pytest.fixture
def project(local, cluster, tmp_path):
    """An unfinished study, and the cluster in order."""
    project = unfinished(local, tmp_path / "project", cluster.env)
    yield project
    for pid in processes(project.dir, "snakemake"):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    for job, state, *_ in cluster.squeue():
        if state in ("PENDING", "RUNNING"):
            cluster.run("scancel", job)
    for node in ("n1", "n2", "n3"):
        if not cluster.alive(node):
            cluster.start_node(node)
