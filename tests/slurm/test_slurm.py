"""The workflow on a real Slurm: the same tables as on one machine, whatever breaks on the way.

TOKENSCOPE_SLURM_TESTS=1 pytest tests/slurm      # about 15 minutes on two cores
"""

import csv
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from statistics import median

import pytest
from runs import (
    RECEIPT,
    RESUME,
    STORE,
    SWITCH,
    TARGETS,
    VICTIM,
    cluster_in,
    copy,
    extraction,
    frozen,
    newest,
    processes,
    small_sets,
    until,
)

from tokenscope.jobs.controllers import Controller, Heartbeat

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.skipif(os.environ.get(SWITCH) != "1", reason=f"takes minutes; set {SWITCH}=1"),
]


def test_whole_study(cluster, tmp_path, capsys):
    """Every rule on Slurm: the tables of a run on this machine, and what was asked for was used."""
    here, there = (tmp_path / name for name in ("here", "there"))
    here.mkdir()
    there.mkdir()
    local, project = copy(here, os.environ.copy(), whole=True), copy(there, cluster.env, whole=True)
    local.run("all", profile="profiles/local", seconds=3600)
    project.run("all", seconds=3600)
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


def test_a_controller_elsewhere(cluster, project):
    """One that was submitted is seen in the queue; one that a heartbeat tells of, by its job."""
    resume = [sys.executable, RESUME, "--directory", project.dir, "--wait"]

    def refused():
        done = subprocess.run(resume, env=project.env, capture_output=True, text=True)
        assert (done.returncode == 0) == ("nothing was done" not in done.stderr), done.stderr
        return done.stderr

    job = ("--parsable", "-J", "tokenscope_controller", "-D", project.dir, "-o", os.devnull)
    number = cluster.run("sbatch", *map(str, job), "--mem=300", "--wrap", "sleep 600").strip()
    assert f"submitted as Slurm job {number}" in refused()
    own = Controller.own("run", "mini", str(project.results))
    heart = Heartbeat(replace(own, host="n9", machine="n9", slurm_job_id=number), project.dir)
    heart.beat()
    assert "study mini on n9" in refused()
    os.utime(heart.file, (time.time() - 600,) * 2)
    assert "study mini on n9" in refused()  # silent, and Slurm says that it runs
    cluster.run("scancel", number)
    gone = ("squeue", "-h", "-t", "PENDING,RUNNING,COMPLETING", "-o", "%i")
    until(lambda: number not in cluster.run(*gone).split(), 60, "the end of the controller")
    assert refused() == ""


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


@pytest.mark.parametrize(
    ("partition", "again"),
    [("requeue", "by Slurm"), ("requeue", "by Snakemake"), ("cancel", "by Snakemake")],
    ids=["requeued", "no-requeue", "cancelled"],
)
def test_preemption(cluster, local, project, partition, again):
    """A job of higher priority takes the node; the extraction goes on where it ended."""
    settings = {"slurm-no-requeue": None, "slurm-requeue": True} if again == "by Slurm" else {}
    project.profile({"extract": {"slurm_partition": partition}}, retries=0, **settings)
    run = project.start(*TARGETS)
    frozen(project)
    job, _, node, memory, *_ = newest(cluster, project, "RUNNING")
    urgent = ("-p", "urgent", "-w", node, "--exclusive", "-o", os.devnull, "--wrap", "sleep 5")
    cluster.run("sbatch", *urgent)
    text = project.finish(run)
    last, *_, successor_memory, _, _ = newest(cluster, project, "COMPLETED")
    assert (last == job) == (again == "by Slurm") and successor_memory == memory
    assert ("SLURM status is: 'PREEMPTED'" in text) == (again == "by Snakemake")
    before, end = project.attempts()[-2:]
    assert (before["outcome"], end["outcome"]) == ("stopped", "finished")
    assert before["reason"].startswith("SIGTERM")  # it really came to the payload
    assert project.receipt()["resumed_images"] > 0
    project.agrees_with(local)
    status = project.status()
    name = f"extract/scenes/{VICTIM}/0000"
    assert name not in [job["job"] for job in status["active"]]
    assert "SIGTERM" in "".join(a["why"] for a in status["attempts"] if a["job"] == name)


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
    until(lambda: project.chunks() > 20, 60, "the successor's chunks")
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
    assert project.attempts()[-2]["reason"].startswith("SIGTERM")  # it came to the payload
    assert project.receipt()["resumed_images"] > 0
    project.agrees_with(local)


@pytest.mark.parametrize(
    ("settings", "cause", "remedy"),
    [
        (
            {"rules": {"extract": {"slurm_partition": "nowhere"}}},
            "no partition 'nowhere' (asked for by extract), only gpu, cpu, short",
            "set-resources: extract: slurm_partition",
        ),
        (
            {"rules": {"extract": {"gpu_model": "a100"}}},
            "partition gpu has no GPU 'a100' (asked for by extract), but h100",
            "set-resources: extract: gpu_model",
        ),
        (  # sbatch takes it, and it would never start
            {"rules": {"extract": {"runtime": 90}}},
            "partition gpu grants 60 minutes, extract asks for 90",
            "set-resources: extract: slurm_partition",
        ),
        (
            {"rules": {"extract": {"mem_mb": 9000}}},
            "no node of partition gpu with 1 h100 GPU has the 9,000 MB that extract asks for",
            "set-resources: extract: mem_mb",
        ),
        (
            {"rules": {"extract": {"constraint": "fast"}}},
            "Slurm refuses (constraint 'fast') the jobs of extract: allocation failure: Invalid",
            "set-resources: extract: constraint",
        ),
    ],
    ids=["partition", "gpu", "time", "memory", "constraint"],
)
def test_wrong_site_settings(cluster, tmp_path, settings, cause, remedy):
    """Told at the start, with the key to change; no job is submitted."""
    project = copy(tmp_path, cluster.env)
    project.profile(**settings)
    text = project.refused(*TARGETS, seconds=30)
    assert cause in text and "none was submitted" in text
    assert f"profiles/slurm/profile.v9+.yaml, line {project.line(remedy)}: {remedy}" in text
    assert cluster.squeue("%Z").count([str(project.dir)]) == 0


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
        text = project.refused(*TARGETS, seconds=600)
        assert "hint: the disk is full" in text
        assert not (project.results / RECEIPT).exists()
        assert not (project.results / STORE).exists()
    finally:
        subprocess.run(["umount", "--lazy", results], check=True)


def test_two_hundred_jobs(cluster, local, tmp_path, capsys):
    """200 jobs that do next to nothing; what is printed is the cost of a job itself."""
    (tmp_path / "project").mkdir()
    project = copy(tmp_path / "project", cluster.env)
    samples = small_sets(project, 100)
    project.profile(jobs=50, **{"max-jobs-per-timespan": "20/1s"})
    begun = time.monotonic()
    project.run(*samples, seconds=1800)
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
        text = project.refused("results/mini/data/scenes-train/sample.csv", seconds=30)
        assert "(account 'nobody')" in text and "nvalid account" in text
        assert "export SBATCH_ACCOUNT" in text
        project.env["SBATCH_ACCOUNT"] = "research"
        project.profile(**{"slurm-qos": "nosuch"})
        text = project.refused("results/mini/data/scenes-train/sample.csv", seconds=30)
        assert "(qos 'nosuch')" in text and ": slurm-qos" in text
        assert len(cluster.run("sacct", "-nXP").splitlines()) == len(rows)
    finally:
        cluster.stop()
