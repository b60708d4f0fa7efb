"""What to change when a run fails for a reason outside the study: hints by message."""

import re
import shutil
from pathlib import Path

PROFILE = "profiles/slurm/profile.v9+.yaml"
FULL = (
    "the disk is full: make room, or point results: in the study's config elsewhere; finished work "
    "is kept"
)
ROOM = 10_000_000  # bytes; with less left not even a job's log can say what was wrong
HINTS = [
    (
        r"invalid partition specified: (\S+)",
        f"this cluster has no partition '{{0}}': `sinfo` lists them; set slurm_partition in "
        f"{PROFILE} (default-resources: jobs without a GPU; set-resources: with one)",
    ),
    (
        r"Requested node configuration is not available",
        "no node has what a job asks for: compare `sinfo -o '%P %G %c %m'` with set-resources: "
        f"gpu_model in {PROFILE} and with threads in the study's config",
    ),
    (
        r"Invalid account|account (\S+) appears to be invalid",
        "Slurm refuses the account: `sacctmgr show associations user=$USER` lists yours; "
        "export SBATCH_ACCOUNT before you start",
    ),
    (
        r"No space left on device|Disk quota exceeded",
        FULL,
    ),
    (
        r"Read-only file system|Permission denied: '([^']+)'",
        "a folder cannot be written: check results: and weights: cache: in the study's config",
    ),
    (
        r"SLURM status is: 'TIMEOUT'",
        "a job ran out of time: its next attempt asks for more and goes on after the last whole "
        "chunk; raise retries on the command line if that was the last attempt",
    ),
]


def hints(logs: str | Path | list[str], results: str | Path | None = None) -> list[str]:
    """Hints that fit the messages of Snakemake's logs, each once, in the order above.

    ``results``: a folder whose disk is looked at.
    """
    text = ""
    for log in [logs] if isinstance(logs, str | Path) else logs:
        if Path(log).is_file():
            text += Path(log).read_text(errors="replace")
    fitting = []
    for pattern, hint in HINTS:
        if match := re.search(pattern, text):
            fitting.append(hint.format(*(group or "" for group in match.groups())))
    if results and FULL not in fitting and shutil.disk_usage(results).free < ROOM:
        fitting.append(FULL)
    return fitting
