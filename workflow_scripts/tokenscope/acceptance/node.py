"""Is a node as jobs need it: driver, device, cores, network, disks, the end of a job's time."""

import os
import socket
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import proxy_bypass

import torch

from tokenscope.acceptance.outcome import Said, gpus
from tokenscope.jobs.energy import allocated, gpu_here
from tokenscope.jobs.gpu_driver import driver, mismatch, missing_kernels
from tokenscope.jobs.network import proxy_of

MEGABYTES = 256  # written and read, to tell the speed of a disk
FILES = 200
SLOW = 30.0  # MB/s below which a disk holds up an extraction


def fits() -> Said:
    """Driver and torch."""
    installed, built = driver(), torch.version.cuda or torch.version.hip or "CPUs"
    what = f"driver {installed or 'none'}, torch {torch.__version__} for {built}"
    why = mismatch(installed, torch.__version__, torch.version.cuda)
    return Said(not why, why or what)


def device(wanted: int) -> Said:
    """The GPUs that the job was given, and whether torch has code for them.

    Args:
        wanted: how many it asked for.
    """
    if not wanted:
        return Said(True, "none was asked for")
    if not gpus():
        here = "there is one, but torch cannot use it" if gpu_here() else "torch sees none"
        return Said(False, f"{here}; CUDA_VISIBLE_DEVICES={os.environ.get('CUDA_VISIBLE_DEVICES')}")
    if old := missing_kernels(torch.cuda.get_device_capability(), torch.cuda.get_arch_list()):
        return Said(False, old)
    given = len(allocated() or []) or gpus()
    name, memory = torch.cuda.get_device_name(), torch.cuda.get_device_properties(0).total_memory
    return Said(given == wanted, f"{given} of {wanted}: {name}, {memory / 1e9:.0f} GB")


def cores() -> Said:
    """Cores that the process may use against those that Slurm says it has."""
    usable = len(os.sched_getaffinity(0))
    given = int(os.environ.get("SLURM_CPUS_PER_TASK", "0") or 0)
    return Said(usable >= given, f"{usable} usable, {given or 'none'} given by Slurm")


def network() -> Said:
    """Whether the hub of weights can be reached: no job needs it after make weights.

    Where a proxy is named (HTTPS_PROXY), whether that can be.
    """
    from huggingface_hub import constants

    place, by = urlsplit(constants.ENDPOINT), ""
    proxy = proxy_of(place.scheme)
    if proxy and not proxy_bypass(place.hostname or ""):
        place = urlsplit(proxy if "//" in proxy else f"http://{proxy}")
        by = f" by the proxy {place.hostname}:{place.port or 80}"
    try:
        port = place.port or (443 if place.scheme == "https" else 80)
        with socket.create_connection((place.hostname or "", port), timeout=5):
            return Said(True, f"the hub of weights can be reached{by}")
    except (OSError, ValueError) as error:
        what = f"no way to the hub of weights{by} ({error}): make weights beforehand"
        return Said(None, what)


def disk(folder: str | Path) -> Said:
    """Megabytes per second written and read again, and small files per second."""
    block = os.urandom(1 << 20)
    try:
        with tempfile.TemporaryDirectory(dir=folder) as place:
            start = time.perf_counter()
            with open(Path(place, "large"), "wb") as out:
                for _ in range(MEGABYTES):
                    out.write(block)
                out.flush()
                os.fsync(out.fileno())
            written = MEGABYTES / (time.perf_counter() - start)
            start = time.perf_counter()
            with open(Path(place, "large"), "rb") as file:
                if hasattr(os, "posix_fadvise"):  # from the disk, not from memory, where that helps
                    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
                while file.read(1 << 20):
                    pass
            read = MEGABYTES / (time.perf_counter() - start)
            start = time.perf_counter()
            for i in range(FILES):
                Path(place, str(i)).write_bytes(b"x" * 4096)
            small = FILES / (time.perf_counter() - start)
    except OSError as error:
        return Said(False, f"{folder} cannot be written: {error}")
    text = f"{folder}: {written:.0f} MB/s written, {read:.0f} read, {small:.0f} small files/s"
    return Said(min(written, read) > SLOW, text)


def time_limit() -> Said:
    """Whether a job knows when its time is over: it ends after a whole chunk then."""
    end = os.environ.get("SLURM_JOB_END_TIME", "")
    if not end.isdigit():
        return Said(None, "not told by this Slurm: jobs hear of their end by its SIGTERM alone")
    return Said(True, f"ends in {(int(end) - time.time()) / 60:.1f} minutes, and knows it")
