"""Controllers seen from elsewhere: by their process, by Slurm, by the age of their heartbeat."""

import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, replace
from types import SimpleNamespace

import pytest
from projects import ROOT

from tokenscope.errors import StudyError
from tokenscope.jobs import controllers
from tokenscope.jobs.controllers import FOLDER, SILENT, Controller, Heartbeat
from tokenscope.jobs.squeue import parse
from tokenscope.status.watch import Watch

RESUME = ROOT / "workflow_scripts" / "resume.py"


@pytest.fixture
def mine(tmp_path):
    return Controller.own("run1", "paper", str(tmp_path / "results"))


def left_by(tmp_path, controller, age=0.0):
    """The file of a controller whose last beat was some seconds ago."""
    file = tmp_path / FOLDER / f"{controller.run}-{controller.host}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(asdict(controller)))
    os.utime(file, (time.time() - age,) * 2)
    return file


def queue(tmp_path, *names):
    lines = (f"{n}|RUNNING|None|{name}|1:00|node7|{tmp_path}|" for n, name in names)
    return parse("\n".join(lines), tmp_path)


def test_a_heart_beats_until_its_end(tmp_path, mine):
    heart = Heartbeat(mine, tmp_path, every=0.02)
    heart.start()
    first = heart.file.stat().st_mtime_ns
    for _ in range(200):
        if heart.file.stat().st_mtime_ns > first:
            break
        time.sleep(0.02)
    (seen,) = controllers.read(tmp_path)
    assert seen.lives() and seen.age < 10 and heart.file.stat().st_mtime_ns > first
    heart.end("finished")
    heart.end("was interrupted")
    (seen,) = controllers.read(tmp_path)
    assert not seen.lives() and seen.outcome == "finished"
    Heartbeat(replace(mine, run="run2", ended=0.0), tmp_path).start()  # forgets the one before
    assert [c.run for c in controllers.read(tmp_path)] == ["run2"]


def test_who_lives(tmp_path, mine, monkeypatch):
    assert mine.lives()
    assert not replace(mine, begun=mine.begun + 1).lives()  # its number went to another process
    assert not replace(mine, ended=1.0).lives()
    away = replace(mine, machine="another", age=SILENT - 1)
    assert away.lives() and not replace(away, age=SILENT + 1).lives()
    submitted = replace(away, slurm_job_id="5", age=SILENT + 1)
    assert submitted.lives(queue(tmp_path, (5, "tokenscope_controller")))
    assert not submitted.lives(queue(tmp_path, (6, "tokenscope_controller")))
    monkeypatch.setattr(
        controllers, "OWN_JOB", "5"
    )  # Slurm put it into the queue again: this is it
    assert not replace(submitted, age=0).lives()


def test_a_second_controller_of_a_study_is_refused(tmp_path, mine, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TOKENSCOPE_RUN", "run9")
    away = replace(mine, host="login2", machine="another")
    left_by(tmp_path, away)
    settings = SimpleNamespace(lock=True)
    workflow = SimpleNamespace(
        execution_settings=settings, dag_settings=SimpleNamespace(allowed_rules={"report"})
    )
    study = SimpleNamespace(config={"study": "paper"}, results=str(tmp_path / "results"))
    watch = Watch()
    with pytest.raises(StudyError, match="study paper on login2 .* still runs: a second one"):
        watch.begin(workflow, study, None, {}, [])
    settings.lock = False  # a figure beside it
    watch.begin(workflow, study, None, {}, [])
    assert watch.heartbeat is None
    settings.lock = True
    left_by(tmp_path, away, SILENT + 1)
    watch.begin(workflow, study, None, {}, [])
    watch.end("finished")
    assert [(c.run, c.outcome) for c in controllers.read()] == [("run9", "finished")]


def test_resume_refuses_while_a_controller_lives_anywhere(tmp_path, mine):
    """Behind `make resume`, with a squeue of our own."""
    program, answer = tmp_path / "bin" / "squeue", tmp_path / "answer"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\ncat {answer}\n")
    program.chmod(0o755)
    answer.write_text("")

    def resume():
        environment = os.environ | {"PATH": f"{program.parent}:{os.environ['PATH']}"}
        command = [sys.executable, RESUME, "--wait", "--directory", tmp_path]
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        return done.returncode, done.stdout + done.stderr

    assert resume()[0] == 0
    away = replace(mine, host="login2", machine="another", pid=77, slurm_job_id="12")
    file = left_by(tmp_path, away)
    status, said = resume()
    assert (
        status == 1 and "the controller of study paper on login2 (process 77, Slurm job 12" in said
    )
    assert "nothing was done" in said and "Traceback" not in said
    os.utime(file, (time.time() - SILENT - 1,) * 2)
    assert resume()[0] == 0
    job = f"12|RUNNING|None|tokenscope_controller|1:00|node7|{tmp_path}|\n"
    answer.write_text(job)
    assert "study paper on login2" in resume()[1]  # silent, but Slurm sees it
    file.unlink()
    status, said = resume()
    assert status == 1 and "submitted as Slurm job 12, on node7" in said
    answer.write_text(job.replace("RUNNING|None", "PENDING|Priority").replace("node7", ""))
    assert "in the queue (Priority)" in resume()[1]
    answer.write_text(job.replace(str(tmp_path), "/elsewhere"))
    assert resume()[0] == 0
