"""Does this site run a study? What Slurm would refuse, then one job of a minute on a node.

    python workflow_scripts/doctor.py config/config.yaml [--profile slurm] [--no-job]

Behind `make doctor`. The first part submits nothing: each kind of request that the study makes,
with the most time and memory of its last attempt, is put to `sbatch --test-only`. What is wrong is
told with the line to change.
"""

import argparse
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

from tokenscope.cluster import before_start, partitions, refusals
from tokenscope.cluster.profile import Profile
from tokenscope.cluster.requests import Request
from tokenscope.errors import StudyError, some

CONTROLLER = "profiles/slurm/controller.sh"
OK, WRONG, OPEN = "ok", "WRONG", "open"
MINUTES, MEGABYTES = 10, 8000  # of the one job
# What to change when a check on the node fails, by its name.
CHANGE = {
    "driver": "make setup TORCH_INDEX=<address> (profiles/README.md, Software on the nodes)",
    "device": "gpu_model and slurm_partition in set-resources of the profile",
    "cores": "slurm_extra in the profile, or ask the site: tasks are bound to fewer cores",
    "precision": "nothing here: this GPU does not compute as it should; make accept says more",
    "energy": "nothing: energy is computed from power and time instead",
    "network": "nothing: make weights STUDY=<name> on a login node, before the run",
    "results": "results: in the study's config, to a faster disk",
    "scratch": "TMPDIR on the nodes",
    "time limit": "nothing: an extraction still goes on from its last whole chunk",
}


def main(config: str, profile: str, submit: bool, minutes: float) -> int:
    """Print the table and return how much is wrong.

    Args:
        config: the study's config.
        profile: Snakemake's profile. submit: whether the job on a node is tried.
        minutes: how long to wait for that job.

    Raises:
        StudyError: the config is wrong, or Slurm does not answer.
    """
    first, last, results = _requests(config, profile)
    source = Profile.of_command(["--profile", profile])
    settings = _settings(source.content)
    have = partitions.ask()
    rows = [(OK, "partitions", ", ".join(have), "")]
    wrong = refusals.problems(last, have, source, settings)
    now = refusals.problems(first, have, source, settings) if wrong else []
    for problem in wrong:
        only = "" if any(p.change == problem.change for p in now) else " (a repeated attempt alone)"
        advice = f" ({problem.advice})" if problem.advice else ""
        rows.append((WRONG, "jobs", problem.what + only, problem.change + advice))
    if not wrong:
        rows += [(OK, "jobs", _words(request), "") for request in last]
    rows.append(_controller(have))
    for row in rows:
        _show(*row)
    if submit and not now:
        rows += _on_a_node(last, settings, results, minutes)
    elif submit:
        _show(OPEN, "node", "no job was submitted: Slurm would refuse it", "the lines above first")
    count = sum(row[0] == WRONG for row in rows)
    print("All is as it should be." if not count else f"{count} to change.")
    return count


def _requests(config: str, profile: str) -> tuple[list[Request], list[Request], str]:
    """What a dry run of the study asks for, at first and last attempts, and its results."""
    with tempfile.TemporaryDirectory() as folder:
        note = Path(folder, "requests.json")
        dry = subprocess.run(
            [sys.executable, "-m", "snakemake", "--profile", profile, "-n", "--configfile", config,
             "--config", "forecast=none", "--", "all"],
            capture_output=True, text=True, env=os.environ | {before_start.NOTE: str(note)},
        )  # fmt: skip
        if not note.is_file():
            raise StudyError(f"the study cannot be planned:\n{(dry.stderr or dry.stdout)[-2000:]}")
        noted = json.loads(note.read_text())
    first, last = ([Request(**one) for one in noted[name]] for name in ("first", "last"))
    if not last:
        raise StudyError("the study has nothing left to do: there is nothing to ask Slurm for")
    return first, last, noted["results"]


def _settings(content: dict) -> SimpleNamespace:
    """The plugin's settings of a profile that reach sbatch."""
    names = ("requeue", "no-requeue", "qos", "reservation", "status-command")
    found = {n.replace("-", "_"): content.get(f"slurm-{n}") for n in names}
    found["status_command"] = found["status_command"] or "sacct"  # as the plugin where it is there
    return SimpleNamespace(**found)


def _words(request: Request) -> str:
    gpu = f"{request.gpus} {request.model or 'GPU'}, " if request.gpus else ""
    memory = f"{asked:,} MB and " if (asked := request.get("mem_mb")) else ""
    return (
        f"{some(request.rules, 3)}: partition {request.partition or 'of the site'}, {gpu}"
        f"{request.threads} cores, up to {memory}"
        f"{request.get('runtime', 0)} minutes: taken"
    )


def _controller(have: dict[str, partitions.Partition]) -> tuple[str, str, str, str]:
    """The controller as a job: sbatch takes one that is too long for its partition, too."""
    asked = dict(re.findall(r"^#SBATCH --([\w-]+)=(\S+)", Path(CONTROLLER).read_text(), re.M))
    minutes = partitions.minutes_of(asked.get("time", ""))
    resources = {
        "slurm_partition": asked.get("partition", ""),
        "runtime": minutes if minutes < float("inf") else 0,
    }
    request = Request(resources, int(asked.get("cpus-per-task", 1)), ["the controller"])
    found = refusals.of_partitions(request, have, Profile(None))
    said = found[0].what if found else ""
    if not said:
        command = ["sbatch", "--test-only", CONTROLLER, "config"]
        done = subprocess.run(command, capture_output=True, text=True)
        words = (done.stderr.strip() or done.stdout.strip() or "refused").splitlines()
        said = words[-1] if done.returncode else ""
    if said:
        return WRONG, "controller", said, f"the lines [site] of {CONTROLLER}"
    return OK, "controller", "as a job of its own: taken (make controller)", ""


