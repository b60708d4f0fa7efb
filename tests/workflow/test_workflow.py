"""The workflow as a user runs it: what is planned, what reruns after which change, mistakes."""

import os
import shutil

import pandas as pd
import pytest
from projects import MINI, RESULTS, copy_project, planned, snakemake, table


def test_finished_study_has_nothing_to_do(study):
    assert planned(snakemake(study, "-n", *MINI, "all")) == {}


def test_every_job_of_the_study_is_accounted_for(study):
    rows = table(study, "accounting")
    rules = rows["rule"].value_counts().to_dict()
    # Whatever the accounting waits for is in it; the rest of the study may come before or after.
    awaited, everything = (
        planned(snakemake(study, "-n", "--forceall", *MINI, target))
        for target in ("results/mini/tables/accounting.csv", "all")
    )
    awaited.pop("accounting")
    assert {"extract", "gather", "probe", "train"} <= awaited.keys()
    for rule in everything | rules:
        assert awaited.get(rule, 0) <= rules.get(rule, 0) <= everything.get(rule, 0), rule
    assert (rows["work"] == "new").all() and (rows["state"] == "finished").all()
    assert (rows["kwh"] > 0).all() and rows["cpu_method"].str.len().gt(0).all()
    assert rows["forecast_seconds"].notna().all() and (rows["gpu_hours"] == 0).all()
    extract = rows[rows["rule"] == "extract"]
    assert (extract["images"] == 160).all() and set(extract["registers"]) >= {"r0-content-10x"}
    paper = table(study, "carbon_paper").set_index("quantity")["value"]
    assert round(paper["co2"], 2) == 55.39 and paper["co2_printed"] == 29.94


def test_a_forced_run_is_forecast_from_the_first(study):
    """What the finished study took calibrates the forecast; asking for it reruns nothing."""
    config = ["--config", "forecast=full", "--configfile", "tests/mini/mini.yaml", "--", "all"]
    assert planned(snakemake(study, "-n", *config)) == {}
    output = snakemake(study, "-n", "--cores", "2", "--forceall", *config)
    with open(study / RESULTS / "accounting" / "forecast" / "by_rule.csv") as handle:
        forecast = pd.read_csv(handle, index_col="rule")
    took = table(study, "accounting").groupby("rule")["core_hours"].sum()
    for rule in ("train", "extract", "gallery", "norms"):
        assert 2 / 3 < forecast["core_hours"][rule] / took[rule] < 1.5, rule
    assert forecast["done"].sum() == 0 and forecast["jobs"]["all"] == forecast["jobs"][:-1].sum()
    assert "calibrated by earlier jobs" in output and "wall time" in output


def test_style_reruns_figures_only(study, edited):
    edited("workflow_scripts/tokenscope/figures/style.py", "#D55E00", "#D55E01")
    jobs = planned(snakemake(study, "-n", *MINI, "all"))
    every = planned(snakemake(study, "-n", "--forceall", *MINI, "all"))
    figures = {name for name in every if name.startswith("fig_")}
    assert {"fig_maps", "fig_norms", "fig_dense"} <= figures <= set(jobs)
    assert set(jobs) - figures <= {"all", "report", "diagnosis_page"}


def test_a_rule_of_outliers_reruns_measures_not_extraction(study, edited):
    edited("workflow_scripts/tokenscope/norms/outliers.py", "BINS = 2048", "BINS = 4096")
    jobs = planned(snakemake(study, "-n", *MINI, "all"))
    assert {"norms", "redundancy", "gather"} <= set(jobs)
    assert not {"train", "decode", "render"} & set(jobs)
    # Neurons are chosen by the outliers they write: their backbone alone is extracted again.
    assert jobs["extract"] == jobs["gallery"] == jobs["attach"] == 3


def changed(study, outliers):
    """Jobs of a dry run with other values of the section ``outliers``."""
    config = ["--config", f"outliers={{{outliers}}}", *MINI, "all"]
    return planned(snakemake(study, "-n", "--profile", "profiles/local", *config))


def test_rules_of_outliers_rerun_passes_only_where_they_must(study):
    """As the readme says it, rule by rule."""
    passes = {"extract", "gallery", "features", "neurons", "plant", "train", "decode", "discover"}
    jobs = changed(study, "min_share: 0.2, absolute: 140")
    assert {"norms", "redundancy", "gather"} <= set(jobs) and not passes & set(jobs)
    assert passes & set(changed(study, "percentile: 97")) == {"features"}
    jobs = changed(study, "times_median: 4")
    assert {"neurons", "attach"} <= set(jobs) and not {"plant", "train"} & set(jobs)


