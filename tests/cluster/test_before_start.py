"""Settings that a site's Slurm would refuse are named with the line to change; nothing starts."""

import os
import re
import subprocess
import sys
from types import SimpleNamespace

import pytest
from projects import ROOT

from tokenscope.cluster import partitions, refusals, requests
from tokenscope.cluster.profile import Profile
from tokenscope.cluster.requests import grouped
from tokenscope.errors import StudyError

# As sinfo prints it: cores differ within a partition, GPUs of a type, of none, slices of MIG.
SINFO = """\
gpu*|up|5-00:00:00|64|480000|gpu:h100:4(S:0-1)
gpu*|up|5-00:00:00|72|490000|gpu:a100:4,nvme:1
mig|up|12:00:00|64|480000|gpu:1g.10gb:14(S:0-1)
any|up|infinite|32|190000|gpu:4
cpu|up|1:00:00|128|240000|(null)
old|drain|30:00|128|240000|(null)
"""
FILE = ROOT / "profiles" / "slurm" / "profile.v9+.yaml"
CLUSTER = partitions.parse(SINFO)


def test_what_partitions_have():
    gpu, cpu = CLUSTER["gpu"], CLUSTER["cpu"]
    assert gpu.default and not cpu.default and gpu.minutes == 7200 and cpu.minutes == 60
    assert [node.gpus for node in gpu.nodes] == [{"h100": 4}, {"a100": 4}]
    assert CLUSTER["mig"].models == ["1g.10gb"] and CLUSTER["any"].models == [""]
    assert cpu.models == [] and CLUSTER["any"].minutes == float("inf") and not CLUSTER["old"].up
    limits = {"2-0": 2880.0, "30:00": 30.0, "1:02:30": 62.5, "n/a": float("inf")}
    assert {text: partitions.minutes_of(text) for text in limits} == limits


def test_jobs_that_differ_in_time_and_memory_are_one_request():
    on = {"slurm_partition": "gpu", "gpu": 1}
    jobs = [
        ("extract", on | {"runtime": 10, "mem_mb": 9000}, 2),
        ("extract", on | {"runtime": 99, "mem_mb": 8000}, 2),
        ("heads", on | {"runtime": 20, "mem_mb": 30000}, 2),
        ("norms", {"slurm_partition": "cpu", "runtime": 5}, 2),
    ]
    gpu, cpu = grouped(jobs)
    assert gpu.rules == ["extract", "heads"] and cpu.rules == ["norms"]
    assert (gpu.get("runtime"), gpu.get("mem_mb")) == (99, 30000)
    assert gpu.by == {"runtime": "extract", "mem_mb": "heads"}
    command = " ".join(gpu.command(SimpleNamespace(requeue=False, no_requeue=True, qos="long",
                                                   reservation=None)))  # fmt: skip
    for word in ("-p gpu", "-t 99", "--mem 30000", "--gpus=1", "--qos=long", "--no-requeue"):
        assert word in command


GPU = {"slurm_partition": "gpu", "gpu": 1, "gpu_model": "h100", "mem_mb": 4000, "runtime": 30}
CPU = {"slurm_partition": "cpu", "mem_mb": 4000, "runtime": 30, "gpu": 0}
LINE = {name: 1 + FILE.read_text().splitlines().index(line) for name, line in {
    "gpu": "    slurm_partition: gpu", "model": "    gpu_model: h100",
    "cpu": next(x for x in FILE.read_text().splitlines() if x.startswith("  slurm_partition: cpu")),
}.items()}  # fmt: skip


