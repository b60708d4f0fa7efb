"""The forecast: scheduling, calibration and sums with known answers, then the paper study's."""

import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from projects import copy_project, snakemake

from tokenscope.cost import claims, time_limit, time_model
from tokenscope.cost.calibration import (
    BESIDE,
    BETWEEN,
    PRIOR,
    SCATTER,
    Calibration,
    Estimate,
    total,
)
from tokenscope.cost.carbon import Site
from tokenscope.cost.claims import claim_of
from tokenscope.cost.forecast import crossed_lines, few_images, least_images, warnings
from tokenscope.cost.job_graph import Task
from tokenscope.cost.memory_model import MEMORY
from tokenscope.cost.schedule import Machine, Step, simulate
from tokenscope.cost.totals import PEAK, UTILISATION, Totals
from tokenscope.norms.artifacts import judge
from tokenscope.study import flops
from tokenscope.study.study import Study

DEFAULTS = {
    "device": "cuda", "backbone_tables": ["config/backbones.csv"], "recipes": "config/recipes",
    "weights": {"cache": "results/weights"}, "max_decoded_gb": 50, "analyse": ["val"],
    "extract": {"batch": 64, "chunk_mb": 32, "tokens": True}, "statistics": {"resamples": 1000},
    "gallery": {"images": 6, "high_resolution": 800}, "results": "results/x",
    "datasets": {"val": {"type": "imagefolder", "images": 5000}}, "backbones": ["dinov2/*/*"],
    "overhead": {"backbones": []}, "training": {}, "requests": {"minimum_minutes": 10},
}  # fmt: skip
SITE = Site("here", intensity=0.5, pue=1.5, gpu_watts=600, core_watts=10, units_per_gpu_hour=100)


def test_a_schedule_of_equal_jobs():
    jobs = [Step(10, gpus=1)] * 8
    for gpus, seconds in ((1, 80), (2, 40), (3, 30), (8, 10), (100, 10)):
        assert simulate(jobs, Machine(gpus=gpus, latency=0))[0] == seconds
    assert simulate(jobs, Machine(gpus=2, latency=5))[0] == 60
    assert simulate(jobs, Machine(gpus=8, jobs=4, latency=0))[0] == 20
    assert simulate([], Machine()) == (0, 0)


def test_a_schedule_respects_needs_and_the_longest_way_first():
    #   0 (1 s) -> 1 (10 s);  2, 3 (5 s each): starting with 0 ends after 11 s, else after 16
    jobs = [Step(1), Step(10, (0,)), Step(5), Step(5)]
    assert simulate(jobs, Machine(cores=2, latency=0))[0] == 11
    assert simulate(jobs, Machine(cores=1, latency=0))[0] == 21
    wide = [Step(4, threads=16), Step(4, threads=1)]  # scaled down to what there is
    assert simulate(wide, Machine(cores=2, latency=0))[0] == 8
    beside = [Step(3.5, beside=True)] * 4
    assert simulate(beside, Machine(beside_cores=2, latency=100))[0] == 8
    with pytest.raises(ValueError, match="circle"):
        simulate([Step(1, (1,)), Step(1, (0,))], Machine())


def test_storage_at_its_peak():
    kept = [Step(1, bytes=10), Step(1, (0,), bytes=5), Step(1, (1,), bytes=7)]
    assert simulate(kept, Machine())[1] == 22
    given_up = [Step(1, bytes=10, temporary=True), *kept[1:]]
    assert simulate(given_up, Machine())[1] == 15


def test_a_large_graph_is_quick():
    jobs = [Step(1 + i % 7, (i - 1000,) if i >= 1000 else (), gpus=i % 2) for i in range(4000)]
    seconds, _ = simulate(jobs, Machine(gpus=16, jobs=100, latency=0))
    work = sum(job.seconds for job in jobs if job.gpus) / 16
    assert work <= seconds < 1.1 * work + 28


def test_measurements_move_and_narrow_the_model():
    rng, calibration = np.random.default_rng(0), Calibration()
    before = calibration.estimate("extract", 100, 600, False)
    assert before.seconds == 100 and before.basis == "model"
    assert (before.bias, before.scatter) == (PRIOR, SCATTER)
    for x in rng.normal(math.log(3), 0.2, 50):  # three times slower than the model says
        calibration.add("extract", 100 * math.exp(x), 100)
    after = calibration.estimate("extract", 100, 600, False)
    assert after.seconds == pytest.approx(300, rel=0.08) and after.basis == "model, 50 measured"
    assert BETWEEN < after.bias < 1.05 * BETWEEN < PRIOR and after.scatter == pytest.approx(
        0.2, rel=0.25
    )


