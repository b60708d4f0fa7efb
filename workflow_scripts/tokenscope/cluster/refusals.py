"""What Slurm would refuse of a run's requests, each with the setting to change.

What ``sinfo`` tells is compared first: it says which of time, GPU, cores and memory is wrong, and
finds jobs that many sites would take and never start. The rest (account, QOS, a site's own rules)
``sbatch --test-only`` answers, which submits nothing.
"""

import os
import re
import subprocess
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from tokenscope.cluster.partitions import Partition
from tokenscope.cluster.profile import Profile
from tokenscope.cluster.requests import Request
from tokenscope.errors import closest, some

SECONDS = 20.0  # for one answer of sbatch
# What sbatch says, and the resource that is meant.
MEANT = (
    (
        r"--mem\b.{0,60}\b(not|forbidden|ignored)\b|"
        r"([Nn]ot|n't|[Rr]emove|[Ww]ithout) .{0,30}--mem\b",
        "no_mem",
    ),
    (r"slurm_extra", "slurm_extra"),
    (r"whole nodes|--exclusive|a multiple of", "whole"),
    (
        r"(hours|budget|credits?) (is |are )?left|[Ii]nsufficient|over its limit|has expired|"
        r"usage threshold",
        "slurm_account",
    ),
    (r"--gpus\b|[Ii]nvalid gpus|--gres\b|GRES option unsupported", "gres"),
    (
        r"partition specified|Invalid partition|partition not available|use this partition|"
        r"Partition in DOWN",
        "slurm_partition",
    ),
    (
        r"[Ii]nvalid account|account (\S+ )?appears to be invalid|"
        r"(specify|provide|set|choose|use) .{0,30}([Aa]ccount|[Pp]roject)\b",
        "slurm_account",
    ),
    (r"(Assoc|QOS)\w*Wall\w*Limit", "runtime"),
    (r"(Assoc|QOS)\w*(Submit|Jobs)\w*Limit", "jobs"),
    (r"(Assoc|QOS)(Grp|Max|Min)\w*Mem", "mem_mb"),
    (r"(Assoc|QOS)(Grp|Max|Min)\w*C[Pp][Uu]", "threads"),
    (
        r"[Ii]nvalid (qos|QOS)|QOS specification|(Assoc|QOS)\w*G(res|RES)|"
        r"violates accounting/QOS|breached .*QOS",
        "qos",
    ),
    (r"[Tt]ime limit|PartitionTimeLimit", "runtime"),
    (r"[Mm]emory", "mem_mb"),
    (r"CPU count|[Mm]ore processors|cpu count", "threads"),
    (r"generic resource|GRES|[Tt]rackable|GPU model", "gpu_model"),
    (r"[Ff]eature|[Cc]onstraint", "constraint"),
    (r"[Rr]eservation", "slurm-reservation"),
    (r"node configuration is not available", "slurm_partition"),
)
SILENT = (
    r"(Socket|Transport) timed out|Zero Bytes|temporarily una|Unable to contact|"
    r"Connection refused|[Uu]nable to establish|standby|I/O error writing script/environment"
)
FULL = r"(Assoc|QOS)\w*Submit\w*Limit|MaxSubmitJobs"  # of jobs that are submitted at once
ADVICE = {
    "slurm_account": "`sacctmgr show associations user=$USER` lists yours; or export "
    "SBATCH_ACCOUNT, where the profile names none",
    "qos": "`sacctmgr show associations user=$USER format=account,qos` lists yours",
    "jobs": "`sacctmgr show qos format=name,maxsubmitpu` lists limits; or wait until other jobs of "
    "yours have ended",
    "slurm_partition": "`sinfo` lists partitions",
    "gres": "gpu: 0 and gres: gpu:<model>:1 in place of gpu_model: profiles/README.md, Leonardo",
    "whole": "to the cores of a node, or one job for all: profiles/README.md, Whole nodes",
    "slurm_extra": "what the plugin has a word for goes there: profiles/README.md, Sites",
    "no_mem": "to false, and mem_mb: 0 in default-resources of the profile",
    "gpu_model": "`sinfo -o '%P %G'` lists GPUs: the model stands between gpu: and the count",
}