@pytest.mark.parametrize(
    ("rule", "asked", "threads", "said", "line"),
    [
        ("extract", GPU, 2, "", 0),
        ("norms", CPU, 2, "", 0),
        ("extract", GPU | {"slurm_partition": "gpus"}, 2,
         "no partition 'gpus' .*extract.*, only gpu, mig.*set-resources: extract: slurm_partition "
         r"\(nearest: gpu\)", LINE["gpu"]),
        ("norms", CPU | {"slurm_partition": "thin"}, 2,
         "no partition 'thin'.*default-resources: slurm_partition", LINE["cpu"]),
        ("norms", CPU | {"slurm_partition": "thin,cpu"}, 2, "no partition 'thin'", LINE["cpu"]),
        ("norms", CPU | {"slurm_partition": "old"}, 2, "partition old takes no jobs now", 0),
        ("norms", CPU | {"slurm_partition": "old,cpu"}, 2, "", 0),
        ("norms", CPU | {"runtime": 90}, 2,
         "grants 60 minutes, norms asks for 90.*longest_minutes: 60", LINE["cpu"]),
        ("norms", CPU | {"runtime": 90, "qos": "long"}, 2, "", 0),
        ("extract", GPU | {"gpu_model": "h200"}, 2,
         "partition gpu has no GPU 'h200' .*but a100, h100.*extract: gpu_model", LINE["model"]),
        ("extract", GPU | {"slurm_partition": "any"}, 2, "GPUs without a type: delete the line",
         LINE["model"]),
        ("extract", GPU | {"slurm_partition": "mig", "gpu_model": "1g.10gb"}, 2, "", 0),
        ("extract", GPU | {"slurm_partition": "cpu"}, 2, "partition cpu has no GPUs", LINE["gpu"]),
        ("train", GPU | {"gpu": 8}, 2, "no node of partition gpu has 8 GPUs", 0),
        ("train", GPU | {"gpu": 8, "nodes": 2}, 2, "", 0),
        ("extract", GPU | {"gpu": 0, "gres": "gpu:h100:1"}, 2, "", 0),
        ("extract", GPU | {"gpu": 0, "gres": "gpu:h200:1"}, 2, "no GPU 'h200'", 0),
        ("heads", GPU | {"mem_mb": 485_000}, 2,
         "with 1 h100 GPU has the 485,000 MB that heads asks for, but 480,000.*heads: mem_mb", 0),
        ("norms", CPU, 256, "has the 256 cores that norms asks for, but 128.*set-threads", 0),
    ],
)  # fmt: skip
def test_what_the_partitions_do_not_have(rule, asked, threads, said, line):
    request = grouped([(rule, asked, threads)])
    found = refusals.problems(request, CLUSTER, Profile(FILE), ask=lambda *_: "")
    text = "\n".join(map(str, found))
    assert bool(text) == bool(said)

    assert re.search(said, text), text
    assert not line or f"line {line}: " in text


@pytest.mark.parametrize(
    ("answer", "said", "key"),
    [
        ("allocation failure: Invalid account or account/partition combination specified",
         r"\(account 'nobody'\)", "default-resources: slurm_account"),
        ("allocation failure: Invalid qos specification", r"\(qos 'long'\)", "slurm-qos"),
        ("Batch job submission failed: Requested time limit is invalid (missing or exceeds some "
         "limit)", r"\(runtime '30'\)", "set-resources: extract: runtime"),
        ("allocation failure: Memory specification can not be satisfied", r"\(mem_mb '4000'\)",
         "set-resources: extract: mem_mb"),
        ("allocation failure: CPU count per node can not be satisfied", r"\(threads '2'\)",
         "set-threads"),
        ("allocation failure: Invalid generic resource (gres) specification", "'h100'",
         "set-resources: extract: gpu_model"),
        ("Invalid feature specification", "feature", "default-resources: constraint"),
        ("please choose a project with sbatch -A", r"\(account 'nobody'\)", "slurm_account"),
        ("User's group not permitted to use this partition", r"\(partition 'gpu'\)",
         "set-resources: extract: slurm_partition"),
        ("QOSMaxWallDurationPerJobLimit; allocation failure: Job violates accounting/QOS policy "
         "(job submit limit, user's size and/or time limits)", r"\(runtime '30'\)",
         "set-resources: extract: runtime"),
        ("QOSMaxSubmitJobPerUserLimit; allocation failure: Job violates accounting/QOS policy (job "
         "submit limit, user's size and/or time limits)", "the jobs of extract", ": jobs"),
        ("allocation failure: Job violates accounting/QOS policy (job submit limit, user's size "
         "and/or time limits)", r"\(qos 'long'\)", "slurm-qos"),
        ("lua: not on a Friday", "not on a Friday", "set-resources"),
        ("lua: the --mem option is not allowed here", "not allowed", "requests: memory"),
        ("error: Invalid --gpus specification", "gpus",
         "set-resources: extract: gpu_model"),
        ("this partition gives out whole nodes only, use --exclusive", "whole", "set-threads"),
        ("Checking project a: FAILED (no hours left)", r"\(account 'nobody'\)", "slurm_account"),
        ("No partition specified or system default partition", "No partition",
         "set-resources: extract: slurm_partition"),
        ("Socket timed out on send/recv operation", "does not answer", "wait, try again"),
    ],
)  # fmt: skip
def test_what_sbatch_answers_is_told_once_with_the_key(monkeypatch, answer, said, key):

    monkeypatch.setenv("SBATCH_ACCOUNT", "nobody")
    jobs = [("extract", GPU, 2), ("heads", GPU, 4), ("gallery", GPU, 8)]
    settings = SimpleNamespace(qos="long")
    asked = grouped(jobs)
    (one,) = refusals.problems(asked, CLUSTER, Profile(FILE), settings, ask=lambda *_: answer)
    assert re.search(said, one.what) and key in one.change
    assert "does not answer" in said or "extract, heads, gallery" in one.what


