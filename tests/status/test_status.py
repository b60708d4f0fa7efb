"""Where a study stands: states, sums that are the accounting's, time left, attempts that failed."""

import json
import logging
import os
import subprocess
import sys
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
import yaml
from projects import ROOT
from snakemake_interface_logger_plugins.common import LogEvent

from tokenscope.cost.accounting import collect, table
from tokenscope.cost.carbon import Site
from tokenscope.cost.schedule import Machine
from tokenscope.jobs import sacct, squeue
from tokenscope.jobs.controllers import Controller, Heartbeat
from tokenscope.status import events, graph, states
from tokenscope.status.graph import Graph, Planned
from tokenscope.status.summary import as_json, look
from tokenscope.status.text import headline, lines, section

SITE = Site("here", 0.4, 1.2, 700, 10)
NOW = time.time()
BEGAN = NOW - 7200
RUN = "20260101T000000-1"
NAME = "tokenscope_0f0f"


def plan(rule, number, needs=(), todo=True, gpus=1, beside=False, **more):
    wildcards = {"dataset": "val", "family": "f", "size": f"s{number}", "registers": "r0"}
    name = f"{rule}/val/f/s{number}/r0"
    facts = {"threads": 4, "minutes": 60.0, "modelled": 1800.0} | more
    return name, Planned(
        rule, wildcards, todo, beside, gpus, needs=list(needs), time=BEGAN, **facts
    )


def comment(rule, number):
    return f"rule_{rule}_wildcards_val_f_s{number}_r0"


def record(results, rule, number, begin, seconds, outcome="finished", slurm="", reason="", gpus=1):
    """One attempt's own line."""
    name, planned = plan(rule, number)
    gpu = {"gpu": f"GPU-{number}", "share": 1.0, "joules": 5.0, "method": "NVML counter"}
    line = {
        "rule": rule, "wildcards": planned.wildcards, "outcome": outcome, "reason": reason,
        "run": RUN, "started": BEGAN + begin, "ended": BEGAN + begin + seconds, "seconds": seconds,
        "threads": 4, "work": {}, "host": "n1", "slurm_job_id": slurm, "peak_mb": 100,
        "gpus": [gpu] * gpus,
        "cpu": {"joules": None, "method": "formula"}, "asked": {"mem_mb": 800, "runtime": 60},
    }  # fmt: skip
    file = results / "accounting" / "jobs" / f"{name}.jsonl"
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a") as handle:
        handle.write(json.dumps(line) + "\n")


def told(results, *happened):
    """Events of the controller: seconds since the run began, kind, rule, number, and more."""
    file = results / events.FOLDER / f"{RUN}.jsonl"
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a") as handle:
        for second, kind, rule, number, more in happened:
            line = {"time": BEGAN + second, "kind": kind, "job": plan(rule, number)[0]} | more
            handle.write(json.dumps(line) + "\n")


def of_sacct(*rows):
    """An answer of sacct: id, rule, number, state, seconds since the run began, seconds it ran."""
    text = "\n".join(
        f"{n}|{NAME}|{state}|{BEGAN + begin - 9:.0f}|{BEGAN + begin:.0f}|"
        f"{BEGAN + begin + ran:.0f}|{ran}|cpu=4,gres/gpu=1,mem=8G|n1|{comment(rule, number)}"
        for n, rule, number, state, begin, ran in rows
    )
    return lambda since, **_: (sacct.parse(text), "")


def of_squeue(folder, *rows):
    """An answer of squeue: id, rule, number, state, reason, time."""
    text = "\n".join(
        f"{n}|{state}|{reason}|{NAME}|{ran}|{'n1' * (state == 'RUNNING')}|{folder}|"
        f"{comment(rule, number)}"
        for n, rule, number, state, reason, ran in rows
    )
    return lambda place, seconds: squeue.parse(text, place)


