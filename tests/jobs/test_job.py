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
        "max-jobs-per-timespan",
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
    # Other versions and programs of Slurm, and what sites' own plugins say.
    "srun: error: Unable to allocate resources: Requested node configuration is not available":
        "gpu_model",
    "salloc: error: Job submit/allocate failed: Invalid account or account/partition combination "
    "specified": "slurm_account",
    "sbatch: error: You must specify an account (--account=<project>)": "slurm_account",
    "srun: error: Unable to allocate resources: No partition specified or system default partition":
        "slurm_partition",
    "Batch job submission failed: User's group not permitted to use this partition":
        "scontrol show partition",
    "Batch job submission failed: Required partition not available (inactive or drain)":
        "scontrol show partition",
    "Batch job submission failed: Time limit specification required, but not provided":
        "lower runtime",
    "sbatch: error: QOSMaxWallDurationPerJobLimit": "lower runtime",
    "sbatch: error: QOSMaxGRESPerUser": "maxtrespu",
    "sbatch: error: QOSMaxCpuPerUserLimit": "maxtrespu",
    "Requested account has breached requested QOS usage threshold": "used up",
    "Batch job submission failed: Invalid feature specification": "constraint",
    "Batch job submission failed: Access denied to requested reservation": "slurm-reservation",
    "srun: error: Unable to create step for job 7: Memory required by task is not available":
        "mem_mb",
    "Batch job submission failed: CPU count specification invalid": "set-threads",
    "sbatch: error: Batch job submission failed: Transport timed out on send/recv operation":
        "did not answer",
    "sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying":
        "did not answer",
    "Batch job submission failed: Slurm backup controller in standby mode": "did not answer",
    "Batch job submission failed: I/O error writing script/environment to file": "did not answer",
    "sacct: error: Problem talking to the database: Connection refused": "did not answer",
    # What a node says at the end of a job.
    "slurmstepd: error: *** JOB 7 ON n1 CANCELLED AT 2026-01-01T00:00:00 DUE TO TIME LIMIT ***":
        "ran out of time",
    "slurmstepd: error: *** STEP 7.0 ON n1 CANCELLED AT 2026-01-01T00:00:00 DUE TO PREEMPTION ***":
        "Preemptible partitions",
    "slurmstepd: error: *** JOB 7 ON n1 CANCELLED AT 2026-01-01T00:00:00 DUE TO NODE FAILURE, SEE "
    "SLURMCTLD LOG FOR DETAILS ***": "another",
    "slurmstepd: error: Detected 1 oom_kill event in StepId=7.batch. Some of the step tasks have "
    "been OOM Killed.": "mem_mb",
    "slurmstepd: error: Step 7.0 exceeded memory limit (9 > 8), being killed": "mem_mb",
    "slurmstepd: error: StepId=7.batch exceeded memory limit (9 > 8), being killed": "mem_mb",
    "srun: error: n1: task 0: Out Of Memory": "mem_mb",
    "Some of your processes may have been killed by the cgroup out-of-memory handler.": "mem_mb",
    "numpy._core._exceptions._ArrayMemoryError: Unable to allocate 3.20 GiB for an array": "mem_mb",
    "RuntimeError: [enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory: "
    "you tried to allocate 4096 bytes": "mem_mb",
    "OSError: [Errno 12] Cannot allocate memory": "mem_mb",
    "RuntimeError: DataLoader worker (pid 7) is killed by signal: Killed.": "mem_mb",
    # GPUs and their driver.
    "RuntimeError: CUDA error: out of memory": "lower batch",
    "torch.OutOfMemoryError: HIP out of memory. Tried to allocate 2 GiB": "lower batch",
    "RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)":
        "lower batch",
    "NVIDIA B200 with CUDA capability sm_100 is not compatible with the current PyTorch "
    "installation.": "TORCH_INDEX",
    "CUDA driver version is insufficient for CUDA runtime version": "TORCH_INDEX",
    "RuntimeError: No CUDA GPUs are available": "given no GPU",
    "RuntimeError: CUDA error: CUDA-capable device(s) is/are busy or unavailable": "given no GPU",
    "RuntimeError: Found no NVIDIA driver on your system.": "given no GPU",
    "CUDA error: uncorrectable ECC error encountered": "broken",
    # Disks.
    "cp: error writing 'a': Disk quota exceeded": "results:",
    "OSError: [Errno 116] Stale file handle: 'results/paper/a'": "the shared file system",
    "OSError: [Errno 5] Input/output error": "the shared file system",
    "OSError: [Errno 107] Transport endpoint is not connected": "the shared file system",
    # The hub of weights, by the clients of HTTP that its library had.
    "httpx.HTTPStatusError: Client error '429 Too Many Requests' for url 'https://hub/a'":
        "HF_TOKEN",
    "HfHubHTTPError: 401 Client Error. (Request ID: x)": "terms",
    "httpx.HTTPStatusError: Client error '401 Unauthorized' for url 'https://hub/a'": "terms",
    "GatedRepoError: Cannot access gated repo for url https://hub/a": "terms",
    "requests.exceptions.HTTPError: 403 Client Error: Forbidden for url: https://hub/a": "denies",
    "urllib.error.HTTPError: HTTP Error 403: Forbidden": "denies",
    "HfHubHTTPError: 404 Client Error. Entry Not Found for url: https://hub/a": "no such file",
    "urllib.error.HTTPError: HTTP Error 404: Not Found": "no such file",
    "socket.gaierror: [Errno -3] Temporary failure in name resolution": "make weights",
    "urllib3.exceptions.NewConnectionError: [Errno 101] Network is unreachable": "make weights",
    "httpx.ProxyError: 407 Proxy Authentication Required": "HTTPS_PROXY",
    "requests.exceptions.ProxyError: HTTPSConnectionPool(host='a', port=443): Max retries exceeded "
    "with url: /api (Caused by ProxyError('Unable to connect to proxy', OSError('Tunnel connection "
    "failed: 403 Forbidden')))": "HTTPS_PROXY",
    "httpx.ConnectError: [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed":
        "SSL_CERT_FILE",
    "httpx.ConnectTimeout: timed out": "make weights",
    # What sites differ in: memory, GPUs by --gres, whole nodes, least requests, narrow login nodes.
    "sbatch: error: ERROR: the --mem option is not supported on this system": "requests: memory",
    "sbatch: error: lua: please remove --mem, memory comes with cores": "requests: memory",
    "sbatch: unrecognized option '--gpus=h100:1'": "gres: gpu",
    "sbatch: error: Invalid --gpus specification": "gres: gpu",
    "sbatch: error: This partition requires --gres=gpu:N": "gres: gpu",
    "sbatch: error: Requested GRES option unsupported by configured SelectType plugin": "gres: gpu",
    "sbatch: error: CPUs must be a multiple of 16": "Whole nodes",
    "sbatch: error: lua: this partition gives whole nodes only": "Whole nodes",
    "sbatch: error: QOSMinGRES": "mintres",
    "sbatch: error: you must request at least one GPU in partition gpu": "mintres",
    "sbatch: error: Your project has insufficient balance": "used up",
    "sbatch: error: Batch job submission failed: User not found": "SBATCH_ACCOUNT",
    "sbatch: error: Batch job submission failed: Requested partition configuration not available "
    "now": "scontrol show partition",
    "sbatch: error: Batch job submission failed: Node count specification invalid": "gpu_model",
    "sbatch: error: Batch job submission failed: Connection refused": "did not answer",
    "sbatch: error: Batch job submission failed: Protocol authentication error": "login node",
    'sbatch: error: Munge encode failed: Failed to access "/run/munge/munge.socket.2"': "munge",
    "sbatch: fatal: Could not establish a configuration source": "login node",
    "slurmstepd: error: couldn't chdir to `/home/me/a': No such file or directory: going to /tmp "
    "instead": "does not see this folder",
    "bash: line 1: /home/me/a/.venv/bin/python: No such file or directory":
        "does not see this folder",
    "RuntimeError: can't start new thread": "make controller",
    "OSError: [Errno 24] Too many open files": "make controller",
    "Unexpected error from cudaGetDeviceCount(). Error 803: system has unsupported display driver "
    "/ cuda driver combination": "TORCH_INDEX",
    "CUDA error: the provided PTX was compiled with an unsupported toolchain.": "TORCH_INDEX",
    "Failed to initialize NVML: Driver/library version mismatch": "broken",
    # Why a job waits, as squeue tells it.
    "reason: AccountNotAllowed": "SBATCH_ACCOUNT",
    "reason: AssocGrpGRESMinutes": "used up",
    "reason: AssociationTimeLimit": "lower runtime",
    "reason: PartitionConfig": "scontrol show partition",
    "reason: MaxGRESPerAccount": "maxtrespu",
    "reason: job requeued in held state": "scontrol release",
    "reason: Reservation": "slurm-reservation",
    "reason: JobHeldAdmin": "scontrol release",
    "reason: ReqNodeNotAvail, UnavailableNodes:n[1-3]": "sinfo -R",
    "reason: BadConstraints": "gpu_model",
    "reason: PartitionDown": "scontrol show partition",
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