def test_a_slurm_that_is_not_there_or_silent_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StudyError, match="no sinfo on this machine"):
        partitions.ask()
    program(tmp_path / "sinfo", "echo 'slurm_load_partitions: Unable to contact slurm' >&2; exit 1")
    with pytest.raises(StudyError, match="Unable to contact slurm"):
        partitions.ask()
    assert "no sbatch" in refusals.asked_of_slurm(requests.Request(GPU, 1, ["extract"]))


def test_a_site_s_own_sbatch_may_talk_on_either_stream(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    request = requests.Request(GPU, 1, ["extract"])
    program(tmp_path / "sbatch", "echo Welcome; echo 'Checking account: FAILED (no hours)'; exit 1")
    assert refusals.asked_of_slurm(request) == "Checking account: FAILED (no hours)"
    program(tmp_path / "sbatch", "echo Welcome >&2; exit 0")
    assert refusals.asked_of_slurm(request) == ""
    program(tmp_path / "sbatch", "exit 3")
    assert "exit status 3" in refusals.asked_of_slurm(request)


def test_a_resource_that_the_plugin_cannot_read_is_told_with_its_key():
    asked = grouped([("extract", GPU | {"gpu_model": "h100/80"}, 2)])
    asked += grouped([("heads", GPU | {"slurm_extra": "--qos=long"}, 2)])
    one, two = refusals.problems(asked, {"gpu": partitions.Partition("gpu", True, True, 99, [
        partitions.Node(64, 480_000, {"h100/80": 4, "h100": 4})])}, Profile(FILE))  # fmt: skip
    assert "Invalid GPU model format: h100/80" in one.what and "extract: gpu_model" in one.change
    assert "not allowed in the 'slurm_extra'" in two.what and ": slurm_extra" in two.change


@pytest.mark.parametrize(
    ("resources", "words", "never"),
    [
        ({"gpu": 1, "gpu_model": "nvidia_a100-sxm4-80gb"}, "--gpus=nvidia_a100-sxm4-80gb:1", "_m"),
        ({"gpu": 1, "gpu_model": "1g.10gb+me"}, "--gpus=1g.10gb+me:1", "plus"),
        ({"gpu": 0, "gres": "gpu:a100-80gb:1"}, "--gres=gpu:a100-80gb:1", "--gpus"),
        ({"gpu": 0, "gres": "gpu:h100:1", "gpu_model": "h100"}, "--gres=gpu:h100:1", "--gpus"),
        ({"gpu": 0, "gpu_model": "h100"}, "--ntasks=1", "h100"),
        ({"gpu_model": "h100"}, "--gpus=h100:1", "minus"),
        ({"mem_mb": 0, "gpu": 1}, "--gpus=1", "--mem"),
    ],
)
def test_gpus_in_the_words_of_a_site(resources, words, never):
    command = " ".join(requests.Request(resources, 2, ["extract"]).command())
    assert words in command and never not in command


def test_a_slurm_without_accounting_is_told_before_it_is_waited_for(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    settings = SimpleNamespace(status_command="sacct")

    def told():
        return refusals.problems([], CLUSTER, Profile(FILE), settings)

    assert told() == []  # no sacct: the plugin takes squeue
    program(tmp_path / "sacct", "echo 'Slurm accounting storage is disabled' >&2; exit 1")
    (one,) = told()
    assert "slurm-status-command (to squeue)" in str(one)
    program(tmp_path / "sacct", "echo 'Problem talking to the database' >&2; exit 1")
    assert told() == []  # down for a while
    program(tmp_path / "sacct", "exit 0")
    assert told() == []


def program(file, text):
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(0o755)


@pytest.mark.slow
def test_a_run_that_slurm_would_refuse_submits_nothing(tmp_path):
    """The whole way, with programs that answer as Slurm does: the account is wrong."""
    calls = tmp_path / "calls"
    program(tmp_path / "sinfo", f"cat <<'END'\n{SINFO}END")
    program(tmp_path / "squeue", "exit 0")
    program(tmp_path / "sbatch", f'echo "$@" >> {calls}\necho "allocation failure: Invalid account '
            'or account/partition combination specified" >&2\nexit 1')  # fmt: skip
    env = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SBATCH_ACCOUNT": "nobody"}
    command = [sys.executable, "-m", "snakemake", "--profile", "slurm", "--nolock", "--configfile"]
    command += ["tests/mini/mini.yaml", "--config", f"results={tmp_path}/results", "--"]
    done = subprocess.run(
        [*command, "claim1"], cwd=ROOT, env=env,
        capture_output=True, text=True,
    )  # fmt: skip
    said = done.stdout + done.stderr
    assert done.returncode and "none was submitted" in said, said[-3000:]
    assert said.count("(account 'nobody')") == 1
    assert all("--test-only" in call for call in calls.read_text().splitlines())
    assert not (tmp_path / "results" / "data").exists()


@pytest.mark.slow
def test_the_doctor_asks_slurm_and_looks_at_a_node(tmp_path):
    """With programs that take every job and run it here."""
    program(tmp_path / "sinfo", f"cat <<'END'\n{SINFO}END")
    program(tmp_path / "squeue", "exit 0")
    program(tmp_path / "sbatch", 'case "$*" in *--test-only*) exit 0;; esac\n'
            'for last; do :; done\nSLURM_CPUS_PER_TASK=4000 sh -c "$last" >&2\necho 7')  # fmt: skip
    study = tmp_path / "study.yaml"
    text = (ROOT / "tests" / "mini" / "mini.yaml").read_text()
    study.write_text(text.replace("results: results/mini", f"results: {tmp_path}/results"))
    done = subprocess.run(
        [sys.executable, "workflow_scripts/doctor.py", study], cwd=ROOT, text=True,
        capture_output=True, env=os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"},
    )  # fmt: skip
    said = dict(re.findall(r"^(?:ok|WRONG|open) +(\w+): (.*)", done.stdout, re.M))
    assert {"partitions", "jobs", "controller", "driver", "device", "cores", "network", "results",
            "scratch", "precision", "energy"} <= set(said), done.stdout + done.stderr  # fmt: skip
    assert "attention" in said["precision"]
    # sbatch would take it, and it would wait for ever: a day on a partition of an hour
    assert "grants 60 minutes, the controller asks for 1440" in said["controller"]
    # What is wrong is counted, with what to change.
    assert re.search(
        r"^WRONG +cores: \d+ usable, 4000 given.*\n +change: slurm_extra", done.stdout, re.M
    )
    assert done.returncode == 1 and re.search(r"^\d+ to change", done.stdout, re.M)