def passing(said: str) -> bool:
    """Whether sbatch may take the same job later: Slurm was silent, or other jobs are too many."""
    return bool(re.search(f"{SILENT}|{FULL}", said))


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: ``what`` in a sentence, ``change``: where, ``advice``: to what."""

    what: str
    change: str
    advice: str = ""
    late: bool = False  # of a repeated attempt alone

    def __str__(self) -> str:
        return f"{self.what}. Change {self.change}" + (f" ({self.advice})" if self.advice else "")


def of_partitions(
    request: Request, partitions: dict[str, Partition], profile: Profile
) -> list[Problem]:
    """What the partitions' limits and nodes do not allow of a request."""
    if any(request.get(name) for name in ("cluster", "clusters", "slurm_cluster")):
        return []  # sinfo has told of this cluster alone
    rule, who = request.rules[0], f"asked for by {some(request.rules, 3)}"
    names = [name for name in request.partition.split(",") if name]
    for name in names:
        if name not in partitions:
            what = f"this cluster has no partition '{name}' ({who}), only {', '.join(partitions)}"
            near = f"nearest: {closest(name, list(partitions), 1)}"
            return [Problem(what, profile.place(rule, "slurm_partition"), near)]
    chosen = [partitions[name] for name in names]
    chosen = chosen or [partition for partition in partitions.values() if partition.default]
    if not chosen:
        return []  # a site's own plugin may choose one: sbatch knows
    found = [_of_one(request, partition, profile) for partition in chosen]
    return [] if not all(found) else found[0]  # Slurm takes the first partition that will do


def _of_one(request: Request, partition: Partition, profile: Profile) -> list[Problem]:
    rule, name, problems = request.rules[0], partition.name, []
    if not partition.up:
        what = f"partition {name} takes no jobs now (asked for by {some(request.rules, 3)})"
        problems.append(Problem(what, profile.place(rule, "slurm_partition"), "or wait"))
    minutes = request.get("runtime") or 0
    if minutes > partition.minutes and not request.get("qos"):  # a QOS may allow more
        by = request.by.get("runtime", rule)
        attempt = f" on attempt {request.attempt}" if request.attempt > 1 else ""
        what = f"partition {name} grants {partition.minutes:g} minutes, {by} asks for {minutes:g}"
        advice = f"or requests: longest_minutes: {partition.minutes:g} in the study's config"
        place = profile.place(by, "slurm_partition")
        problems.append(Problem(what + attempt, place, advice))
    nodes = partition.nodes
    if request.gpus:
        nodes = [node for node in nodes if node.has(request.gpus, request.model)]
        if not nodes:
            return [*problems, _gpus(request, partition, profile)]
    if int(request.get("nodes") or 1) > 1:
        return problems
    cores = request.threads * int(request.get("tasks") or 1)
    if cores > max(node.cores for node in nodes):
        most = max(node.cores for node in nodes)
        what = f"no node of partition {name} has the {cores} cores that {rule} asks for, but {most}"
        place = f"threads in the study's config, or {profile.option('set-threads')}"
        problems.append(Problem(what, place))
    memory, most = int(request.get("mem_mb") or 0), max(node.mem_mb for node in nodes)
    if memory > most:
        by = request.by.get("mem_mb", rule)
        gpu = f" with {request.gpus} {request.model} GPU".replace("  ", " ") if request.gpus else ""
        what = f"no node of partition {name}{gpu} has the {memory:,} MB that {by} asks for"
        what += f", but {most:,}" + _attempt(request)
        problems.append(Problem(what, profile.place(by, "mem_mb"), "or another partition"))
    return problems


def _attempt(request: Request) -> str:
    return f" (on attempt {request.attempt})" if request.attempt > 1 else ""


def _gpus(request: Request, partition: Partition, profile: Profile) -> Problem:
    rule, count = request.rules[0], request.gpus
    models = [model for model in partition.models if model]
    asked = f"asked for by {some(request.rules, 3)}"
    if not partition.models:
        what = f"partition {partition.name} has no GPUs ({asked})"
        return Problem(what, profile.place(rule, "slurm_partition"), ADVICE["gpu_model"])
    if request.model and request.model.lower() not in models:
        has = f"but {', '.join(models)}" if models else "but GPUs without a type: delete the line"
        what = f"partition {partition.name} has no GPU '{request.model}' ({asked}), {has}"
        return Problem(what, profile.place(rule, "gpu_model"), ADVICE["gpu_model"])
    what = f"no node of partition {partition.name} has {count} GPUs ({asked})"
    return Problem(what, profile.place(rule, "slurm_partition"), "or ask for fewer (compute)")


