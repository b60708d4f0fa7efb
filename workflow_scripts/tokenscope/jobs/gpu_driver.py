"""Does torch fit the GPU's driver? The CUDA that torch is built for wants a driver of its time."""

import re
import subprocess
from pathlib import Path

# Oldest driver for all versions of a major version of CUDA (NVIDIA's release notes, "minor version
# compatibility").
NEEDED = {11: 450, 12: 525, 13: 580}
KERNEL = Path("/proc/driver/nvidia/version")


def driver(kernel: Path = KERNEL) -> str:
    """Version of the NVIDIA driver of this machine, as 570.133.20; empty where there is none."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=60).stdout
    except (OSError, subprocess.TimeoutExpired):
        said = ""
    if found := re.match(r"\d+(\.\d+)+", said):
        return found[0]
    try:
        text = kernel.read_text()
    except OSError:
        return ""
    found = re.search(r"NVRM version:.*?\s(\d+\.\d+(\.\d+)*)\s", text)
    return found[1] if found else ""


def mismatch(installed: str, torch: str, cuda: str | None) -> str:
    """Why this torch cannot use this driver, with what to do; empty where it can, or none is there.

    Args:
        installed: version of the driver.
        torch: its version. cuda: the one it is built for, as 13.2; None for a build without.
    """
    if not installed:
        return ""
    have = int(installed.partition(".")[0])
    if cuda is None:
        return f"torch {torch} is built without CUDA: {_other(have)}"
    major = int(cuda.partition(".")[0])
    if have < NEEDED.get(major, 0):
        return (
            f"torch {torch} is built for CUDA {cuda} and needs driver {NEEDED[major]} or newer, "
            f"the driver here is {installed}: {_other(have)}, or have the driver updated"
        )
    return ""


def _other(have: int) -> str:
    fits = [major for major, needed in NEEDED.items() if needed <= have]
    if not fits:
        return "no build of today fits a driver as old"
    return (
        f"take a build for CUDA {max(fits)}: make setup TORCH_INDEX=<address> (profiles/README.md, "
        "Software on the nodes)"
    )


def missing_kernels(capability: tuple[int, int], built: list[str]) -> str:
    """Why a GPU is too old or too new for this torch; empty where it has code for it.

    Args:
        capability: of the GPU, as (7, 0). built: as torch.cuda.get_arch_list() gives it. Code of
            one major version runs on later minor ones; what is named compute_ runs on all later.
    """
    major, minor = capability
    for name in built:
        kind, _, number = name.partition("_")
        digits = re.match(r"\d+", number)
        theirs = divmod(int(digits[0]), 10) if digits else (99, 0)
        if (theirs[0] == major and theirs[1] <= minor) or (
            kind == "compute" and theirs <= capability
        ):
            return ""
    return (
        f"the GPU has compute capability {major}.{minor}, and this torch is built for "
        f"{', '.join(built)}: take another build: make setup TORCH_INDEX=<address>"
    )
