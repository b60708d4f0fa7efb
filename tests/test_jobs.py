"""Around a job: reasons to stop, and hints for what goes wrong outside the study."""

import os
import signal
import time

from tokenscope.hints import hints
from tokenscope.jobs import StopRequest


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


def test_hints_name_the_key_to_change(tmp_path):
    log = tmp_path / "log"
    log.write_text("sbatch: error: invalid partition specified: nosuch\n" * 3)
    (hint,) = hints([str(log)])
    assert hints(log) == [hint]
    assert "'nosuch'" in hint and "slurm_partition" in hint
    log.write_text("OSError: [Errno 28] No space left on device")
    assert "results:" in hints(log)[0]
    log.write_text("all is well")
    assert hints(log) == [] == hints(tmp_path / "absent")
