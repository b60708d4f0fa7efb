"""The workflow on a real Slurm: the same tables as on one machine, whatever breaks on the way.

TOKENSCOPE_SLURM_TESTS=1 pytest tests/slurm      # about 15 minutes on two cores
"""

import contextlib
import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import pytest
import yaml
from cluster import MissingSlurm, start
from PIL import Image

ROOT = Path(__file__).parents[2]
SWITCH = "TOKENSCOPE_SLURM_TESTS"
pytestmark = [
    pytest.mark.slurm,
    pytest.mark.skipif(os.environ.get(SWITCH) != "1", reason=f"takes minutes; set {SWITCH}=1"),
]

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
VICTIM = "control/tiny/r0-planted"  # the backbone whose extraction is disturbed
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
        self.study = yaml.safe_load((ROOT / "tests" / "study" / "mini.yaml").read_text()) | STUDY
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

    def start(self, *targets, profile="slurm", seconds=420):
        """Start Snakemake in a session of its own."""
        command = ["timeout", "-s", "INT", "-k", "60", str(seconds), sys.executable, "-m"]
        command += ["snakemake", *targets, "--profile", profile, "--configfile", "study.yaml"]
        with self.log.open("w") as out:
            return subprocess.Popen(
                command, cwd=self.dir, env=self.env, stdout=out, stderr=out, start_new_session=True
            )

    def finish(self, process, succeeds=True):
        """Wait for Snakemake to end as expected, and return what it printed."""
        process.wait(1800)
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
        found = {f.relative_to(self.results): json.loads(f.read_text()) for f in files}
        return {str(name): receipt["arrays"] for name, receipt in found.items()}

    def receipt(self):
        return json.loads((self.results / RECEIPT).read_text())

    def log_of_extraction(self):
        """What the disturbed extraction and its successors said."""
        return (self.results / "logs" / "extract" / "scenes" / VICTIM / "0000.log").read_text()

    def agrees_with(self, other):
        """The same tables and stores, every store whole, and nothing left of unfinished work."""
        assert self.tables() == other.tables()
        assert self.stores() == other.stores()
        for name, array in self.receipt()["arrays"].items():
            chunks = (self.results / STORE / name / "c").rglob("*")
            assert sum(f.is_file() for f in chunks) == array["shape"][0], name
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
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            here = os.readlink(process / "cwd") == str(folder)
            if here and word in (process / "cmdline").read_text():
                found.append(int(process.name))
    return found


def extraction(project, chunks=3):
    """Wait until the extraction has written a few chunks; return its process id."""
    journal = "partial/tokens/**/journal/*.json"
    until(lambda: len([*project.results.glob(journal)]) >= chunks, 120, "chunks")
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
            shutil.copy2(ROOT / name, folder / name, follow_symlinks=False)
    (folder / ".venv").symlink_to(ROOT / ".venv")
    project = Project(folder, env, whole)
    project.write_study()
    project.profile()
    return project


def cluster_in(folder, accounting=False):
    """A running cluster, or the reason why there is none."""
    try:
        return start(folder, accounting)
    except MissingSlurm as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    cluster = cluster_in(tmp_path_factory.mktemp("slurm"))
    yield cluster
    cluster.stop()


@pytest.fixture(scope="session")
def local(tmp_path_factory):
    """The study done on this machine, without Slurm."""
    project = copy(tmp_path_factory.mktemp("local"), os.environ.copy())
    project.run("all", profile="profiles/local", seconds=600)
    return project


def unfinished(local, folder, env):
    """A copy of the finished study with one extraction yet to be done."""
    shutil.copytree(local.dir, folder, symlinks=True)
    project = Project(folder, env)
    project.profile()
    shutil.rmtree(project.results / STORE)
    for file in (RECEIPT, MEASURES, "tables/claim1.csv", "tables/controls.csv"):
        (project.results / file).unlink()
    return project


@pytest.fixture
def project(local, cluster, tmp_path):
    """An unfinished study, and the cluster in order."""
    project = unfinished(local, tmp_path / "project", cluster.env)
    yield project
    for pid in processes(project.dir, "snakemake"):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    for job, state, *_ in cluster.squeue():
        if state in ("PENDING", "RUNNING"):
            cluster.run("scancel", job)
    for node in ("n1", "n2", "n3"):
        if not cluster.alive(node):
            cluster.start_node(node)


