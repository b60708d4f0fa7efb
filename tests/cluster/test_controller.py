"""The batch script of a controller: waits for jobs left behind, runs, returns to the queue."""

import os
import signal
import subprocess
import time

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
    end = time.monotonic() + 30
    while "-- all" not in (said.read_text() if said.exists() else "") and time.monotonic() < end:
        time.sleep(0.05)
    process.send_signal(signal.SIGUSR1)
    assert process.wait(30) == 0
    assert said.read_text().splitlines()[-1] == "scontrol requeue 7"
