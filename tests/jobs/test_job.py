"""Around a job: reasons to stop, and hints for what goes wrong outside the study."""

import os
import signal
import threading
import time
from types import SimpleNamespace

import pytest

from tokenscope.errors import StudyError, Superseded
from tokenscope.jobs.hints import STATES, hints, of_state, of_text
from tokenscope.jobs.job import Interrupted, StopRequest, job
from tokenscope.jobs.records import read_records


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


SAID = {
    "Batch job submission failed: Invalid partition name specified": "slurm_partition",
    "sbatch: error: Batch job submission failed: Requested node configuration is not available":
        "gpu_model",
    "sbatch: error: Batch job submission failed: Invalid account or account/partition combination "
    "specified": "SBATCH_ACCOUNT",
    "sbatch: error: Batch job submission failed: Invalid qos specification": "slurm-qos",
    "sbatch: error: QOSMaxSubmitJobPerUserLimit": "lower jobs in",
    "sbatch: error: AssocMaxSubmitJobLimit": "lower jobs in",
    "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)":
        "lower jobs in",
    "Batch job submission failed: Requested time limit is invalid (missing or exceeds some limit)":
        "lower runtime",
    "Batch job submission failed: Invalid generic resource (gres) specification": "gpu_model",
    "sbatch: error: Memory specification can not be satisfied": "mem_mb",
    "sbatch: error: CPU count per node can not be satisfied": "set-threads",
    "Batch job submission failed: More processors requested than permitted": "set-threads",
    "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation":
        "max-jobs-per-second",
    "squeue: error: Unable to contact slurm controller (connect failure)": "did not answer",
    "The NVIDIA driver on your system is too old (found version 11080)": "TORCH_INDEX",
    "RuntimeError: CUDA error: no kernel image is available for execution": "TORCH_INDEX",
    "torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB": "lower batch",
    "OSError: [Errno 122] Disk quota exceeded": "results:",
    "SLURM-job '7' failed, SLURM status is: 'OUT_OF_MEMORY'. Reason: Unknown.": "mem_mb",
    "SLURM-job '7' failed, SLURM status is: 'PREEMPTED'.": "Preemptible partitions",
    "SLURM-job '7' failed, SLURM status is: 'TIMEOUT'.": "ran out of time",
    "SLURM-job '7' failed due to a node failure, SLURM status is: 'NODE_FAIL'.": "another",
    "slurmstepd: error: Detected 1 oom-kill event(s) in StepId=7.batch": "mem_mb",
    "requests.exceptions.HTTPError: 429 Client Error: Too Many Requests": "HF_TOKEN",
    "AssocGrpCPUMinutesLimit": "used up",
    "PartitionTimeLimit": "lower runtime",
}  # fmt: skip


@pytest.mark.parametrize("message", SAID, ids=lambda text: text[-30:])
def test_messages_of_clusters_have_one_hint_with_what_to_change(message):
    (hint,) = of_text(f"something before\n{message}\nsomething behind")
    assert SAID[message] in hint and "{" not in hint


def test_states_of_slurm_in_words():
    for state in ("TIMEOUT", "OUT_OF_MEMORY", "PREEMPTED", "NODE_FAIL"):
        meaning, hint = of_state(state)
        assert meaning == STATES[state] and hint
    assert of_state("CANCELLED")[1] == "" and of_state("COMPLETED") == ("", "")
    assert of_text("slurm_load_jobs error: Invalid job id specified") == []


def test_a_record_says_why_a_job_did_not_finish(tmp_path):
    for number, (error, outcome, why) in enumerate((
        (StudyError("the key 'x' is wrong"), "failed", "the key 'x' is wrong"),
        (Interrupted("SIGTERM: ended"), "stopped", "SIGTERM: ended"),
        (ValueError("nine"), "failed", "unexpected error: ValueError: nine"),
    )):  # fmt: skip
        with pytest.raises(SystemExit), job(str(tmp_path / "logs" / "rule" / "a.log"), "a"):
            raise error
        record = read_records(tmp_path / "accounting" / "jobs" / "rule" / "a.jsonl")[number]
        assert (record["outcome"], record["reason"]) == (outcome, why)