def test_a_rule_without_a_model():
    calibration = Calibration()
    unknown = calibration.estimate("probe", None, 1800, False)
    assert (unknown.seconds, unknown.basis) == (1800, "time limit")
    assert calibration.estimate("draw", None, 1800, True).seconds == BESIDE
    for seconds in (90, 100, 110):
        calibration.add("probe", seconds, None)
    measured = calibration.estimate("probe", None, 1800, False)
    assert measured.seconds == pytest.approx(100, rel=0.01)
    assert measured.basis == "mean of 3 measured"


def test_the_interval_of_a_sum_covers_what_it_says():
    """Drawn from its own model, the true sum lies inside in 90 % of cases."""
    rng = np.random.default_rng(1)
    sizes = {"a": [50, 100, 400], "b": [20] * 30}
    biases = {"a": 0.4, "b": 0.2}
    parts = [(r, Estimate(s, "", biases[r], 0.3), 1.0) for r, ss in sizes.items() for s in ss]
    middle, low, high = total(parts)
    sums = np.zeros(4000)
    for rule, seconds in sizes.items():
        shared = rng.normal(0, biases[rule], (4000, 1))
        own = rng.normal(0, 0.3, (4000, len(seconds)))
        sums += (np.exp(shared + own) * seconds).sum(1)
    assert middle == sum(map(sum, sizes.values()))
    assert 0.85 < ((sums > low) & (sums < high)).mean() < 0.95


def study(**changed):
    return Study(DEFAULTS | changed)


def test_requests_and_forecast_share_one_model():
    wildcards = {"dataset": "val", "family": "dinov2", "size": "giant", "registers": "r0"}
    whole = study(datasets={"val": {"type": "imagefolder", "images": 1_331_167}})
    job = time_model.Job(whole, "extract", wildcards | {"shard": "0000"}, 16)
    hours = job.flops() / (UTILISATION * PEAK) / 3600
    assert hours == pytest.approx(3.33, abs=0.1)  # the arithmetic by hand, for claim 4
    assert time_limit.minutes(whole, "extract", job.wildcards, 16) == math.ceil(job.seconds() / 30)
    assert time_limit.minutes(whole, "extract", job.wildcards, 16, attempt=2) == 2 * math.ceil(
        job.seconds() / 30
    )
    small = time_model.Job(study(), "extract", wildcards | {"shard": "0000"}, 16)
    assert time_limit.minutes(small.study, "extract", small.wildcards) == 10
    arch = small.arch
    assert small.bytes() == 5000 * flops.token_bytes(arch, arch.input_size)
    lean = study(extract=DEFAULTS["extract"] | {"tokens": False})
    assert time_model.Job(lean, "extract", small.wildcards).bytes() < small.bytes() / 10
    assert time_model.Job(study(), "fig_maps", wildcards).seconds() is None


def test_speed_follows_shape():
    """Images a second of one H100, as reckoned: small ones wait for memory, small images for
    launches, unless there are more of them in a batch."""

    def images(size, side, batch=64):
        arch = study().rows[f"dinov2/{size}/r0"].arch
        patch = {224: 16}.get(side, arch.patch)
        arch = replace(arch, patch=patch)
        return flops.gpu_speed(arch, side, batch) / flops.forward_flops(arch, side)

    assert images("small", 518) == pytest.approx(2500, rel=0.1)
    assert images("giant", 518) == pytest.approx(110, rel=0.1)
    assert 7000 < images("small", 224) < 8000 and images("small", 224, 256) > 15_000


SECTIONED = (  # of a recipe, or of a section of the config
    "train", "plant", "neurons", "probe", "sensitivity", "heads", "discover", "dense_head",
    "discovery_maps", "smoothness", "snapshots", "overhead", "calibrate",
    "measure_kinds",
)  # fmt: skip


def test_the_model_answers_for_every_rule_it_lists():
    for rule, (seconds, size) in time_model.MODEL.items():
        wildcards = {"dataset": "val", "family": "dinov2", "size": "base", "registers": "r4"}
        wildcards |= {"geometry": "224px-bicubic-center224", "shard": "0000", "view": "native"}
        if rule not in SECTIONED:
            job = time_model.Job(study(), rule, wildcards)
            assert seconds(job) > 0 and (size is None or size(job) >= 0)


