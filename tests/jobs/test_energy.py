"""Energy of jobs: counters, sampled power, the formula, and what Slurm's accounting adds."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from tokenscope.cost.accounting import collect, forecasts, table
from tokenscope.cost.carbon import Site, paper_rows
from tokenscope.errors import StudyError
from tokenscope.jobs import energy, records, sacct
from tokenscope.jobs.energy import CpuMeter, GpuMeter, allocated

PRESETS = {"sites": "config/sites.csv", "site": "snellius"}


class Driver:
    """A stub of pynvml: two GPUs (the first with a counter, unless told) and a power curve."""

    def __init__(self, power=lambda t: 300.0, counter=True, missing=False, gpus=2):
        self.power, self.counter, self.missing, self.gpus = power, counter, missing, gpus
        self.now, self.reset_at = 0.0, None

    def nvmlInit(self):
        if self.missing:
            raise RuntimeError("NVML Shared Library Not Found")

    def nvmlShutdown(self):
        pass

    def nvmlDeviceGetCount(self):
        return self.gpus

    def nvmlDeviceGetHandleByIndex(self, index):
        return index

    def nvmlDeviceGetUUID(self, handle):
        return f"GPU-{handle}aaa-bbb"

    def nvmlDeviceGetHandleByUUID(self, uuid):
        return uuid

    def nvmlDeviceGetAttributes(self, handle):
        return type("Attributes", (), {"gpuInstanceSliceCount": 2})

    def nvmlDeviceGetPowerUsage(self, handle):
        return round(1e3 * self.power(self.now)) * (handle + 1)

    def nvmlDeviceGetTotalEnergyConsumption(self, handle):
        if not self.counter:
            raise RuntimeError("Not Supported")
        steps = 1000
        start = self.reset_at or 0.0
        width = (self.now - start) / steps
        joules = sum(self.power(start + (i + 0.5) * width) for i in range(steps)) * width
        return round(1e3 * (joules + (0 if self.reset_at else 5e5))) * (handle + 1)


@pytest.fixture
def driver(monkeypatch):
    """Install a driver and a clock that it shares with the meter; no thread samples by itself."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setattr(energy, "SECONDS", 3600)

    def install(**settings):
        stub = Driver(**settings)
        monkeypatch.setitem(sys.modules, "pynvml", stub)
        monkeypatch.setattr(energy.time, "monotonic", lambda: stub.now)
        return stub

    return install


def run(stub, meter, seconds, step=1.0):
    while stub.now < seconds - 1e-9:
        stub.now += step
        meter._sample()
    return meter.stop()


def test_a_known_power_curve_gives_the_known_energy(driver):
    stub = driver(power=lambda t: 100 + 6 * t)  # 100 s: 100 x 100 + 3 x 100^2 = 40,000 J
    (gpu,) = run(stub, GpuMeter(1), 100)
    assert gpu["method"] == "NVML counter" and gpu["gpu"] == "GPU-0aaa-bbb"
    assert gpu["joules"] == pytest.approx(40_000, rel=1e-4)
    assert gpu["sampled_joules"] == pytest.approx(gpu["counter_joules"], rel=1e-3)


def test_without_a_counter_power_is_sampled(driver):
    stub = driver(power=lambda t: 500.0 if 20 <= t < 60 else 100.0, counter=False)
    (gpu,) = run(stub, GpuMeter(1), 100)
    assert gpu["joules"] == pytest.approx(40 * 500 + 60 * 100, rel=0.01)
    assert gpu["method"] == "NVML sampled power (no energy counter: Not Supported)"


def test_a_counter_that_resets_is_noticed(driver):
    stub = driver()
    meter = GpuMeter(1)
    stub.now, stub.reset_at = 10.0, 9.0
    (gpu,) = run(stub, meter, 60)
    assert gpu["method"] == "NVML sampled power (the energy counter was reset)"
    assert gpu["joules"] == pytest.approx(60 * 300, rel=0.01)


