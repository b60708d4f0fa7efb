"""Jobs that share the GPUs of a machine: pretended devices, real processes."""

import os
import re
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest
from projects import ROOT

from tokenscope.errors import StudyError
from tokenscope.jobs import leases
from tokenscope.jobs.leases import Lease, devices

# A job as Snakemake starts it: its object says how many GPUs the rule asks for.
JOB = """
import os, sys
from types import SimpleNamespace
snakemake = SimpleNamespace(rule="extract", wildcards={}, resources=SimpleNamespace(gpu=%d))
from tokenscope.jobs.job import job
with job(sys.argv[1], "a job"):
    print(os.environ["CUDA_VISIBLE_DEVICES"], os.environ["CUDA_DEVICE_ORDER"], flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Start a job that holds its GPUs until it is told to end."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "workflow_scripts"))
    running = []

    def begin(gpus):
        command = [sys.executable, "-c", JOB % gpus, tmp_path / f"{len(running)}.log"]
        pipe = subprocess.PIPE
        process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
        running.append(process)
        return process

    yield begin
    for process in running:
        process.kill()
        process.wait()


def shown(process):
    """What a job sees as its devices; waits until it has them."""
    return process.stdout.readline().split()


def test_each_job_has_its_own_device_and_a_killed_one_leaves_it(start, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,GPU-5f")
    first, second = start(1), start(1)
    theirs = {name: job for job in (first, second) for name, _ in [shown(job)]}
    assert set(theirs) == {"3", "GPU-5f"}
    third = start(1)
    assert "waits for a GPU: other jobs have those of 3, GPU-5f" in third.stderr.readline()
    theirs["GPU-5f"].send_signal(signal.SIGKILL)  # nobody tidies up
    assert shown(third) == ["GPU-5f", "PCI_BUS_ID"]
    assert third.poll() is None and theirs["3"].poll() is None


def test_slices_of_mig_inside_one_allocation(start, tmp_path, monkeypatch):
    """As Slurm names them to a job of a whole node; another allocation there has its own."""
    old, new = "MIG-GPU-8932f937-d72c/1/0", "MIG-2a4b-0c"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", f"{old},{new}")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    first, second = start(1), start(1)
    assert {shown(first)[0], shown(second)[0]} == {old, new}
    third = start(1)
    assert "waits for a GPU" in third.stderr.readline()
    monkeypatch.setenv("SLURM_JOB_ID", "8")
    assert shown(start(2))[0] == f"{old},{new}"
    second.stdin.close()
    assert shown(third)[0] in (old, new)


def test_a_job_of_several_gpus_takes_them_together(start, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2")
    one = start(1)
    assert shown(one)[0] == "0"
    all_of_them = start(8)
    assert "waits for a GPU" in all_of_them.stderr.readline()
    other = start(1)  # what could not be had together was not kept
    assert shown(other)[0] in ("1", "2")
    for process in (one, other):
        process.stdin.close()
    assert shown(all_of_them)[0] == "0,1,2"


def test_devices_are_what_the_process_may_use(tmp_path, monkeypatch):
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm"):
        (tmp_path / name).touch()
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert devices(tmp_path) == ["0", "1"]
    uuids = ["GPU-8932f937-d72c-4106-c12f-20bd9faed9f6", "MIG-GPU-8932f937/1/0", "MIG-5f-0c"]
    given = {"2, 3": ["2", "3"], "": [], "NoDevFiles": [], "1,-1,2": ["1"], "0,0": ["0"]}
    for visible, named in (given | {",".join(uuids): uuids}).items():
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        assert devices(tmp_path) == named


def test_a_lease_ends_as_it_began_and_needs_its_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(leases.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    monkeypatch.delenv("CUDA_DEVICE_ORDER", raising=False)
    lease = Lease()
    assert lease.take(0) == [] and lease.take(1) == ["0"]
    lease.release()
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "0,1" and "CUDA_DEVICE_ORDER" not in os.environ
    monkeypatch.setattr(leases.tempfile, "gettempdir", lambda: str(tmp_path / "missing"))
    with pytest.raises(StudyError, match="set TMPDIR"):
        Lease().take(1)
    torch = SimpleNamespace(cuda=SimpleNamespace(is_initialized=lambda: True))
    monkeypatch.setitem(sys.modules, "torch", torch)
    with pytest.raises(RuntimeError, match="too late"):
        Lease().take(1)


IMPORTS = """
import runpy, sys, torch
asked = []
torch._C._cuda_getDeviceCount = lambda: asked.append("count") or 0
torch.cuda.is_available = lambda: asked.append("available") or False
torch.cuda.device_count = torch.cuda._lazy_init = torch.cuda.is_available
for script in sys.argv[1:]:
    runpy.run_path(script)
print(len(sys.argv) - 1, asked)
"""


@pytest.mark.slow
def test_no_import_looks_for_devices_before_the_lease():
    """CUDA reads CUDA_VISIBLE_DEVICES once: whoever asks before a lease would see all devices."""
    text = "\n".join(file.read_text() for file in (ROOT / "rules").glob("*.smk"))
    rules = re.split(r"^rule ", text, flags=re.M)
    ours = [rule for rule in rules if re.search(r"^        gpu=", rule, re.M)]
    scripts = [re.search(r'"\.\./(\S+)"', rule)[1] for rule in ours]
    assert len(scripts) >= 10
    done = subprocess.run(
        [sys.executable, "-c", IMPORTS, *scripts], cwd=ROOT, capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": "workflow_scripts"},
    )  # fmt: skip
    assert done.stdout.split("\n")[-2] == f"{len(scripts)} []", done.stderr[-2000:]
