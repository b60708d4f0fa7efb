"""Runs of the mini study on the test cluster, and a look at what is running."""

import contextlib
import csv
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from cluster import MissingSlurm, start
from PIL import Image

from tokenscope.jobs.records import read_records

ROOT = Path(__file__).parents[2]
SWITCH = "TOKENSCOPE_SLURM_TESTS"
KEPT = "TOKENSCOPE_SLURM_LOCAL"  # names a folder that keeps the undisturbed run between sessions
# The mini study with chunks of one image, so that an extraction lasts long enough to be hit.
STUDY = {"extract": {"batch": 1, "chunk_mb": 0.001}}
# What is left out where an extraction is all that matters.
MORE = (
    "probes", "heads", "discovery", "dense", "training", "overhead", "testtime", "diagnose",
)  # fmt: skip
IMAGES = 200
# A profile that polls quickly. The nodes pretend GPUs, so jobs ask for them as on a real cluster.
QUICK = {
    "jobs": 6,
    "latency-wait": 5,
    "max-status-checks-per-second": 5,
    "slurm-init-seconds-before-status-checks": 3,
    "slurm-status-command": "squeue",
}
RULES = {"decode": {"runtime": 30}}  # the partition of the test cluster ends after an hour
VICTIM = "control/tiny/r0-content-10x"  # the backbone whose extraction is disturbed
RECEIPT = f"receipts/extract/scenes/{VICTIM}/0000.json"
MEASURES = f"measures/norms/scenes/{VICTIM}.csv"  # missing, they ask for the extraction
STORE = f"tokens.zarr/scenes/{VICTIM}/0000"
TARGETS = ("results/mini/tables/claim1.csv", "results/mini/tables/controls.csv")
RESUME = ROOT / "workflow_scripts" / "resume.py"
HOST_COLUMNS = {"seconds", "host", "slurm_job_id"}


class Project:
    """A copy of the project in a folder of its own, whose profile ``slurm`` polls quickly."""

    def __init__(self, folder, env, whole=False):
        self.dir, self.env = folder, env
        self.results = folder / "results" / "mini"
        self.log = folder / "snakemake.out"
        self.study = yaml.safe_load((ROOT / "tests" / "mini" / "mini.yaml").read_text()) | STUDY
        if not whole:
            self.study["datasets"]["scenes"]["images"] = IMAGES
            self.study["backbones"] = [b for b in self.study["backbones"] if "tuned" not in b]
            self.study = {key: value for key, value in self.study.items() if key not in MORE}

    def write_study(self):
        (self.dir / "study.yaml").write_text(yaml.safe_dump(self.study))

    def profile(self, rules=None, **values):
        """Write the profile anew: the project's own, then QUICK, then these values."""
        file = self.dir / "profiles" / "slurm" / "profile.v9+.yaml"
        settings = yaml.safe_load((ROOT / file.relative_to(self.dir)).read_text())
        asked = {rule: own | {"gpu": 1} for rule, own in settings["set-resources"].items()}
        for rule, resources in (*RULES.items(), *(rules or {}).items()):
            asked[rule] = asked.get(rule, {}) | resources
        settings["set-resources"] = asked
        file.write_text(yaml.safe_dump(settings | QUICK | values))

    def line(self, path):
        """The line of the profile in which a key stands, as ``set-resources: extract: gpu``."""
        file = self.dir / "profiles" / "slurm" / "profile.v9+.yaml"
        lines, at = file.read_text().splitlines(), 0
        for depth, key in enumerate(path.split(": ")):
            at = next(i for i in range(at, len(lines)) if lines[i] == f"{'  ' * depth}{key}:"
                      or lines[i].startswith(f"{'  ' * depth}{key}: "))  # fmt: skip
        return at + 1

    def start(self, *targets, profile="slurm", seconds=1500):
        """Start Snakemake in a session of its own."""
        command = ["timeout", "-s", "INT", "-k", "60", str(seconds), sys.executable, "-m"]
        command += ["snakemake", *targets, "--profile", profile, "--configfile", "study.yaml"]
        with self.log.open("w") as out:
            return subprocess.Popen(
                command, cwd=self.dir, env=self.env, stdout=out, stderr=out, start_new_session=True
            )

    def finish(self, process, succeeds=True):
        """Wait for Snakemake to end as expected, and return what it printed."""
        process.wait(3600)
        text = self.log.read_text()
        assert (process.returncode == 0) == succeeds, text[-6000:]
        return text

    def run(self, *targets, succeeds=True, **settings):
        return self.finish(self.start(*targets, **settings), succeeds)

    def refused(self, *targets, seconds=60):
        """What is printed when a run cannot succeed: soon, and without a traceback."""
        begun = time.monotonic()
        text = self.run(*targets, succeeds=False)
        assert time.monotonic() - begun < seconds, text[-3000:]
        assert "Traceback" not in text
        return text

    def tables(self):
        """Contents of all tables; of what they rest on without what differs between machines."""
        files = (self.results / "tables").glob("*.csv")
        # What it took, and how fast this machine is, differs.
        names = ("accounting.csv", "carbon_paper.csv", "overhead.csv", "training_histories.csv")
        tables = {f.name: f.read_text() for f in files if f.name not in names}
        for name in tables:
            if name.startswith(("backbones", "bank")):
                rows = csv.DictReader(tables[name].splitlines())
                tables[name] = [
                    {k: v for k, v in row.items() if k not in HOST_COLUMNS} for row in rows
                ]
        return tables

    def stores(self):
        """Shape, type and checksum of each array of each token store, from the receipts."""
        files = (self.results / "receipts" / "extract").rglob("*.json")
        receipts = {f.relative_to(self.results): json.loads(f.read_text()) for f in files}
        return {str(name): receipt["arrays"] for name, receipt in receipts.items()}

    def receipt(self):
        return json.loads((self.results / RECEIPT).read_text())

    def attempts(self):
        """What the disturbed extraction and its successors recorded, oldest first."""
        return read_records(self.results / "accounting/jobs/extract/scenes" / VICTIM / "0000.jsonl")

    def status(self):
        """What `make status` writes."""
        command = [sys.executable, ROOT / "workflow_scripts" / "status.py", "study.yaml"]
        subprocess.run(command, cwd=self.dir, env=self.env, check=True, stdout=subprocess.DEVNULL)
        return json.loads((self.results / "accounting" / "status.json").read_text())

    def chunks(self):
        """How many chunks of unfinished extractions there are."""
        with contextlib.suppress(FileNotFoundError):  # a folder that was renamed meanwhile
            return len([*self.results.glob("partial/tokens/**/journal/*.json")])
        return 0

    def log_of_extraction(self):
        """What the disturbed extraction and its successors said."""
        return (self.results / "logs" / "extract" / "scenes" / VICTIM / "0000.log").read_text()

    def agrees_with(self, other):
        """The same tables and stores, every store whole, and nothing left of unfinished work."""
        assert self.tables() == other.tables()
        assert self.stores() == other.stores()
        for name, array in self.receipt()["arrays"].items():
            folder = self.results / STORE / name
            grid = json.loads((folder / "zarr.json").read_text())["chunk_grid"]["configuration"]
            sides = zip(array["shape"], grid["chunk_shape"], strict=True)
            planned = math.prod(math.ceil(size / chunk) for size, chunk in sides)
            assert sum(f.is_file() for f in (folder / "c").rglob("*")) == planned, name
        assert not [f for f in (self.results / "partial").rglob("*") if f.is_file()]