def test_a_missing_driver_leaves_it_to_the_formula(driver, monkeypatch):
    driver(missing=True)
    (gpu,) = GpuMeter(1).stop()
    assert gpu["joules"] is None
    assert gpu["method"] == "formula (no NVML: NVML Shared Library Not Found)"
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.delenv("SLURM_JOB_GPUS", raising=False)
    assert GpuMeter(1).stop() == []  # nobody gave a GPU, and there is none
    assert GpuMeter(0).stop() == []


def test_only_the_allocated_devices_count(driver, monkeypatch):
    stub = driver()
    for given, uuids in (
        ("1", ["GPU-1aaa-bbb"]), ("1,0", ["GPU-1aaa-bbb", "GPU-0aaa-bbb"]),
        ("GPU-1a", ["GPU-1aaa-bbb"]), ("NoDevFiles", []), ("-1", []), ("0,-1,1", ["GPU-0aaa-bbb"]),
    ):  # fmt: skip
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
        assert [gpu["gpu"] for gpu in GpuMeter(1).stop()] == uuids
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    (gpu,) = GpuMeter(1).stop()
    assert gpu["method"] == "formula (the driver knows no GPU 7)"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-3f")
    (gpu,) = GpuMeter(1).stop()
    assert gpu["share"] == pytest.approx(2 / 7) and "MIG slice" in gpu["method"]
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setenv("SLURM_JOB_GPUS", "1")
    (gpu,) = run(stub, GpuMeter(1), 10)
    assert gpu["joules"] == pytest.approx(2 * 300 * 10, rel=1e-3)
    assert allocated({}, 1) is None and allocated({}, 0) == []


def test_a_device_that_may_not_be_opened_leaves_the_others_their_counter(driver, monkeypatch):
    stub = driver()

    def opened(index):
        if index == 0:
            raise RuntimeError("Insufficient Permissions")
        return index

    stub.nvmlDeviceGetHandleByIndex = opened
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,0")
    own, closed = run(stub, GpuMeter(2), 10)
    assert own["method"] == "NVML counter" and own["gpu"] == "GPU-1aaa-bbb"
    assert "does not open it: Insufficient Permissions" in closed["method"]


def test_the_real_binding_imports_without_a_driver():
    import pynvml

    for name in ("nvmlDeviceGetTotalEnergyConsumption", "nvmlDeviceGetPowerUsage"):
        assert hasattr(pynvml, name)


def rapl(folder, energy_uj, package=0):
    zone = folder / f"intel-rapl:{package}"
    zone.mkdir(exist_ok=True)
    (zone / "energy_uj").write_text(f"{energy_uj}\n")
    (zone / "max_energy_range_uj").write_text("1000000000\n")
    inner = folder / f"intel-rapl:{package}:0"  # a part of the package: not counted again
    inner.mkdir(exist_ok=True)
    (inner / "energy_uj").write_text(f"{energy_uj}\n")


def test_rapl_counts_packages_over_their_wrap_and_by_share(tmp_path, monkeypatch):
    rapl(tmp_path, 900_000_000), rapl(tmp_path, 100, package=1)
    stat, own = tmp_path / "stat", iter([0.0, 3.0, 0.0, 0.0])
    monkeypatch.setattr(energy, "_own_seconds", lambda: next(own))
    stat.write_text("cpu 0 0 0 0 0 0 0 0 0 0\n")
    meter = CpuMeter(tmp_path, stat)
    rapl(tmp_path, 300_000_000), rapl(tmp_path, 200_000_100, package=1)  # 400 + 200 J
    stat.write_text(f"cpu {12 * os.sysconf('SC_CLK_TCK')} 0 0 99 0 0 0 0 0 0\n")
    measured = meter.stop()
    assert measured["joules"] == pytest.approx(600 * 3 / 12)
    assert measured["method"] == "RAPL by share of busy time"
    assert CpuMeter(tmp_path / "absent").stop()["method"] == "formula (no RAPL)"


RECORDING = """
import sys
sys.path.insert(0, "workflow_scripts")
from types import SimpleNamespace
from tokenscope.jobs.job import Progress, job
snakemake = SimpleNamespace(rule="extract", wildcards={"dataset": "d", "shard": "0000"},
                            resources=SimpleNamespace(gpu=0))
with job(sys.argv[1], "test", 2):
    Progress()(7, 7)
    if len(sys.argv) > 2:
        raise ValueError
"""


