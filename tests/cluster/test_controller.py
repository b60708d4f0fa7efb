"""The batch script of a controller: waits for jobs left behind, runs, returns to the queue."""

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from projects import ROOT

SCRIPT = ROOT / "profiles" / "slurm" / "controller.sh"


@pytest.fixture
def start(tmp_path):
    """Start the script where programs only note how they are called."""
    said = tmp_path / "said"
    binaries = tmp_path / ".venv" / "bin"
    binaries.mkdir(parents=True)
    programs = {
        binaries / "python": f'echo "$@" >> {said}',
        binaries / "snakemake": f'echo snakemake "$@" >> {said}\n'
        'case "$*" in *--unlock*) ;; *) exec sleep "${LASTS:-0}";; esac',
        binaries / "scontrol": f'echo scontrol "$@" >> {said}',
    }
    for file, text in programs.items():
        file.write_text(f"#!/bin/sh\n{text}\n")
        file.chmod(0o755)
    env = {
        **os.environ, "SLURM_JOB_ID": "7", "SLURM_SUBMIT_DIR": str(tmp_path),
        "PATH": f"{binaries}:{os.environ['PATH']}",
    }  # fmt: skip

    def begin(*words, **more):
        process = subprocess.Popen([SCRIPT, *words], env=env | more, text=True)
        return process, said

    return begin


def until(condition):
    """The first true value of a condition, within half a minute."""
    end = time.monotonic() + 30
    while not (value := condition()):
        assert time.monotonic() < end
        time.sleep(0.05)
    return value


def children(pid, name):
    """Processes of a name whose parent is a process."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            head, _, rest = stat.read_text().rpartition(")")
            if head.partition("(")[2] == name and int(rest.split()[1]) == pid:
                found.append(int(stat.parent.name))
    return found


def test_a_run_begins_when_the_jobs_of_an_earlier_one_have_ended(start):
    process, said = start("study.yaml", "claim1", "claim2")
    assert process.wait(30) == 0
    resume, unlock, run = said.read_text().splitlines()
    assert resume == "workflow_scripts/resume.py --wait"
    assert unlock == "snakemake --unlock --configfile study.yaml"
    assert run == "snakemake --profile slurm --configfile study.yaml -- claim1 claim2"


def test_shortly_before_its_time_is_over_it_goes_back_into_the_queue(start):
    """Snakemake is killed: told to end, it would cancel the jobs that are to live on."""
    process, said = start("study.yaml", LASTS="600")
    until(lambda: said.exists() and "-- all" in said.read_text())
    process.send_signal(signal.SIGUSR1)
    assert process.wait(30) == 0
    assert said.read_text().splitlines()[-1] == "scontrol requeue 7"


def test_taken_from_its_node_it_leaves_no_snakemake_behind(start):
    """Else the same job, started again, would be refused by its own first life."""
    process, said = start("study.yaml", LASTS="600")
    mine = until(lambda: children(process.pid, "sleep"))
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 143
    until(lambda: not Path(f"/proc/{mine[0]}").exists())
    assert "requeue" not in said.read_text()  # Slurm does that itself