@pytest.fixture
def large(tmp_path):
    """A study of 1,751 jobs in the middle of its run on a cluster, and what Slurm says of it."""
    results = tmp_path / "results" / "paper"
    jobs = [plan("extract", i, todo=i >= 100) for i in range(400)]
    jobs += [plan("norms", i, [plan("extract", i)[0]], gpus=0) for i in range(400)]
    jobs += [plan("probe", i, [plan("extract", i)[0]]) for i in range(400)]
    jobs += [plan("fig_blocks", i, [plan("norms", i)[0]], gpus=0, beside=True) for i in range(400)]
    jobs += [plan("heads", i) for i in range(151)]
    assert len(jobs) == 1751
    machine = Machine(gpus=16, jobs=100, beside_cores=2, latency=45)
    forecast = results / "accounting" / "forecast" / f"{RUN}.json"
    forecast.parent.mkdir(parents=True)
    plans = {
        name: {"rule": job.rule, "wildcards": job.wildcards, "seconds": 1.0, "bias": 0.1,
               "scatter": 0.1, "basis": "model"}
        for name, job in jobs
    }  # fmt: skip
    forecast.write_text(json.dumps(plans))
    graph.update(results, Graph(dict(jobs), machine, True, BEGAN, "paper", "x"))
    for i in range(100, 300):  # done in this run, two GPU-hours each
        record(results, "extract", i, 10 * i % 700, 7200 if i % 2 else 3600, slurm=str(1000 + i))
        told(results, (10 * i % 700, "submitted", "extract", i, {"slurm_job_id": str(1000 + i)}))
        told(results, (7000, "finished", "extract", i, {}))
    slurm = [(1000 + i, "extract", i, "COMPLETED", 10 * i % 700, 7200 if i % 2 else 3600)
             for i in range(100, 300)]  # fmt: skip
    for i, state in enumerate(("OUT_OF_MEMORY", "TIMEOUT", "PREEMPTED", "NODE_FAIL"), 300):
        slurm.append((2000 + i, "extract", i, state, 100, 1800))
        why = f"SLURM-job '{2000 + i}' failed, SLURM status is: '{state}'. Reason: Unknown."
        more = {"slurm_job_id": str(2000 + i), "state": state, "why": why}
        told(results, (1950, "failed", "extract", i, more), (1951, "again", "extract", i, {}))
    record(results, "extract", 310, 50, 600, "failed", "2310", "labels: no class 'cat' in a.csv")
    slurm.append((2310, "extract", 310, "FAILED", 50, 600))
    failed = {"slurm_job_id": "2310", "state": "FAILED", "why": "SLURM status is: 'FAILED'"}
    told(results, (700, "failed", "extract", 310, failed))
    slurm.append((3000, "extract", 320, "RUNNING", 6600, 600))
    log = results / "logs" / f"{plan('extract', 320)[0]}.log"
    log.parent.mkdir(parents=True)
    log.write_text("[x] 10 of 4,000 images\n[x] 1,000 of 4,000 images, 10 images/s\n")
    queue = of_squeue(
        tmp_path,
        (3000, "extract", 320, "RUNNING", "None", "10:00"),
        (3001, "extract", 321, "PENDING", "(Priority)", "0:00"),
        (3002, "extract", 322, "PENDING", "PartitionTimeLimit", "0:00"),
    )
    return SimpleNamespace(results=results, folder=tmp_path, sacct=of_sacct(*slurm), queue=queue)