def test_each_attempt_records_itself(tmp_path):
    log = tmp_path / "results" / "logs" / "extract" / "d" / "0000.log"
    for more, status in ((["fail"], 1), ([], 0)):
        command = [sys.executable, "-c", RECORDING, str(log), *more]
        env = os.environ | {records.RUN: "run", "SLURM_JOB_ID": "7"}
        done = subprocess.run(command, env=env, capture_output=True, text=True)
        assert done.returncode == status, done.stderr
    file = records.record_file(log)
    first, second = records.read_records(file)
    assert file == tmp_path / "results/accounting/jobs/extract/d/0000.jsonl"
    assert (first["outcome"], second["outcome"]) == ("failed", "finished")
    assert second["attempt"] == 2 and second["work"] == {"images": 7} and second["threads"] == 2
    assert second["rule"] == "extract" and second["wildcards"]["shard"] == "0000"
    assert second["run"] == "run" and second["slurm_job_id"] == "7"
    assert 0 < second["seconds"] < 60 and abs(second["ended"] - time.time()) < 60
    file.write_text(file.read_text() + '{"torn')
    assert len(records.read_records(file)) == 2


SACCT = """\
11|tokenscope_a|FAILED|1000|1010|1070|60|billing=16,cpu=16,gres/gpu:h100=1,gres/gpu=1,mem=8G|n1|rule_extract_wildcards_d_0000
12|tokenscope_a|COMPLETED|1080|1100|1400|300|cpu=16,gres/gpu:h100=1,mem=8G,node=1|n2|rule_extract_wildcards_d_0000
13|tokenscope_a|CANCELLED by 1000|1000|Unknown|1000|0||None assigned|rule_norms_wildcards_d
14|tokenscope_b|TIMEOUT|1000|1000|1900|900|cpu=4,mem=8G|n1|rule_norms_wildcards_d
15|tokenscope_a|TIMEOUT|1500|1500|1560|60|cpu=2,mem=8G,node=1|n3|rule_norms_wildcards_d
16|someone else|COMPLETED|1500|1500|1560|60|cpu=64|n3|
"""


def record(job, **changed):
    """A line as tokenscope.jobs.records writes it."""
    gpu = {"gpu": "GPU-a", "share": 1.0, "joules": 9e4, "method": "NVML counter"}
    return {
        "rule": job.split("/")[0], "wildcards": {"dataset": "d"}, "outcome": "finished",
        "run": "r1", "started": 1105.0, "ended": 1395.0, "seconds": 290.0, "threads": 16,
        "work": {"images": 5000}, "gpus": [gpu], "host": "n2", "slurm_job_id": "",
        "cpu": {"joules": None, "method": "formula (no RAPL)"}, **changed,
    }  # fmt: skip


def write(folder, job, *lines):
    file = folder / "jobs" / f"{job}.jsonl"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_sacct_completes_the_records(tmp_path):
    wildcards = {"dataset": "d", "shard": "0000"}
    write(tmp_path, "extract/d/0000", record("extract/d", slurm_job_id="12", wildcards=wildcards))
    plan = {"norms/d": {"rule": "norms", "wildcards": {"dataset": "d"}, "seconds": 50.0,
                        "bias": 0.1, "scatter": 0.1, "basis": "model"}}  # fmt: skip
    (tmp_path / "forecast").mkdir()
    (tmp_path / "forecast" / "r1.json").write_text(json.dumps(plan))
    asked = []
    attempts, word = collect(
        tmp_path, lambda since: (asked.append(since), sacct.parse(SACCT))[1:] + ("",)
    )
    assert asked == [1105.0] and word == ""
    site = Site.of(PRESETS)
    rows = table(attempts, site, "r1", forecasts(tmp_path))
    assert rows[["job", "attempt", "state", "source", "slurm_job_id"]].values.tolist() == [
        ["extract/d/0000", 1, "FAILED", "sacct", "11"],
        ["extract/d/0000", 2, "finished", "record, sacct", "12"],
        ["norms/d", 1, "TIMEOUT", "sacct", "15"],
    ]
    killed, done, late = (rows.iloc[i] for i in range(3))
    assert rows["gpu_hours"].sum() == pytest.approx((60 + 300) / 3600)
    assert rows["core_hours"].sum() == pytest.approx((16 * 360 + 2 * 60) / 3600)
    assert done["queue_seconds"] == 20 and done["gpu_kwh"] == pytest.approx(9e4 / 3.6e6)
    assert done["gpu_method"] == "NVML counter" and done["cpu_method"].startswith("formula")
    assert killed["gpu_kwh"] == pytest.approx(0.7 * 60 / 3600)  # it counts, by the formula
    assert killed["gpu_method"] == "formula (no record of the job)"
    assert killed["units"] == pytest.approx(192 / 60) and set(rows["work"]) == {"new"}
    assert late["claim"] == "claim2" and late["forecast_seconds"] == 50
    assert rows["co2_kg"].sum() == pytest.approx(0.37 * 1.19 * rows["kwh"].sum())


