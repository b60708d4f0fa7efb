"""GPUs in the words of Slurm's generic resources, as ``gpu:h100:4(S:0-1),nvme:1``."""

import re
from collections.abc import Mapping


def gpus_of(gres: str) -> dict[str, int]:
    """GPUs by model, untyped ones by an empty name; slices of MIG are models of their own."""
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