def test_the_state_of_a_large_study(large):
    status = look("paper", large.results, large.folder, large.queue, large.sacct)
    counts = status.counts()
    assert sum(counts.values()) == 1751
    assert {k: counts[k] for k in ("done", "running", "queued", "failed")} == {
        "done": 300, "running": 1, "queued": 2, "failed": 1,
    }  # fmt: skip
    assert counts["blocked"] == 3  # norms, probe and figure of the backbone that failed
    jobs = status.jobs
    assert jobs[plan("probe", 310)[0]].reason == f"needs {plan('extract', 310)[0]}"
    assert jobs[plan("extract", 302)[0]].state == "waiting"
    assert jobs[plan("extract", 322)[0]].reason == "PartitionTimeLimit"
    running = jobs[plan("extract", 320)[0]]
    assert (running.slurm_job_id, running.elapsed) == ("3000", 600)
    assert running.log == "[x] 1,000 of 4,000 images, 10 images/s"
    why = {a.job: (a.state, a.why, a.hint) for a in status.attempts}
    assert len(why) == 5
    assert "more memory than it asked for" in why[plan("extract", 300)[0]][1]
    assert "ran into its time limit" in why[plan("extract", 301)[0]][1]
    state, reason, hint = why[plan("extract", 302)[0]]
    assert state == "PREEMPTED" and "job of higher priority" in reason
    assert "Preemptible partitions" in hint
    assert why[plan("extract", 310)[0]][1] == "labels: no class 'cat' in a.csv"
    text = "\n".join(lines(status))
    for part in ("300 of 1,751 done", "Priority", "1,000 of 4,000 images", "no class 'cat'",
                 "more time than its partition grants", "none has left a heartbeat"):  # fmt: skip
        assert part in text
    assert max(map(len, lines(status))) < 400
    shown = section(status)
    assert len(shown["attempts"]) == 5 and shown["claims"][-1][:3] == ["all", "1,751", "300"]


def test_hours_are_those_of_the_accounting(large):
    status = look("paper", large.results, large.folder, large.queue, large.sacct)
    attempts, _ = collect(large.results / "accounting", large.sacct)
    rows = table(attempts, SITE, RUN, {})
    for column, sums in (("gpu_hours", status.gpu_hours), ("core_hours", status.core_hours)):
        theirs = rows.groupby("claim")[column].sum().to_dict()
        ours = {c: h["done"] + h["failed"] + h["running"] for c, h in sums.items()}
        assert {c: h for c, h in ours.items() if h} == pytest.approx(theirs)
    # 100 jobs of two hours and 100 of one; four of half an hour that failed, one of ten minutes.
    assert status.gpu_hours["shared"]["done"] == pytest.approx(300)
    assert status.gpu_hours["shared"]["failed"] == pytest.approx(4 * 0.5 + 1 / 6)
    assert status.gpu_hours["shared"]["running"] == pytest.approx(1 / 6)
    written = json.loads(json.dumps(as_json(status)))
    assert written["claims"]["shared"]["gpu_hours"] == status.gpu_hours["shared"]
    assert written["jobs"] == status.counts()
    assert {a["job"] for a in written["active"]} == {
        plan("extract", i)[0] for i in (310, 320, 321, 322)
    }


def test_a_site_counts_its_smallest_allocation(tmp_path):
    """A job of 4 cores without a GPU holds 16; one with a GPU, or beside the controller, its 4."""
    jobs = [plan("norms", 0, gpus=0), plan("probe", 0), plan("fig_blocks", 0, gpus=0, beside=True)]
    graph.update(
        tmp_path, Graph(dict(jobs), Machine(gpus=4), True, BEGAN, "s", "z", least_cores=16)
    )
    record(tmp_path, "norms", 1, 10, 3600, gpus=0, slurm="1")
    record(tmp_path, "probe", 1, 10, 3600, slurm="2")
    record(tmp_path, "fig_blocks", 1, 10, 3600, gpus=0)
    no_sacct = {"accounting": lambda since: ([], ""), "queue": of_squeue(tmp_path)}
    status = look("s", tmp_path, tmp_path, **no_sacct)
    done = {claim: hours["done"] for claim, hours in status.core_hours.items()}
    assert done == pytest.approx({"claim1": 4, "claim2": 16, "claim4": 4})
    attempts, _ = collect(tmp_path / "accounting", no_sacct["accounting"])
    rows = table(attempts, replace(SITE, least_cores=16), RUN, {})
    assert rows.groupby("claim")["core_hours"].sum().to_dict() == pytest.approx(done)
    assert status.core_hours["claim2"]["waiting"] == pytest.approx(16 * 1810 / 3600, rel=0.2)


def small(results, *jobs, machine=None, cluster=False):
    machine = machine or Machine(gpus=4)
    graph.update(results, Graph(dict(jobs), machine, cluster, BEGAN, "s", "y"))