def test_new_reused_and_spent_work(tmp_path):
    write(tmp_path, "train/a", record("train", run="r1", started=10.0),
          record("train", run="r2", started=20.0))  # fmt: skip
    write(tmp_path, "norms/a", record("norms", run="r1", started=10.0, outcome="failed", gpus=[]),
          record("norms", run="r1", started=15.0, gpus=[]))  # fmt: skip
    attempts, word = collect(tmp_path, ask=None)
    rows = table(attempts, Site.of(PRESETS), "r2", {})
    work = rows.set_index(["job", "attempt"])["work"].to_dict()
    assert work == {
        ("train/a", 1): "spent", ("train/a", 2): "new",
        ("norms/a", 1): "spent", ("norms/a", 2): "reused",
    }  # fmt: skip
    assert (rows["units"] == 0).all() and isinstance(rows, pd.DataFrame)


def test_jobs_on_one_gpu_share_its_counter(tmp_path):
    """Two jobs side by side on a GPU of 300 W: each counter reads everything."""
    write(tmp_path, "extract/a", record("extract", started=0.0, ended=100.0,
          gpus=[{"gpu": "G", "share": 1.0, "joules": 3e4, "method": "NVML counter"}]))  # fmt: skip
    write(tmp_path, "extract/b", record("extract", started=50.0, ended=150.0,
          gpus=[{"gpu": "G", "share": 1.0, "joules": 3e4, "method": "NVML counter"}]))  # fmt: skip
    attempts, _ = collect(tmp_path, ask=None)
    assert sum(a["gpu_joules"] for a in attempts) == pytest.approx(150 * 300)
    assert all("75% of a shared GPU" in a["gpu_method"] for a in attempts)


def test_the_papers_section_is_reproduced():
    published = pd.read_csv("config/published.csv").fillna("").to_dict("records")
    rows = {row["quantity"]: row["value"] for row in paper_rows(published, Site.of(PRESETS))}
    assert round(rows["co2"], 2) == 55.39 and rows["co2_printed"] == 29.94
    assert round(rows["co2_at_0.20"], 2) == 29.94
    assert rows["intensity_implied"] == pytest.approx(0.20, abs=0.0005)
    assert rows["co2_this_site"] == pytest.approx(rows["co2"])  # its inputs are the default


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"intensity": -0.1}, "intensity is -0.1"),
        ({"pue": 0.9}, "pue is 0.9"),
        ({"gpu_watts": float("nan")}, "gpu_watts"),
        ({"site": "atlantis"}, "only: snellius"),
        ({"sites": "nowhere.csv"}, "does not exist"),
    ],
)
def test_nonsense_about_a_site_is_refused(wrong, message):
    with pytest.raises(StudyError, match=message):
        Site.of(PRESETS | wrong)
    for row in pd.read_csv(PRESETS["sites"])["site"]:
        assert Site.of(PRESETS | {"site": row}).source


def test_sacct_that_is_missing_or_fails_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert sacct.ask(0.0) == ([], "sacct is not installed here")
    program = Path(tmp_path, "sacct")
    program.write_text("#!/bin/sh\necho 'Slurm accounting storage is disabled' >&2; exit 1\n")
    program.chmod(0o755)
    rows, word = sacct.ask(1e9)
    assert rows == [] and "storage is disabled" in word