def test_every_request_is_that_of_its_own_rule():
    """The models know each rule that asks them, and no rule asks for another's."""
    asked = {"minutes": set(), "megabytes": set()}
    for file in Path("rules").glob("*.smk"):
        for text in re.split(r"^(?:use )?rule ", file.read_text(), flags=re.M)[1:]:
            for what, rule in re.findall(r'=(minutes|megabytes)\("(\w+)"\)', text):
                assert text.startswith(f"{rule}:"), (file, rule)
                asked[what].add(rule)
    assert asked["megabytes"] == set(MEMORY) and asked["minutes"] <= set(time_model.MODEL)
    assert asked["megabytes"] - asked["minutes"] == {"train"}  # its recipe names the minutes


def task(rule, todo=True, gpus=1, hours=1.0, **changed):
    values = {
        "name": f"{rule}/x", "wildcards": {}, "beside": False, "threads": 16,
        "minutes": 120.0, "flops": 0.0, "bytes": 1e9, "temporary": False, "needs": (),
        "estimate": Estimate(3600 * hours, "model", 0.1, 0.1),
    }  # fmt: skip
    return Task(rule=rule, todo=todo, gpus=gpus, **values | changed)


def test_sums_over_jobs():
    tasks = [task("extract"), task("extract", todo=False), task("norms", gpus=0, threads=1)]
    forecast = Totals(tasks, Calibration(), False, SITE)
    row = forecast.row(tasks)
    assert (row["jobs"], row["done"]) == (2, 1) and forecast.done_share() == 0.5
    assert row["reserved_gpu_hours"] == 2 and row["expected_gpu_hours"] == 1
    assert row["low"] < 1 < row["high"] and row["core_hours"] == 17
    assert row["kwh"] == pytest.approx(0.6 + 0.17)
    assert row["co2_kg"] == pytest.approx(0.5 * 1.5 * 0.77) and row["storage_gb"] == 2
    assert row["expected_units"] == 0  # this machine charges nothing
    cluster = Totals(tasks, Calibration(), True, SITE).row(tasks)
    assert cluster["reserved_units"] == 200
    assert cluster["expected_units"] == pytest.approx(100 * (1 + 10 / 3600))
    measured = Calibration()
    measured.add_energy("extract", 3.6e6, 36000)  # 100 W
    kwh = Totals(tasks, measured, False, SITE).row(tasks)["kwh"]
    assert kwh == pytest.approx(0.1 + 0.17)


def test_a_small_job_pays_the_smallest_allocation_of_its_site():
    site = replace(SITE, units_per_core_hour=1, least_cores=16)
    tasks = [task("norms", gpus=0, threads=1), task("extract", threads=2), task("x", threads=24,
             gpus=0)]  # fmt: skip
    hours = 1 + 10 / 3600
    row = Totals(tasks, Calibration(), True, site).row(tasks)
    assert row["reserved_units"] == 2 * 16 + 2 * 100 + 2 * 24
    assert row["core_hours"] == pytest.approx((16 + 2 + 24) * hours)
    assert Totals(tasks, Calibration(), False, site).row(tasks)["core_hours"] == 27  # here, none
    beside = [task("norms", gpus=0, threads=1, beside=True)]
    assert Totals(beside, Calibration(), True, site).row(beside)["core_hours"] == 1
    own = {"sites": "config/sites.csv", "site": "germany", "least_cores": 8}
    assert Site.of(own).least_cores == 8 and Site.of({**own, "site": "snellius"}).source


def test_implausible_sums_are_remarked_upon():
    def remark(hours, **changed):
        tasks = [task("extract", hours=hours), task("probe", hours=0)]
        forecast = Totals(tasks, Calibration(), False, SITE)
        return "".join(warnings(forecast, study(**changed), [3, 60]))

    assert remark(5.5) == "" and "over 60" in remark(61)
    assert "under 3" in remark(1) and "claim5 (" in remark(1) and "5,000 images" in remark(1)
    assert "518" in remark(1, backbones=["deit3/*/*"]) and "518" not in remark(1)


def test_a_data_set_of_which_no_backbone_is_said_to_be_clean_is_named():
    """By the decision itself, which says no of as many images and of no fewer."""
    least, rng = least_images(0.95), np.random.default_rng(0)
    said = [judge(np.exp(rng.normal(0, 0.2, (n, 1, 400)))).verdict for n in (least, least - 1)]
    assert said == ["no", "cannot tell"]
    config = {"statistics": {"resamples": 1000, "confidence": 0.95}}
    assert few_images(study(**config)) == []
    for count, notes in ((least, 0), (least - 1, 1)):
        val = {"type": "imagefolder", "images": count}
        found = few_images(study(**config, datasets={"val": val}))
        assert len(found) == notes and all("val has 148 images" in note for note in found)