def test_whole_study(cluster, tmp_path, capsys):
    """Every rule on Slurm: the tables of a run on this machine, and what was asked for was used."""
    here, there = (tmp_path / name for name in ("here", "there"))
    here.mkdir()
    there.mkdir()
    local, project = copy(here, os.environ.copy(), whole=True), copy(there, cluster.env, whole=True)
    local.run("all", profile="profiles/local", seconds=1200)
    project.run("all", seconds=1800)
    project.agrees_with(local)
    with (project.results / "tables" / "accounting.csv").open(newline="") as file:
        jobs = [r for r in csv.DictReader(file) if r["slurm_job_id"] and r["state"] == "finished"]
    memory, times = {}, {}
    for job in jobs:
        memory.setdefault(job["rule"], []).append(float(job["asked_mb"]) / float(job["peak_mb"]))
        expected = float(job["forecast_seconds"]) / float(job["seconds"])
        times.setdefault(job["rule"], []).append(expected)
    assert {"extract", "features", "probe", "heads", "train", "discover", "norms"} <= set(memory)
    assert not {rule: m for rule, m in memory.items() if not (min(m) >= 1 and max(m) <= 3)}
    with capsys.disabled():
        print("\nasked / used memory, expected / used time (median by rule)")
        for rule, ratios in sorted(memory.items()):
            print(f"{rule:18} {median(ratios):6.2f} {median(times[rule]):6.2f}")


