"""Which GPUs a job uses where several share a machine: leases that die with their process.

Slurm hands devices out itself; on one machine, or inside one allocation of a whole node, every job
sees all of them and would take the first. A lease is a lock of the operating system on a file per
device: no process, no lease, whatever ended it. Jobs of one user on one machine keep clear of each
other, of whatever study they are.
"""

import errno
import os
import platform
import random
import re
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from tokenscope.errors import StudyError
from tokenscope.jobs.energy import allocated

VISIBLE, ORDER = "CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"


def devices(folder: Path = Path("/dev")) -> list[str]:
    """The GPUs that this process may use: those of CUDA_VISIBLE_DEVICES, else all there are."""
    if os.environ.get(VISIBLE) is not None:
        return list(dict.fromkeys(allocated() or []))
    return [str(i) for i, _ in enumerate(folder.glob("nvidia[0-9]*"))]


def gpus_of(gres: str) -> dict[str, int]:
    """GPUs by model in Slurm's words, as ``gpu:h100:4(S:0-1),nvme:1``.

    Untyped ones have an empty name; slices of MIG are models of their own.
    """
    gpus: dict[str, int] = {}
    for one in re.sub(r"\([^)]*\)", "", gres).split(","):
        kind, *rest = one.strip().split(":")
        if kind == "gpu":
            count = int(rest.pop()) if rest and rest[-1].isdigit() else 1
            model = ":".join(rest).lower()
            gpus[model] = gpus.get(model, 0) + count
    return gpus


def gpus_asked(resources: Mapping) -> int:
    """GPUs that a job asks for: by its resource ``gpu``, else by ``gres``."""
    count = int(resources.get("gpu") or 0)
    return count or sum(gpus_of(str(resources.get("gres") or "")).values())


def asked_gpus() -> int:
    """GPUs that the rule of this job asks for; none outside of Snakemake."""
    context = getattr(sys.modules["__main__"], "snakemake", None)
    resources = getattr(context, "resources", None)
    return gpus_asked({name: getattr(resources, name, None) for name in ("gpu", "gres")})


def lock(file: Path) -> int | None:
    """A descriptor of the file with its lock, or None where another process has it.

    The lock belongs to the process alone: children do not inherit it, and it ends with the process.
    """
    import fcntl  # not on Windows, where figures are drawn and nothing is leased

    descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if error.errno in (errno.EACCES, errno.EAGAIN):
            return None
        raise
    return descriptor


class Lease:
    """Devices of one job, from :meth:`take` to :meth:`release`."""

    def __init__(self) -> None:
        self._held: list[int] = []
        self._before: dict[str, str | None] = {}

    def take(self, wanted: int, log=None, poll: float = 1.0) -> list[str]:
        """Lease so many devices, or all where there are fewer, and show CUDA these alone.

        Waits while others have them. Jobs that want several take them at once or not at all: two
        that held one each would wait for ever. Must come before CUDA looks for devices.

        Raises:
            StudyError: the folder of locks cannot be written.
            RuntimeError: torch has looked for devices already.
        """
        names = devices() if wanted > 0 else []
        if not names:
            return []
        torch = sys.modules.get("torch")
        if torch is not None and torch.cuda.is_initialized():
            raise RuntimeError("the job's GPUs are leased too late: torch has taken its own")
        folder, told = _folder(), False
        while len(taken := self._try(folder, names, wanted)) < min(wanted, len(names)):
            self._free()
            if log and not told:
                log.info("waits for a GPU: other jobs have those of %s", ", ".join(names))
            told = True
            time.sleep(poll * random.uniform(0.5, 1.5))
        values = {VISIBLE: ",".join(taken), ORDER: os.environ.get(ORDER, "PCI_BUS_ID")}
        self._before = {name: os.environ.get(name) for name in values}
        os.environ.update(values)  # devices count by bus, as NVML counts them, which meters energy
        return taken

    def _try(self, folder: Path, names: list[str], wanted: int) -> list[str]:
        taken: list[str] = []
        for name in names:
            held = lock(folder / name.replace("/", "_")) if len(taken) < wanted else None
            if held is not None:
                self._held.append(held)
                taken.append(name)
        return taken

    def _free(self) -> None:
        while self._held:
            os.close(self._held.pop())

    def release(self) -> None:
        """Give the devices back; does nothing where none were taken."""
        self._free()
        for name, value in self._before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
        self._before = {}


def _folder() -> Path:
    """Where the locks of this user's jobs lie: on this machine, in this Slurm allocation.

    Two allocations on one node may both call their first device 0.
    """
    names = ("tokenscope", "gpus", platform.node(), os.environ.get("SLURM_JOB_ID", ""))
    folder = Path(tempfile.gettempdir(), f"{'-'.join(filter(None, names))}-{os.getuid()}")
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        (folder / "writable").touch()
    except OSError as error:
        raise StudyError(
            f"GPUs cannot be shared out: {folder} cannot be written ({error.strerror}); set TMPDIR "
            "to a folder of this machine that can"
        ) from None
    return folder
