"""Driver and torch: read from what the machine says, compared by NVIDIA's table."""

import pytest

from tokenscope.jobs import gpu_driver
from tokenscope.jobs.gpu_driver import driver, mismatch, missing_kernels


def test_the_driver_is_read_from_nvidia_smi_else_from_the_kernel(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    kernel = tmp_path / "version"
    assert driver(kernel) == ""
    kernel.write_text(
        "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.133.20  Release Build\n"
    )
    assert driver(kernel) == "570.133.20"
    smi = tmp_path / "nvidia-smi"
    smi.write_text("#!/bin/sh\necho 580.65.06\necho 580.65.06\n")
    smi.chmod(0o755)
    assert driver(kernel) == "580.65.06"
    smi.write_text("#!/bin/sh\necho 'NVIDIA-SMI has failed: no driver'; exit 9\n")
    assert driver(kernel) == "570.133.20"


@pytest.mark.parametrize(
    ("installed", "cuda", "said"),
    [
        ("580.65.06", "13.2", ""),
        ("", "13.2", ""),
        ("525.60.13", "12.6", ""),
        ("575.57.08", "13.2", "needs driver 580 or newer, the driver here is 575.57.08: take a "
                              "build for CUDA 12: make setup TORCH_INDEX="),
        ("470.82", "12.6", "take a build for CUDA 11"),
        ("390.1", "13.2", "no build of today fits"),
        ("580.65.06", None, "built without CUDA: take a build for CUDA 13"),
    ],
)  # fmt: skip
def test_a_driver_that_is_too_old_is_told_with_what_to_do(installed, cuda, said):
    answer = mismatch(installed, "2.15.0", cuda)
    assert said in answer and bool(answer) == bool(said)


@pytest.mark.parametrize(
    ("capability", "fits"),
    [((9, 0), True), ((8, 9), True), ((7, 0), False), ((7, 5), True), ((12, 1), True),
     ((13, 0), True), ((10, 0), False)],
)  # fmt: skip
def test_a_gpu_for_which_torch_has_no_code(capability, fits):
    built = ["sm_75", "sm_80", "sm_86", "sm_90", "sm_120"] + ["compute_120"]
    assert bool(missing_kernels(capability, built)) != fits


def test_a_paid_gpu_that_torch_cannot_use_ends_the_job(monkeypatch, caplog):
    """Rather than computing on the CPU what the GPU is charged for."""
    torch = pytest.importorskip("torch")
    from tokenscope.errors import StudyError
    from tokenscope.forward import device

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(device, "gpu_here", lambda: True)
    monkeypatch.setattr(device, "driver", lambda: "470.82")
    monkeypatch.setattr(torch.version, "cuda", "13.2")
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    assert device.pick_device("auto") == "cpu"
    assert "takes the CPU: torch" in caplog.text and "needs driver 580" in caplog.text  # make setup
    with pytest.raises(StudyError, match="device: cuda, but torch .* needs driver 580"):
        device.pick_device("cuda")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    assert device.pick_device("auto") == "cpu"  # it asked for none
    monkeypatch.setattr(device, "asked_gpus", lambda: 1)
    with pytest.raises(StudyError, match="TORCH_INDEX.*device: cpu"):
        device.pick_device("auto")
    assert gpu_driver.NEEDED[13] == 580
