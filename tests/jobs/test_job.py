"""Around a job: reasons to stop, and hints for what goes wrong outside the study."""

import os
import signal
import threading
import time
from types import SimpleNamespace

import pytest

from tokenscope.errors import StudyError, Superseded
from tokenscope.jobs.hints import hints
from tokenscope.jobs.job import StopRequest, job


def test_a_superseded_job_ends_when_its_successor_has_made_the_outputs(tmp_path):
    """Were it to fail, Snakemake would delete the outputs, which are the successor's by now."""
    output, log_file = tmp_path / "output", tmp_path / "log"
    successor = threading.Timer(0.3, output.touch)
    with job(str(log_file), "lost", outputs=[str(output)], poll=0.05):
        log_file.unlink()  # as Snakemake does before the successor starts
        log_file.write_text("[successor] hello\n")
        successor.start()
        raise Superseded("another job has taken over")
    successor.join()
    assert log_file.read_text() == "[successor] hello\n[lost] another job has taken over\n"
    assert output.exists()


def test_a_job_that_fails_says_so_in_one_line(tmp_path):
    with pytest.raises(SystemExit) as end, job(str(tmp_path / "log"), "broken"):
        raise StudyError("the key 'x' is wrong")
    assert end.value.code == 1
    assert (tmp_path / "log").read_text() == "[broken] error: the key 'x' is wrong\n"


def test_stop_requests(monkeypatch):
    before = signal.getsignal(signal.SIGTERM)
    try:
        monkeypatch.delenv("SLURM_JOB_END_TIME", raising=False)
        stop = StopRequest()
        assert stop() == ""
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop() == "SIGTERM"
        monkeypatch.setenv("SLURM_JOB_END_TIME", str(int(time.time()) + 600))
        assert StopRequest()() == ""
        monkeypatch.setenv("SLURM_JOB_END_TIME", str(int(time.time()) + 30))
        assert "time limit" in StopRequest()()
    finally:
        signal.signal(signal.SIGTERM, before)


def test_hints_name_the_key_to_change(tmp_path, monkeypatch):
    log = tmp_path / "log"
    log.write_text("sbatch: error: invalid partition specified: nosuch\n" * 3)
    (hint,) = hints([str(log)])
    assert hints(log) == [hint]
    assert "'nosuch'" in hint and "slurm_partition" in hint
    log.write_text("OSError: [Errno 28] No space left on device")
    assert "results:" in hints(log)[0]
    log.write_text("all is well")
    assert hints(log) == [] == hints(tmp_path / "absent") == hints(log, tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=4096))
    assert "disk is full" in hints(log, tmp_path)[0]  # the log itself could not be written