def until(condition, seconds, what):
    """Return the first true value of a condition."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.02)
    return value


def processes(folder, word):
    """Processes that run in a folder with a word in their command line."""
    pids = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            here = os.readlink(process / "cwd") == str(folder)
            if here and word in (process / "cmdline").read_text():
                pids.append(int(process.name))
    return pids


def extraction(project, chunks=3):
    """Wait until the extraction has written a few chunks; return its process id."""
    until(lambda: project.chunks() >= chunks, 300, "chunks")
    return until(lambda: processes(project.dir, "extract.py"), 5, "the process")[0]


def frozen(project):
    """Stop the extraction in the middle, as if its node hung; return its process id."""
    pid = extraction(project)
    os.kill(pid, signal.SIGSTOP)
    return pid


def extractions(cluster):
    """Slurm's view of extractions, oldest first: job, state, node, memory, folder, comment."""
    jobs = cluster.squeue("%i|%T|%N|%m|%Z|%k")
    return sorted((j for j in jobs if j[-1].startswith("rule_extract")), key=lambda j: int(j[0]))


def newest(cluster, project, state, seconds=120):
    """The last job that extracts for a project, once it is in a state."""

    def look():
        jobs = [j for j in extractions(cluster) if j[-2] == str(project.dir)]
        return jobs and jobs[-1][1] == state and jobs[-1]

    return until(look, seconds, f"an extraction {state}")


def copy(folder, env, whole=False):
    """A new copy of the project's files as they are now, with its study and quick profile."""
    files = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.split("\0")
    for name in filter(None, files):
        if os.path.lexists(ROOT / name):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            if (folder / name).is_symlink():
                (folder / name).unlink()
            shutil.copy2(ROOT / name, folder / name, follow_symlinks=False)
    if not (folder / ".venv").is_symlink():
        (folder / ".venv").symlink_to(ROOT / ".venv")
    project = Project(folder, env, whole)
    project.write_study()
    project.profile()
    return project


def small_sets(project, count):
    """Give the study so many data sets of four images; their samples, two short jobs each."""
    images = {"type": "imagefolder", "path": "photographs", "labels": "none", "images": 4}
    for i in range(4):
        file = project.dir / "photographs" / f"{i}.png"
        file.parent.mkdir(exist_ok=True)
        Image.new("RGB", (32, 32), (i, 0, 0)).save(file)
    project.study["datasets"] |= {f"set{i}": images | {"seed": i} for i in range(count)}
    project.study["threads"]["index"] = 1
    project.write_study()
    return [f"results/mini/data/set{i}/sample.csv" for i in range(count)]


def cluster_in(folder, accounting=False):
    """A running cluster, or the reason why there is none."""
    try:
        return start(folder, accounting)
    except MissingSlurm as error:
        pytest.skip(str(error))


def unfinished(local, folder, env):
    """A copy of the finished study with one extraction yet to be done."""
    shutil.copytree(local.dir, folder, symlinks=True)
    project = Project(folder, env)
    project.profile()
    shutil.rmtree(project.results / STORE)
    for file in (RECEIPT, MEASURES, "tables/claim1.csv", "tables/controls.csv"):
        (project.results / file).unlink()
    return project
