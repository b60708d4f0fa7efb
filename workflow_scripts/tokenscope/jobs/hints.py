"""What to change when a run fails for a reason outside the study: hints by message and by state."""

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
        r"invalid partition specified: (\S+)|Invalid partition name specified",
        f"this cluster has no such partition ('{{0}}'): `sinfo` lists them; set slurm_partition in "
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
        r"Invalid qos|Invalid QOS|QOS specification",
        "Slurm refuses the QOS: `sacctmgr show associations user=$USER format=account,qos` lists "
        f"yours; set slurm-qos, or qos in set-resources, in {PROFILE}",
    ),
    (
        r"Assoc\w*MinutesLimit|QOS\w*MinutesLimit|Assoc\w*BillingLimit",
        "the hours of the account are used up: `sshare -l` or the site's own command tells; ask "
        "for more, or export SBATCH_ACCOUNT with another account",
    ),
    (
        r"QOSMaxSubmitJobPerUserLimit|AssocMaxSubmitJobLimit|MaxSubmitJobs|"
        r"[Jj]ob violates accounting/QOS policy",
        "more jobs were submitted than the site allows one user (or one asks for more than its QOS "
        f"or account may have): lower jobs in {PROFILE} below the limit that `sacctmgr show qos "
        "format=name,maxsubmitpu,maxtrespu` or `sacctmgr show associations user=$USER` tells",
    ),
    (
        r"Requested time limit is invalid|[Ii]nvalid time limit|PartitionTimeLimit",
        "a job asks for more time than its partition grants: `sinfo -o '%P %l'` lists the limits; "
        f"take a partition with a longer one (slurm_partition in {PROFILE}), or lower runtime",
    ),
    (
        r"[Ii]nvalid generic resource|Invalid GRES|[Ii]nvalid Trackable RESource",
        "the nodes know no such GPU: `sinfo -o '%P %G'` lists models; set gpu_model in "
        f"{PROFILE} to the word between gpu: and the count, or delete the line where there is none",
    ),
    (
        r"Memory specification can ?not be satisfied|Memory required by task is not available|"
        r"Requested memory.*exceeds|MaxMemPer",
        "no node of the partition has the memory that a job asks for: `sinfo -o '%P %m'` lists it; "
        f"take other nodes (slurm_partition), or set mem_mb for the rule in {PROFILE}",
    ),
    (
        r"CPU count per node can ?not be satisfied|More processors requested than permitted|"
        r"[Cc]pu count specification invalid|Requested.*CPUs.*exceed",
        "no node has as many cores as a job asks for: `sinfo -o '%P %c'` lists them; lower threads "
        f"in the study's config, or set-threads in {PROFILE}",
    ),
    (
        r"Socket timed out on send/recv|Unable to contact slurm controller|"
        r"slurm backup controller in standby|submission failed: Resource temporarily unavailable",
        "Slurm's controller did not answer: a site's Slurm is restarted or overloaded; what was "
        f"refused is tried again. If it goes on, lower jobs and max-jobs-per-second in {PROFILE}",
    ),
    (
        r"NVIDIA driver on your system is too old|driver too old|no kernel image is available|"
        r"CUDA driver version is insufficient",
        "the GPU's driver does not fit this build of torch: `nvidia-smi` names the driver; see "
        "profiles/README.md, Software on the nodes, for another build (make setup TORCH_INDEX=...)",
    ),
    (
        r"CUDA out of memory|OutOfMemoryError",
        "a GPU's memory was too small: lower batch in the study's config, or take a GPU with more",
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
        r"429 Client Error|HTTP Error 429|Too Many Requests",
        "the hub of weights refuses because too much was asked: wait an hour, or export HF_TOKEN",
    ),
    (
        r"SLURM status is: ?'TIMEOUT'",
        "a job ran out of time: its next attempt asks for more and goes on after the last whole "
        "chunk; raise retries on the command line if that was the last attempt",
    ),
    (
        r"SLURM status is: ?'OUT_OF_MEMORY'|oom[-_]kill|Exceeded job memory limit",
        "a job used more memory than it asked for: its next attempt asks for more; if that was the "
        f"last, set mem_mb for the rule in set-resources: {PROFILE}",
    ),
    (
        r"SLURM status is: ?'PREEMPTED'",
        "a job had to make room for one of higher priority: it goes on from its last whole chunk; "
        "profiles/README.md, Preemptible partitions, says how such partitions are used well",
    ),
    (
        r"SLURM status is: ?'NODE_FAIL'",
        "a node failed under a job: its next attempt goes to another; slurm-exclude-failed-nodes "
        f"in {PROFILE} names nodes to keep away from",
    ),
]
# What the states of Slurm's accounting mean, for people.
STATES = {
    "BOOT_FAIL": "its node did not start",
    "CANCELLED": "was cancelled by a person or the site",
    "COMPLETING": "is ending",
    "DEADLINE": "missed the deadline that the site gave it",
    "FAILED": "ended with an error or was killed, and left no record",
    "NODE_FAIL": "its node failed",
    "OUT_OF_MEMORY": "used more memory than it asked for",
    "PREEMPTED": "had to make room for a job of higher priority",
    "REQUEUED": "was put into the queue again",
    "REVOKED": "was taken back by the site",
    "TIMEOUT": "ran into its time limit",
    "UNKNOWN": "is no longer known to Slurm",
}


def hints(logs: str | Path | list[str], results: str | Path | None = None) -> list[str]:
    """Hints that fit the messages of Snakemake's logs, each once, in the order above.

    ``results``: a folder whose disk is looked at.
    """
    text = ""
    for log in [logs] if isinstance(logs, str | Path) else logs:
        if Path(log).is_file():
            text += Path(log).read_text(errors="replace")
    fitting = of_text(text)
    if results and FULL not in fitting and shutil.disk_usage(results).free < ROOM:
        fitting.append(FULL)
    return fitting


def of_text(text: str) -> list[str]:
    """Hints that fit a message, in the order above."""
    fitting = []
    for pattern, hint in HINTS:
        if match := re.search(pattern, text):
            found = next((group for group in match.groups() if group), "")
            fitting.append(hint.format(found).replace(" ('')", ""))
    return fitting


def of_state(state: str) -> tuple[str, str]:
    """What a state of Slurm means, and the hint for it; empty where there is nothing to say."""
    found = of_text(f"SLURM status is: '{state}'")
    return STATES.get(state, ""), found[0] if found else ""