@pytest.mark.parametrize("many", [False, True])
def test_backbones_of_grids_share_a_line_where_there_are_too_many_families(many):
    keys = [f"tuned-l{n}-s{seed}/small/r0" for n in range(7 if many else 2) for seed in range(3)]
    keys += [f"dinov2/{size}/r{count}" for size in "sblg" for count in (0, 4)]
    crossed = {("claim1", key): {"hours": 1.0} for key in keys}
    told = crossed_lines(crossed, "hours", "GPU", ["tuned"])
    assert [line.split() for line in told if "dinov2" in line] == [["dinov2", "8"]]
    assert len(told) == (3 if many else 8)
    assert (["tuned", "21"] in [line.split() for line in told]) == many


def test_claims_by_rule_and_table():
    assert claim_of("redundancy", {"dataset": "x"}) == "claim3"
    assert claim_of("gather", {"table": "claim1"}) == "claim1"
    assert claim_of("gather", {"table": "sensitivity"}) == "claim4"
    assert claim_of("extract", {"shard": "0000"}) == "shared"
    assert claim_of("of_other_code", {}) == "unknown" == claim_of("gather")


def test_every_rule_has_a_claim_wherever_it_stands():
    """The table of claims names each rule that runs, and none that is not there."""
    rules, targets = set(), set()
    for file in (Path("Snakefile"), *Path("rules").glob("*.smk")):
        for text in re.split(r"^(?=(?:use )?rule )", file.read_text(), flags=re.M)[1:]:
            name = re.match(r"(?:use )?rule (?:\w+ as )?(\w+)", text)[1]
            runs = "script:" in text or text.startswith("use ")
            (rules if runs else targets).add(name)
    named = [rule for group in claims.RULES.values() for rule in group] + list(claims.TABLES)
    assert len(named) == len(set(named)) and set(named) == rules
    assert set(claims.TARGETS) <= targets
    assert claim_of("fig_training") == "training" and claim_of("fig_discovery") == "discovery"


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return copy_project(tmp_path_factory.mktemp("forecast"))


def test_the_paper_study_is_forecast_without_slurm_data_or_weights(project):
    output = snakemake(project, "--profile", "slurm", "-n", "--config", "forecast=full")
    text = output.split("Forecast of paper:")[1]
    assert re.search(r"[\d.]+ expected \(90 %: [\d.]+ to [\d.]+\), [\d.]+ reserved", text)
    assert "16 GPUs, without queueing" in text and "Likely" not in text  # nothing to remark upon
    rules = pd.read_csv(project / "results/paper/accounting/forecast/by_rule.csv", index_col=0)
    parts, whole = rules.drop("all"), rules.loc["all"]
    for column in ("jobs", "reserved_gpu_hours", "expected_gpu_hours", "kwh", "storage_gb"):
        assert parts[column].sum() == pytest.approx(whole[column], rel=1e-4)
    # Most of it are three heads a backbone in the dense tasks: verdicts ask for as many seeds.
    assert 10 < whole["expected_gpu_hours"] < 150 < whole["reserved_gpu_hours"] < 600
    # Threads as a cluster will give them, not as the machine of a dry run scales them down.
    config = yaml.safe_load((project / "config/schemas/config.schema.yaml").read_text())
    threads = config["properties"]["threads"]["properties"]["extract"]["default"]
    ratio = rules["core_hours"]["extract"] / rules["expected_gpu_hours"]["extract"]
    assert ratio == pytest.approx(threads, rel=1e-3)
    alone = pd.read_csv(project / "results/paper/accounting/forecast/by_claim_alone.csv")
    assert (alone["jobs"] < whole["jobs"]).all()
    # By hand: claims 4 and 5 read a train set each, about 3 GPU-hours of forward passes a set.
    hours = alone.set_index("claim_alone")["expected_gpu_hours"]
    assert 0.5 < hours["claim1"] < 6 and 1 < hours["claim4"] < 8 and 4 < hours["claim5"] < 20
    quiet = ["--profile", "slurm", "-n", "--config", "forecast=none"]
    assert "Forecast" not in snakemake(project, *quiet)
