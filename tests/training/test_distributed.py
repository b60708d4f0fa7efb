"""Several processes and nodes: the command, a rendezvous of two torchruns, what they say."""

import json
import os
import platform
import shlex
import stat
import sys

import pytest
from training import train

from tokenscope.errors import StudyError, Superseded
from tokenscope.jobs.job import Interrupted
from tokenscope.training.distributed import launch, torchrun

# Two nodes as one machine sees them: srun starts the same command on each.
SRUN = """#!/bin/bash
while [[ $1 == --* ]]; do shift; done
"$@" & "$@" & wait -n; first=$?; wait -n; exit $((first + $?))
"""
PROGRAM = """
import os, sys, torch
from tokenscope.training.distributed import World
world = World.join("cpu")
total = world.sum(torch.tensor(world.rank + 1.0)).item()
shared = world.share("job 7" if world.main else None)
if world.main:
    node = os.environ["GROUP_WORLD_SIZE"]
    print(f"[train a/b/c] {total:g} of {world.size}, {node} nodes, {shared}", file=sys.stderr)
world.leave()
"""


@pytest.fixture
def slurm_job(monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "4100007")
    monkeypatch.setenv("SLURM_JOB_NUM_NODES", "2")


def test_one_node_needs_no_slurm(monkeypatch):
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    command = torchrun(4, 1, 16)
    assert command[:3] == [sys.executable, "-m", "torch.distributed.run"]
    assert command[3:] == ["--nproc-per-node=4", "--standalone"]


def test_the_command_of_two_nodes(slurm_job):
    """One torchrun a node with all its cores; the same meeting point in both, of this job only."""
    text = shlex.join(torchrun(4, 2, 16))
    srun, python, rest = text.partition(sys.executable)
    assert srun.split() == [
        "srun", "--overlap", "--nodes=2", "--ntasks=2", "--ntasks-per-node=1",
        "--cpus-per-task=16", "--cpu-bind=none", "--kill-on-bad-exit=1",
    ]  # fmt: skip
    assert rest.split() == [
        "-m", "torch.distributed.run", "--nproc-per-node=4", "--nnodes=2", "--rdzv-id=4100007",
        "--rdzv-backend=c10d", f"--rdzv-endpoint={platform.node()}:{20000 + 4100007 % 20000}",
    ]  # fmt: skip


def test_a_slurm_job_of_another_size_is_refused(slurm_job, monkeypatch):
    with pytest.raises(StudyError, match="asks for 4 nodes, this Slurm job has 2"):
        torchrun(4, 4, 16)
    monkeypatch.delenv("SLURM_JOB_NUM_NODES")
    with pytest.raises(StudyError, match="asks for 2 nodes, this Slurm job has 1"):
        torchrun(4, 2, 16)


@pytest.mark.slow
def test_two_nodes_meet(slurm_job, monkeypatch, tmp_path):
    """The command run as srun would run it: both nodes join one world."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    srun = tmp_path / "srun"
    srun.write_text(SRUN)
    srun.chmod(srun.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv("PYTHONPATH", "workflow_scripts")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    written = []
    assert launch([*torchrun(1, 2, 1), str(program)], written.append) == (0, "")
    assert written == ["3 of 2, 2 nodes, job 7"]


def test_the_first_complaint_is_the_reason():
    """A process that lost its peer complains later, and louder."""
    lines = ["epoch 1", "error: lower the lr", "unexpected error", "stopped: SIGTERM"]
    script = (
        "import sys\nfor x in sys.argv[1:]: print('[train a/b/c]', x, file=sys.stderr)\nexit(1)"
    )
    written = []
    assert launch([sys.executable, "-c", script, *lines], written.append) == (1, lines[1])
    assert written == lines


@pytest.mark.parametrize(
    "status, output, kind, message",
    [
        (1, "stopped: SIGTERM: ended after 3 of 9 updates", Interrupted, "^SIGTERM: ended"),
        (1, "error: superseded: a/b/c: another job", Superseded, "^a/b/c: another job"),
        (1, "error: lower the lr", StudyError, "^lower the lr"),
        (137, "", StudyError, "^torchrun ended with status 137"),
    ],
)
def test_what_the_processes_said_decides_how_the_job_ends(
    status, output, kind, message, monkeypatch, tmp_path
):
    monkeypatch.setattr(train, "launch", lambda *_: (status, output))
    with pytest.raises(kind, match=message):
        train.distribute({"partial": str(tmp_path / "x")}, "train a/b/c", 4, 2, 1)
    task = json.loads((tmp_path / "x-task.json").read_text())
    assert task["arguments"]["workers"] == task["threads"] == 2