def test_the_time_left_follows_what_jobs_took(tmp_path):
    """Eight equal jobs on four GPUs are two rounds, of an hour by their limit, then as measured."""
    small(tmp_path, *(plan("probe", i, modelled=None) for i in range(8)))
    expected, low, high = look("s", tmp_path, tmp_path).left
    assert expected == pytest.approx(2 * 3600.5) and low < expected < high
    record(tmp_path, "probe", 0, 10, 300)
    told(tmp_path, (400, "finished", "probe", 0, {}))
    status = look("s", tmp_path, tmp_path)
    assert status.counts()["done"] == 1 and status.left[0] == pytest.approx(2 * 300.5)
    assert status.gpu_hours["claim4"]["waiting"] == pytest.approx(7 * 300 / 3600)


def test_a_run_on_this_machine_without_slurm(tmp_path):
    names = [plan("probe", i)[0] for i in range(4)]
    small(tmp_path, *(plan("probe", i) for i in range(4)))
    told(
        tmp_path,
        (1, "started", "probe", 0, {}),
        (2, "started", "probe", 1, {}),
        (9, "failed", "probe", 1, {"why": ""}),
        (10, "again", "probe", 1, {}),
        (20, "started", "probe", 1, {}),
        (29, "failed", "probe", 1, {"why": "OSError: No space left on device"}),
    )
    record(tmp_path, "probe", 2, 5, 60)  # by a run that left no events
    status = look("s", tmp_path, tmp_path)
    assert [status.jobs[name].state for name in names] == ["waiting", "failed", "done", "waiting"]
    assert status.jobs[names[0]].reason == "was interrupted"  # no controller lives
    assert [a.why for a in status.attempts][0].startswith("died before it could say why")
    assert "the disk is full" in status.attempts[1].hint
    assert ("hint", status.attempts[1].hint) in headline(status)
    told(tmp_path, (40, "started", "probe", 1, {}), (50, "finished", "probe", 1, {}))
    assert "hint" not in dict(headline(look("s", tmp_path, tmp_path)))  # it is done by now
    alive = states.states(graph.load(tmp_path), events.read(tmp_path), {}, None, True, BEGAN + 61)
    assert (alive[names[0]].state, alive[names[0]].elapsed) == ("running", 60)


def test_a_dead_controller_held_jobs_and_an_empty_log_are_told_in_sentences(tmp_path):
    results = tmp_path / "results"
    jobs = [plan("extract", i) for i in range(5)]
    small(results, *jobs, cluster=True)
    own = replace(Controller.own(RUN, "s", str(results)), host="login2", machine="elsewhere")
    heart = Heartbeat(own, tmp_path)
    heart.beat()
    told(
        results,
        *((1, "submitted", "extract", i, {"slurm_job_id": str(i)}) for i in range(3)),
        (2, "started", "extract", 3, {}),
        (3, "failed", "extract", 3, {"why": ""}),
        (2, "refused", "extract", 4, {"why": "QOSMaxSubmitJobPerUserLimit"}),
    )
    queue = of_squeue(
        tmp_path,
        (0, "extract", 0, "RUNNING", "None", "10:00"),
        (1, "extract", 1, "PENDING", "JobHeldUser", "0:00"),
        (2, "extract", 2, "PENDING", "None", "0:00"),
    )

    def shown(queue):
        return "\n".join(lines(look("s", results, tmp_path, queue, of_sacct())))

    text = shown(queue)
    for part in (
        "controller  lives on login2", "JobHeldUser: is held by its owner", "scontrol release",
        "(job 2, has just been submitted)", "its log is empty so far", "died before it could say",
        "is put to Slurm again (QOSMaxSubmitJobPerUserLimit)", "lower jobs in",
    ):  # fmt: skip
        assert part in text

    def none(*_, **__):
        raise FileNotFoundError("squeue")

    text = shown(none)
    assert "squeue is not installed here" in text and "Slurm cannot be asked here" in text
    os.utime(heart.file, (BEGAN, BEGAN))
    text = shown(queue)
    assert "DEAD: the last was on login2" in text and "make resume STUDY=s waits" in text
    here = tmp_path / "here"
    small(here, plan("probe", 0))
    Heartbeat(replace(own, results=str(here)), tmp_path).beat()
    os.utime(heart.file, (BEGAN, BEGAN))
    assert "start it again" in "\n".join(lines(look("s", here, tmp_path)))