def asked_of_slurm(request: Request, settings=None) -> str:
    """What ``sbatch --test-only`` objects to a request; empty where it would be taken."""
    try:
        command = [*request.command(settings), "--test-only", "--wrap", "true"]
    except Exception as error:  # of Snakemake's plugin, about a resource
        return str(error)
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    except FileNotFoundError:
        return "there is no sbatch on this machine"
    except subprocess.TimeoutExpired:
        return f"sbatch: Socket timed out: no answer within {SECONDS:g} s"
    if not done.returncode:
        return ""
    # Where sbatch is a site's own script, it may talk on either.
    lines = [x for x in (done.stderr or done.stdout).splitlines() if x.strip()]
    lines = lines or [f"exit status {done.returncode}, and no reason given"]
    said = [line for line in lines if re.search("error|fail", line, re.I)]
    return "; ".join(
        dict.fromkeys(re.sub(r"^sbatch: |error: |fatal: ", "", s) for s in said or lines)
    )


def _told(requests: list[Request], said: str, profile: Profile, settings) -> Problem:
    """What Slurm said of some requests, with the setting that is meant."""
    request, rules = requests[0], [rule for request in requests for rule in request.rules]
    if re.search(SILENT, said):
        return Problem(f"Slurm's controller does not answer ({said})", "nothing: wait, try again")
    meant = next((name for pattern, name in MEANT if re.search(pattern, said)), "")
    value, place = request.get(meant), profile.place(request.rules[0], meant)
    if meant == "slurm_account":
        value = value or os.environ.get("SBATCH_ACCOUNT", "")
    elif meant == "qos":
        value = value or getattr(settings, "qos", "") or ""
        place = place if request.get("qos") else profile.option("slurm-qos")
    elif meant in ("threads", "whole"):
        value = request.threads if meant == "threads" else ""
        place = f"threads in the study's config, or {profile.option('set-threads')}"
    elif meant == "gres" and not value:
        place = profile.place(request.rules[0], "gpu_model")
    elif meant == "no_mem":
        value, place = "", "requests: memory in the study's config"
    elif meant.startswith("slurm-") or meant in ("", "jobs"):
        place = profile.option(meant or "set-resources")
    of = f" ({meant.removeprefix('slurm_')} '{value}')" if value else ""
    what = f"Slurm refuses{of} the jobs of {some(rules, 3)}: {said}"
    return Problem(what, place, ADVICE.get(meant, ""))


def problems(
    requests: list[Request],
    partitions: dict[str, Partition],
    profile: Profile,
    settings=None,
    ask: Callable[..., str] = asked_of_slurm,
) -> list[Problem]:
    """All that would be refused, each once; what ``sinfo`` tells before what sbatch answers.

    Args:
        settings: of Snakemake's Slurm plugin.
        ask: puts one request to Slurm.
    """
    found: dict[str, Problem] = {}
    left = []
    for request in requests:
        known = of_partitions(request, partitions, profile)
        for problem in known:
            found.setdefault(problem.what.split(" (asked for by")[0], problem)
        if not known:
            left.append(request)
    answers: dict[str, list[Request]] = defaultdict(list)
    with ThreadPoolExecutor(4) as pool:
        for request, said in zip(left, pool.map(lambda r: ask(r, settings), left), strict=True):
            if said:
                answers[said].append(request)
    told = [_told(asked, said, profile, settings) for said, asked in answers.items()]
    return [*found.values(), *told, *_unseen(profile, settings)]


def _unseen(profile: Profile, settings) -> list[Problem]:
    """Whether the ends of jobs could be seen: sacct is there on sites without accounting, too."""
    if getattr(settings, "status_command", None) != "sacct":
        return []
    command = ["sacct", "-X", "-n", "--name", "tokenscope_test", "-o", "JobIdRaw"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return []  # the plugin takes squeue, or asks again
    said = done.stderr.strip() or done.stdout.strip()
    if not done.returncode or not re.search("disabled|not (enabled|configured|supported)", said):
        return []
    what = f"this Slurm keeps no accounting, so nobody would see a job end ({said})"
    return [Problem(what, profile.option("slurm-status-command"), "to squeue")]