def test_a_finished_study_in_a_fresh_clone_has_nothing_to_do(study, tmp_path):
    """A clone's files of code are younger than results that were copied into it.

    Nor has it where copying lost the times of files: at worst each is older than what it was made
    from.
    """
    clone = copy_project(tmp_path)
    for name in (RESULTS, ".snakemake/metadata"):
        shutil.copytree(study / name, clone / name)
    run = ["-n", "--profile", "profiles/local", *MINI, "all"]
    assert planned(snakemake(clone, *run)) == {}
    for file in (clone / RESULTS).rglob("*"):
        os.utime(file, (2e9 - file.stat().st_mtime,) * 2)
    assert planned(snakemake(clone, *run)) == {}


def test_a_parameter_reruns_what_depends_on_it(study, edited):
    edited("tests/mini/mini.yaml", "gallery:", "redundancy: {similarities: [0.7]}\ngallery:")
    jobs = planned(snakemake(study, "-n", *MINI, "all"))
    accounts = {"accounting", "fig_energy", "all", "report", "diagnosis", "diagnosis_page"}
    accounts |= {"deviations"}  # they hold the paper's recipe against this parameter
    accounts |= {"fig_published"}  # of all tables
    assert set(jobs) <= {"redundancy", "cosine_curves", "gather", "fig_cosine"} | accounts
    assert jobs["redundancy"] == len(table(study, "backbones"))


def test_comments_rerun_nothing(study, edited):
    edited(
        "workflow_scripts/tokenscope/forward/hooks.py",
        "import torch\n",
        "# a remark\nimport torch\n",
    )
    assert planned(snakemake(study, "-n", *MINI, "all")) == {}


def test_one_figure_alone(study):
    figure = RESULTS / "figures" / "scenes" / "qkv" / "control.png"
    before = (study / figure).read_bytes()
    (study / figure).unlink()
    output = snakemake(study, "--profile", "profiles/local", *MINI, str(figure))
    assert planned(output) == {"fig_qkv": 1}
    assert (study / figure).read_bytes() == before


def test_paper_study_plans_without_slurm_data_or_weights(project):
    jobs = planned(snakemake(project, "--profile", "slurm", "-n"))
    backbones = len(pd.read_csv(project / "config" / "backbones.csv").query("recipe.isna()"))
    assert jobs["obtain"] == backbones and jobs["attach"] == 4 * jobs["neurons"] > 0
    assert jobs["extract"] == jobs["gallery"] == backbones + jobs["attach"]
    assert jobs["decode"] < 16  # shared by geometry


def test_lint_and_rule_graph(project):
    assert "Congratulations" in snakemake(project, "--lint")
    assert "digraph" in snakemake(project, "--rulegraph")


@pytest.mark.parametrize(
    "old, new, message",
    [
        ("study: mini", "study: mini\ndevise: cpu", "devise"),
        ("analyse: [scenes]", "analyse: [scene]", "'scene' is no data set"),
        ("embedded/tiny/r1-scratch", "embedded/tiny/r9", "Register counts of embedded/tiny"),
        ("scenes-train: {", "scenes-trial: {", "r1-scratch is trained on it"),
        ("scenes, images: 160, seed: 2", "scenes, images: 0, seed: 2", "images"),
        ("study: mini", "study: mini\ncarbon: {intensity: -0.1}", "-0.1"),
        ("study: mini", "study: mini\ncarbon: {pue: 0.9}", "0.9"),
        ("study: mini", "study: mini\ncarbon: {site: atlantis}", "only: snellius"),
    ],
)
def test_mistakes_in_the_config_are_said_in_a_sentence(project, tmp_path, old, new, message):
    text = (project / "tests/mini/mini.yaml").read_text()
    assert old in text
    (tmp_path / "wrong.yaml").write_text(text.replace(old, new, 1))
    output = snakemake(project, "-n", "--configfile", str(tmp_path / "wrong.yaml"), ok=False)
    assert message in output and "Traceback" not in output


def test_missing_weights_say_where_to_put_them(project, photographs, tmp_path):
    config = f"""
study: lacking
results: {tmp_path}/results
device: cpu
backbones: [augreg/tiny/r0]
weights: {{cache: {tmp_path}/cache, download: false}}
analyse: [mine]
datasets:
  mine: {{type: imagefolder, path: "{photographs}", labels: folders, images: all, seed: 0}}
"""
    (tmp_path / "study.yaml").write_text(config)
    output = snakemake(
        project, "--profile", "profiles/local", "--configfile", str(tmp_path / "study.yaml"),
        "--", "claim1", ok=False,
    )  # fmt: skip
    assert f"{tmp_path}/cache/vit_tiny_patch16_224.augreg_in21k_ft_in1k.safetensors" in output
    assert "download is false" in output
    assert "TypeError" not in output and "onerror" not in output