def test_a_part_of_a_study_leaves_the_rest_as_it_was_known(tmp_path):
    small(tmp_path, plan("probe", 0), plan("probe", 1))
    small(tmp_path, plan("probe", 1, todo=False))
    assert [job.todo for job in graph.load(tmp_path).jobs.values()] == [True, False]
    graph.update(tmp_path, Graph(dict([plan("probe", 2)]), Machine(), False, BEGAN, "s", "other"))
    assert list(graph.load(tmp_path).jobs) == [plan("probe", 2)[0]]
    assert graph.load(tmp_path / "nowhere").jobs == {}


def test_events_of_snakemakes_messages(tmp_path):
    recorder = events.Recorder(tmp_path / "accounting/events/r.jsonl", {3: "probe/a", 4: "probe/b"})
    logger = logging.Logger("of a controller")
    logger.addHandler(recorder)
    logger.info("Execute", extra={"event": LogEvent.JOB_STARTED, "jobs": [3, 4]})
    logger.warning("Job 3 is not taken by Slurm now: QOSMaxSubmitJobPerUserLimit")
    logger.info("Job 3 has been submitted with SLURM jobid 77 (log: x/77.log).")
    logger.info("Finished", extra={"event": LogEvent.JOB_FINISHED, "job_id": 4})
    why = "SLURM-job '77' failed, SLURM status is: 'TIMEOUT'. Reason: Unknown."
    logger.error("Error", extra={"event": LogEvent.JOB_ERROR, "jobid": 3, "rule_msg": why})
    logger.info("Trying to restart job 3.")
    refused = (
        "SLURM sbatch failed. The error message was 'Invalid qos specification'\n sbatch call: "
    )
    logger.error("Error", extra={"event": LogEvent.JOB_ERROR, "jobid": 3, "rule_msg": refused})
    logger.info("something else")
    with recorder.file.open("a") as handle:
        handle.write('{"time": 1')  # a full disk
    found = [(e.kind, e.job, e.slurm_job_id, e.state) for e in events.read(tmp_path)]
    assert found == [
        ("started", "probe/a", "", ""), ("started", "probe/b", "", ""),
        ("refused", "probe/a", "", ""),
        ("submitted", "probe/a", "77", ""), ("finished", "probe/b", "", ""),
        ("failed", "probe/a", "77", "TIMEOUT"), ("again", "probe/a", "", ""),
        ("failed", "probe/a", "", ""),
    ]  # fmt: skip
    assert "sbatch call" not in events.read(tmp_path)[-1].why


def test_the_last_line_of_a_log(tmp_path):
    log = tmp_path / "x.log"
    assert states.last_line(log) == ""
    log.write_text("first\n" * 5000 + "Loading 10%\rLoading 20%\r\x1b[0m\n\n  \n")
    assert states.last_line(log) == "[0m"
    log.write_text("[a] 1,200 of 5,000 images, 19 images/s\n")
    assert states.remaining(states.last_line(log)) == pytest.approx(200)
    assert states.remaining("[a] 1,200 of 5,000 images") is None


def test_the_command_writes_what_it_prints(tmp_path):
    small(tmp_path / "r", plan("probe", 0))
    config = tmp_path / "my.yaml"
    config.write_text(yaml.safe_dump({"study": "s", "results": str(tmp_path / "r")}))
    command = [sys.executable, ROOT / "workflow_scripts" / "status.py"]
    done = subprocess.run([*command, config], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0 and "0 of 1 done; 1 waiting" in done.stdout, done.stderr
    written = json.loads((tmp_path / "r/accounting/status.json").read_text())
    assert written["jobs"]["waiting"] == 1 and written["controller"] is None
    wrong = subprocess.run([*command, tmp_path / "no.yaml"], capture_output=True, text=True)
    assert wrong.returncode == 1 and wrong.stderr.startswith("error: the config")
    wrong = subprocess.run([*command, config, "--watch=0"], capture_output=True, text=True)
    assert wrong.returncode == 1 and "at least 1" in wrong.stderr
