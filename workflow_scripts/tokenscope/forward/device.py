"""The device of a job: asked for by what a probe needs as well, which opens no backbone."""

import os

import torch

from tokenscope.errors import StudyError
from tokenscope.jobs.energy import gpu_here
from tokenscope.jobs.gpu_driver import driver, mismatch
from tokenscope.jobs.job import log
from tokenscope.jobs.leases import asked_gpus


def pick_device(wanted: str) -> str:
    """``cuda`` or ``cpu`` for a config value of ``auto``, ``cuda`` or ``cpu``.

    Raises:
        StudyError: ``cuda`` without one that torch can use, or a job of a cluster that was given a
            GPU which torch cannot use.
    """
    available = torch.cuda.is_available()
    if wanted != "cpu" and not available:
        why = "torch sees no GPU here"
        if present := gpu_here():
            why = mismatch(found := driver(), torch.__version__, torch.version.cuda) or (
                f"torch {torch.__version__} cannot use the GPU that is here, though driver {found} "
                "would do: the job was not given it, or it is out of order; compare with nvidia-smi"
            )
        if wanted == "cuda":
            raise StudyError(f"device: cuda, but {why}")
        if present and asked_gpus() and "SLURM_JOB_ID" in os.environ:  # it is paid for
            raise StudyError(f"{why}. Without GPUs: device: cpu in the study's config")
        if present:
            log.warning("device: auto takes the CPU: %s", why)
    return "cuda" if wanted != "cpu" and available else "cpu"