def controller_alone() -> None:
    """Before it is submitted: would it ever start?

    Raises:
        StudyError: it would not, with what to change.
    """
    answer, _, found, change = _controller(partitions.ask())
    if answer == WRONG:
        raise StudyError(f"{found}: no controller was submitted. Change {change}")


def _show(answer: str, name: str, found: str, change: str) -> None:
    print(
        f"{answer:6} {name}: {found}" + (f"\n       change: {change}" if change else ""), flush=True
    )


def _on_a_node(requests: list[Request], settings, results: str, minutes: float) -> list[tuple]:
    """Submit one small job of the kind that most rules ask for, on a GPU if any does; read it."""
    request = max(requests, key=lambda r: (min(r.gpus, 1), len(r.rules)))
    small = request.resources | {
        "runtime": MINUTES,
        "mem_mb": MEGABYTES if request.get("mem_mb") else None,
        "nodes": None,
        "tasks": None,
    }
    if request.get("gpu"):  # not beside gres: a site that wants that may refuse --gpus
        small["gpu"] = 1
    small = {name: value for name, value in small.items() if value is not None}
    folder = Path(results, "doctor")
    folder.mkdir(parents=True, exist_ok=True)
    answer, log = folder / "node.json", folder / "node.log"
    for file in (answer, log):
        file.unlink(missing_ok=True)
    inside = [sys.executable, __file__, "--here", str(answer), "--results", results]
    asked = Request(small, request.threads, request.rules)
    inside += ["--gpus", str(asked.gpus)]
    command = asked.command(settings)
    command += [
        "--job-name",
        "tokenscope_doctor",
        "--output",
        str(log),
        "--wrap",
        shlex.join(inside),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    # A site's own sbatch may say more than the number of the job.
    number = re.search(r"^(?:Submitted batch job )?(\d+)(?:;\S+)?\s*$", done.stdout, re.M)
    if done.returncode or not number:
        said = (done.stderr.strip() or done.stdout.strip() or "sbatch said nothing").splitlines()
        row = (WRONG, "node", said[-1], "see above")
        _show(*row)
        return [row]
    job, end, told = number[1], time.monotonic() + 60 * minutes, ""
    print(f"       job {job} on one node ...", flush=True)
    while not answer.is_file():
        state = subprocess.run(
            ["squeue", "-h", "-j", job, "-o", "%T (%r)"], capture_output=True, text=True
        ).stdout.strip()
        if not state or time.monotonic() > end:
            break
        if state != told:
            print(f"       {state}", flush=True)
        told = state
        time.sleep(3)
    for _ in range(10):  # a shared disk shows a file late
        if answer.is_file():
            break
        time.sleep(1)
    if not answer.is_file():
        waits = f"still {told}" if time.monotonic() > end else "it ended without an answer"
        row = (OPEN if "still" in waits else WRONG, "node", f"job {job}: {waits}", f"see {log}")
        _show(*row)
        return [row]
    rows = []
    for check in json.loads(answer.read_text())["checks"]:
        verdict = {"kept": OK, "MISSED": WRONG, "open": OPEN}[check["answer"]]
        change = "" if verdict == OK else CHANGE.get(check["name"], "")
        rows.append((verdict, check["name"], check["found"], change))
        _show(*rows[-1])
    return rows


def here(answer: str, results: str, wanted: int) -> None:
    """On the node: try everything and write what was found.

    Args:
        answer: JSON file. results: folder of the study. wanted: GPUs that the job asked for.
    """
    from tokenscope.acceptance import energy, node, numerics
    from tokenscope.acceptance.outcome import Check, as_json, gpus, tried
    from tokenscope.acceptance.setting import standard
    from tokenscope.stores.receipts import write_text

    scratch = os.environ.get("TMPDIR") or tempfile.gettempdir()
    checks = [
        Check("driver", "fits torch", node.fits),
        Check("device", "as many as asked for", lambda: node.device(wanted)),
        Check("cores", "as many as given", node.cores),
        Check("time limit", "known to the job", node.time_limit),
        Check("network", "reaches the hub", node.network),
        Check("scratch", "fast enough", lambda: node.disk(scratch)),
        Check("results", "fast enough", lambda: node.disk(results)),
        Check("precision", "bfloat16 is within bounds of float32",
              lambda: numerics.precision(standard("cuda" if gpus() else "cpu"))),
        Check("energy", "the counter agrees with power", energy.counter, gpus=1),
    ]  # fmt: skip
    write_text(answer, json.dumps(as_json(tried(checks, gpus())), indent=1) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="make doctor", description="Does this site run a study?")
    parser.add_argument("config", nargs="?", default="config/config.yaml")
    parser.add_argument("--profile", default="slurm")
    parser.add_argument("--no-job", action="store_true", help="ask Slurm alone, submit nothing")
    parser.add_argument("--controller", action="store_true", help="look at its script alone")
    parser.add_argument("--minutes", type=float, default=15, help="longest wait for the job")
    parser.add_argument("--here", default="", help=argparse.SUPPRESS)
    parser.add_argument("--results", default="", help=argparse.SUPPRESS)
    parser.add_argument("--gpus", type=int, default=0, help=argparse.SUPPRESS)
    given = parser.parse_args()
    try:
        if given.here:
            sys.exit(here(given.here, given.results, given.gpus))
        if given.controller:
            sys.exit(controller_alone())
        sys.exit(1 if main(given.config, given.profile, not given.no_job, given.minutes) else 0)
    except StudyError as error:
        sys.exit(f"error: {error}")