def test_dead_controller(cluster, local, project):
    controller = project.start(*TARGETS)
    frozen(project)
    os.killpg(controller.pid, signal.SIGKILL)
    controller.wait()
    assert newest(cluster, project, "RUNNING")
    assert "locked" in project.run(*TARGETS, succeeds=False)

    resume = [sys.executable, RESUME, "--directory", project.dir]
    shown = subprocess.run(resume, env=project.env, capture_output=True, text=True)
    assert shown.returncode == 1 and "extract" in shown.stdout
    done = subprocess.run([*resume, "--cancel"], env=project.env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert newest(cluster, project, "CANCELLED")

    project.run("--unlock")
    project.run(*TARGETS)
    assert project.receipt()["resumed_images"] > 0
    project.agrees_with(local)


@pytest.mark.parametrize("how", ["payload", "scancel"])
def test_killed_extraction(cluster, local, project, how):
    run = project.start(*TARGETS)
    pid = extraction(project)
    job = newest(cluster, project, "RUNNING")
    if how == "payload":
        os.kill(pid, signal.SIGKILL)
    else:
        cluster.run("scancel", "--signal=KILL", "--full", job[0])
    project.finish(run)
    assert project.receipt()["resumed_images"] > 0
    memory = int(newest(cluster, project, "COMPLETED")[3].strip("M"))
    assert memory == 2 * int(job[3].strip("M"))
    project.agrees_with(local)


def test_node_crash(cluster, local, project):
    run = project.start(*TARGETS)
    extraction(project)
    job, _, node, *_ = newest(cluster, project, "RUNNING")
    cluster.stop_node(node)
    cluster.scontrol("update", f"nodename={node}", "state=down", "reason=crash")
    until(lambda: newest(cluster, project, "RUNNING")[0] != job, 120, "its successor")
    cluster.start_node(node)
    project.finish(run)
    assert project.receipt()["resumed_images"] > 0
    project.agrees_with(local)


def lost(cluster, project):
    """A run whose node is given up while the job on it hangs: the run, and the job's process."""
    run = project.start(*TARGETS)
    pid = frozen(project)
    node = newest(cluster, project, "RUNNING")[2]
    cluster.kill_slurmd(node)
    cluster.scontrol("update", f"nodename={node}", "state=down", "reason=lost")
    return run, pid


def test_lost_job_comes_back(cluster, local, project):
    """A node is given up while its job hangs; the job wakes up when another has done its work."""
    run, pid = lost(cluster, project)
    project.finish(run)
    project.agrees_with(local)
    os.kill(pid, signal.SIGCONT)
    until(lambda: not processes(project.dir, "extract"), 60, "the end of the lost job")
    assert "another job has taken over" in project.log_of_extraction()
    project.agrees_with(local)


def test_lost_job_beside_its_successor(cluster, local, project):
    """A node is given up while its job goes on; both work on one store for a while."""
    run, pid = lost(cluster, project)
    until(lambda: len(processes(project.dir, "extract.py")) > 1, 120, "the successor")
    journal = "partial/tokens/**/journal/*.json"
    until(lambda: len([*project.results.glob(journal)]) > 20, 60, "the successor's chunks")
    os.kill(pid, signal.SIGCONT)
    project.finish(run)
    until(lambda: not processes(project.dir, "extract"), 60, "the end of the lost job")
    assert "another job has taken over" in project.log_of_extraction()
    project.agrees_with(local)


def test_slurmctld_restart(cluster, local, project):
    run = project.start(*TARGETS)
    pid = frozen(project)
    cluster.restart_controller(seconds_down=5)
    os.kill(pid, signal.SIGCONT)
    project.finish(run)
    assert project.receipt()["resumed_images"] == 0
    project.agrees_with(local)


def test_too_little_memory(cluster, local, project):
    project.profile({"extract": {"mem_mb": "400 * attempt ** 2"}})
    text = project.run(*TARGETS)
    assert "Trying to restart job" in text
    project.agrees_with(local)


def test_too_little_time(cluster, local, project):
    """The extraction hangs until Slurm ends it; the next attempt has more time."""
    project.profile({"extract": {"runtime": "2 * attempt"}})
    run = project.start(*TARGETS)
    frozen(project)
    newest(cluster, project, "TIMEOUT", seconds=200)
    project.finish(run)
    assert project.receipt()["resumed_images"] > 0
    project.agrees_with(local)


@pytest.mark.parametrize(
    ("settings", "cause", "remedy"),
    [
        (
            {"rules": {"extract": {"slurm_partition": "nowhere"}}},
            "invalid partition specified: nowhere",
            "set slurm_partition in profiles/slurm",
        ),
        (
            {"rules": {"extract": {"gpu_model": "a100"}}},
            "node configuration is not available",
            "gpu_model in profiles/slurm",
        ),
    ],
    ids=["partition", "gpu"],
)
def test_wrong_site_settings(project, settings, cause, remedy):
    project.profile(**settings)
    text = project.refused(*TARGETS)
    assert cause in text
    assert remedy in text


def test_wrong_image_folder(cluster, local, project):
    photographs = {"type": "imagefolder", "path": "nowhere", "labels": "none"}
    project.study["datasets"]["photographs"] = photographs | {"images": 5, "seed": 0}
    project.write_study()
    text = project.refused("results/mini/data/photographs/sample.csv", seconds=15)
    assert "datasets: photographs: path: there is no folder 'nowhere'" in text
    assert cluster.squeue("%Z").count([str(project.dir)]) == 0


def test_wrong_results_folder(project):
    project.study["results"] = "study.yaml/results"
    project.write_study()
    text = project.refused("all", seconds=15)
    assert "results: 'study.yaml/results'" in text
    assert "no folder one can write to" in text


def test_full_disk(project):
    """The results lie on a file system that has no room left for the tokens."""
    results = project.dir / "results"
    kept = project.dir / "kept"
    results.rename(kept)
    results.mkdir()
    pages = sum(-(-f.stat().st_size // 4096) for f in kept.rglob("*") if f.is_file())
    size = 4096 * pages + 2**20
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", results]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root can make a small file system")
    try:
        shutil.copytree(kept, results, dirs_exist_ok=True)
        project.profile(retries=0)
        text = project.refused(*TARGETS, seconds=90)
        assert "hint: the disk is full" in text
        assert not (project.results / RECEIPT).exists()
        assert not (project.results / STORE).exists()
    finally:
        subprocess.run(["umount", "--lazy", results], check=True)


def test_two_hundred_jobs(cluster, local, tmp_path, capsys):
    """200 jobs that do next to nothing; what is printed is the cost of a job itself."""
    (tmp_path / "project").mkdir()
    project = copy(tmp_path / "project", cluster.env)
    images = {"type": "imagefolder", "path": "photographs", "labels": "none", "images": 4}
    for i in range(4):
        file = project.dir / "photographs" / f"{i}.png"
        file.parent.mkdir(exist_ok=True)
        Image.new("RGB", (32, 32), (i, 0, 0)).save(file)
    project.study["datasets"] |= {f"set{i}": images | {"seed": i} for i in range(100)}
    project.study["threads"]["index"] = 1
    project.write_study()
    project.profile(jobs=50, **{"max-jobs-per-second": 20})
    begun = time.monotonic()
    project.run(*(f"results/mini/data/set{i}/sample.csv" for i in range(100)), seconds=1800)
    seconds = time.monotonic() - begun
    files = [*(project.results / "benchmarks").rglob("*.tsv")]
    work = sum(float(next(csv.DictReader(f.open(), delimiter="\t"))["s"]) for f in files)
    assert len(files) == 200
    with capsys.disabled():
        print(
            f"\n200 jobs in {seconds:.0f} s on {os.cpu_count()} cores: {work / 200:.1f} s of work "
            f"and {(seconds * os.cpu_count() - work) / 200:.1f} core-seconds of overhead each"
        )


def test_accounting(tmp_path_factory, tmp_path):
    cluster = cluster_in(tmp_path_factory.mktemp("sacct"), accounting=True)
    try:
        (tmp_path / "project").mkdir()
        project = copy(tmp_path / "project", cluster.env | {"SBATCH_ACCOUNT": "research"})
        project.profile(**{"slurm-status-command": "sacct"})
        project.run("results/mini/data/scenes/sample.csv")
        rows = cluster.run("sacct", "-nXP", "-o", "account,state,comment").splitlines()
        rules = ["render", "index", "sample"]
        assert [r.split("_wild")[0] for r in rows] == [
            f"research|COMPLETED|rule_{r}" for r in rules
        ]
        project.env["SBATCH_ACCOUNT"] = "nobody"
        text = project.refused("results/mini/data/scenes-train/sample.csv")
        assert "nvalid account" in text
        assert "export SBATCH_ACCOUNT" in text
    finally:
        cluster.stop()
