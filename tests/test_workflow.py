"""The workflow as a user runs it: a whole small study, then what reruns after which change."""

import json
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pandas as pd
import pytest
import xarray as xr
import yaml

ROOT = Path(__file__).parents[1]
MINI = ["--configfile", "tests/study/mini.yaml", "--"]
RESULTS = Path("results/mini")


def copy_project(folder):
    """The project's files, without what it produced."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    for name in listed.stdout.splitlines():
        source = ROOT / name
        if source.is_symlink() or source.is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, folder / name, follow_symlinks=False)
    return folder


def snakemake(folder, *arguments, ok=True):
    """Run Snakemake in a copy of the project; returns all it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", *arguments], cwd=folder, capture_output=True, text=True
    )
    output = done.stdout + done.stderr
    assert (done.returncode == 0) == ok, output[-4000:]
    return output


def planned(output):
    """Jobs by rule in a dry run."""
    if "Nothing to be done" in output:
        return {}
    table = output.split("Job stats:")[1].split("total")[0]
    return {m[1]: int(m[2]) for m in re.finditer(r"^(\w+) +(\d+)$", table, re.M)}


PLANTED = "control/tiny/r0-planted"


@pytest.fixture(scope="session")
def project(tmp_path_factory):
    return copy_project(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="session")
def study(project):
    """A finished mini study."""
    snakemake(project, "--profile", "profiles/local", *MINI, "all")
    return project


@pytest.fixture
def edited(study):
    """Edit a file of the finished study for one test."""
    before = {}

    def edit(name, old, new):
        file = study / name
        before.setdefault(file, file.read_text())
        assert old in file.read_text()
        file.write_text(file.read_text().replace(old, new, 1))

    yield edit
    for file, text in before.items():
        file.write_text(text)


def table(study, name):
    return pd.read_csv(study / RESULTS / "tables" / f"{name}.csv")


def value(rows, **where):
    for column, wanted in where.items():
        rows = rows[rows[column] == wanted]
    assert len(rows) == 1, rows
    return rows.iloc[0]


def test_controls_give_back_what_was_planted(study):
    controls = table(study, "controls")
    for registers, block in (("r0-planted", 4), ("r0-clean", None)):
        rows = controls[controls["registers"] == registers]
        assert value(rows, group="verdict", metric="passed")["value"] == 1
        assert value(rows, group="difference", metric="tokens")["value"] == 0
        planted = value(rows, group="planted", metric="share")
        found = value(rows, group="measured", metric="share")
        assert found["low"] <= planted["value"] <= found["high"]
        onset = value(rows, group="measured", metric="onset_block")["value"]
        assert onset == block if block else pd.isna(onset)
    assert planted["value"] == 0 == found["high"]


def test_diagnosis_of_the_controls(study):
    """Planted: content, from the planted block. Clean: none. One page that needs no other file."""
    said = {}
    for name in ("r0-planted", "r0-clean"):
        file = study / RESULTS / "figures/data/diagnosis/scenes/control/tiny" / f"{name}.json"
        said[name] = json.loads(file.read_text())["sentence"]
    assert said["r0-planted"].startswith(
        "has artifacts: yes; content, not position: where neighbouring patches are alike; "
        "from block 4;"
    )
    assert said["r0-clean"].startswith("has artifacts: no")
    page = (study / RESULTS / "diagnosis.html").read_text()
    assert all(sentence in page for sentence in said.values())
    assert not re.findall(r'(?:src|href)="(?!data:)', page)
    rows = table(study, "diagnosis")
    pair = value(rows, group="second-first", metric="share_last_block")
    planted = value(
        table(study, "controls"), group="planted", metric="share", registers="r0-planted"
    )
    assert pair["value"] == pytest.approx(-planted["value"], rel=1e-4)
    assert pair["low"] <= pair["value"] <= pair["high"] < 0


def test_tables_are_tidy_and_complete(study):
    columns = [
        "family",
        "size",
        "registers",
        "kind",
        "dataset",
        "claim",
        "group",
        "metric",
        "value",
        "low",
        "high",
        "n",
        "seed",
        "unit",
    ]
    for claim in ("claim1", "claim2", "claim3", "controls", "claim4", "sensitivity", "claim5"):
        rows = table(study, claim)
        assert rows.columns.tolist() == columns and len(rows)
        inside = rows.dropna(subset=["low", "high"])
        assert (inside["low"] <= inside["value"] + 1e-6).all()
        assert (inside["value"] <= inside["high"] + 1e-6).all()
    provenance = table(study, "backbones")
    assert (provenance["images"] == 60).all() and (provenance["images_skipped"] == 0).all()
    assert provenance["weights_sha256"].str.len().eq(64).all()
    page = (study / RESULTS / "tables" / "claim1.md").read_text()
    assert "control/tiny/r0-planted (control)" in page and "80px-bicubic-center80" in page
    page = (study / RESULTS / "tables" / "claim4.md").read_text()
    assert all(f"## Table {name}" in page for name in ("1: position", "2: pixels", "3: class"))


def test_heads_of_claim5(study):
    """Retrained heads on the features of one pass, compared on the same images."""
    rows = table(study, "claim5").query("family == 'embedded'")
    sets = {"cls", "patch_mean", "registers", "cls+patch_mean", "cls+patch_mean+registers"}
    for group in {*sets, "knn_cls", "own_head"}:
        assert 0 <= value(rows, group=group, metric="top1")["value"] <= 100
    assert value(rows, group="training", metric="images")["value"] == 160
    gain = value(rows, group="cls+patch_mean+registers", metric="top1_gain_over_cls+patch_mean")
    first = value(rows, group="cls+patch_mean", metric="top1")["value"]
    second = value(rows, group="cls+patch_mean+registers", metric="top1")["value"]
    assert gain["value"] == pytest.approx(second - first, abs=1e-4)
    assert "## Do registers help?" in (study / RESULTS / "tables" / "claim5.md").read_text()
    # The test images were seen by claims 1 to 3: nothing is computed a second time.
    seen = {p.name for p in (study / RESULTS / "features.zarr").iterdir() if p.is_dir()}
    assert seen == {"scenes-bank"}


def test_discovery_and_dense_tasks(study):
    rows = table(study, "discovery")
    assert set(rows["dataset"]) == {"scenes-boxes"} and set(rows["claim"]) == {"discovery"}
    assert len(rows[rows["metric"] == "corloc"]) >= 9
    rows = table(study, "dense")
    labels = rows[rows["dataset"] == "scenes-labels"]
    found = value(labels, group="linear-constant", metric="miou")
    assert found["low"] > 0
    assert value(labels, group="linear", metric="features_cached")["value"] == 1
    assert {"rmse", "abs_rel", "delta1"} <= set(rows[rows["dataset"] == "scenes-depth"]["metric"])
    rough = rows["metric"].str.fullmatch("roughness_(tokens|directions|norms)")
    assert rough.sum() == 3 * len(table(study, "backbones"))
    for figure in ("scenes-boxes/discovery/embedded/tiny", "scenes-labels/dense/embedded"):
        assert (study / RESULTS / "figures" / f"{figure}.png").exists()


def test_stores_explain_themselves(study):
    tree = xr.open_datatree(study / RESULTS / "tokens.zarr", engine="zarr", chunks=None)
    data = tree["scenes/embedded/tiny/r1-scratch/0000"].to_dataset()
    assert dict(data.sizes)["image"] == 60
    assert data["tokens"].dims == ("image", "token", "feature")
    assert data["token_kind"].values[:3].tolist() == ["cls", "reg0", "patch"]
    assert data["query"].values.tolist() == ["cls", "reg0"]
    assert data["block"].values.tolist() == [1, 2, 3, 4, 5, 6]
    last = data["tokens"].astype("float32").values
    norms = (last**2).sum(-1) ** 0.5
    assert abs(norms / data["norms"].values[:, -1] - 1).max() < 2e-3  # float16 against float32
    assert data.attrs["weights_sha256"] and data.attrs["versions"]["timm"]
    assert not list((study / RESULTS / "partial").rglob("group"))


def test_streams_and_shards_give_the_same_tables(study, tmp_path):
    """Cut into jobs, and decoded on the way instead of once: not a digit changes."""
    copy = tmp_path / "copy"
    shutil.copytree(study, copy, symlinks=True)
    config = copy / "tests/study/mini.yaml"
    text = config.read_text().replace("seed: 2}", "seed: 2, shard_images: 20}")
    config.write_text(text + "max_decoded_gb: 0\n")
    tables = ("claim1", "claim2", "claim3", "controls")
    before = {name: (copy / RESULTS / "tables" / f"{name}.csv").read_bytes() for name in tables}
    targets = [str(RESULTS / "tables" / f"{name}.csv") for name in tables]
    jobs = planned(snakemake(copy, "--profile", "profiles/local", *MINI, *targets))
    assert jobs["extract"] > 6 and "decode" not in jobs and "train" not in jobs
    for name in tables:
        assert (copy / RESULTS / "tables" / f"{name}.csv").read_bytes() == before[name]


def test_every_figure_is_there_in_all_formats(study):
    figures = study / RESULTS / "figures" / "scenes"
    drawn = sorted(p.relative_to(figures).with_suffix("") for p in figures.rglob("*.png"))
    for kind in ("pdf", "svg"):
        found = sorted(p.relative_to(figures).with_suffix("") for p in figures.rglob(f"*.{kind}"))
        assert drawn == found
    kinds = {path.parts[0] for path in drawn}
    assert kinds >= {
        "fig1_attention", "fig2_features", "fig3_cosine", "fig3_ratio", "fig4_norms", "fig6_qkv",
        "fig5_high_resolution", "fig7_blocks", "outliers_by_depth", "outlier_places", "registers",
        "table4_gains", "table5_gains", "testtime_maps", "testtime_neurons", "testtime_norms",
        "training_norms", "training_registers", "training_curves", "register_norms", "emergence",
    }  # fmt: skip


def test_registers_at_test_time_take_the_planted_outliers(study):
    found = json.loads(
        (study / RESULTS / "measures/neurons/scenes" / f"{PLANTED}.json").read_text()
    )
    planted = json.loads((study / RESULTS / "backbones" / PLANTED / "card.json").read_text())
    where = planted["planted"]
    assert found["neurons"] == [[where["block"], where["neuron"]]] and found["overlap"] == 1
    rows = table(study, "registers")
    metric = "share_norm_over_3x_median"
    before = value(rows, registers="r0-planted", group="last_block", metric=metric)["value"]
    assert before > 1
    for kind, expected in (("testtime", 0.0), ("random", before)):
        after = value(rows, registers=f"r1-planted-{kind}", group="last_block", metric=metric)
        assert after["value"] == pytest.approx(expected, abs=0.2)


def test_finished_study_has_nothing_to_do(study):
    assert planned(snakemake(study, "-n", *MINI, "all")) == {}


def test_every_job_of_the_study_is_accounted_for(study):
    rows = table(study, "accounting")
    stats = planned(snakemake(study, "-n", "--forceall", *MINI, "all"))
    rules = rows["rule"].value_counts().to_dict()
    # Figures and their data may be made afterwards.
    late = re.compile(
        "accounting|all|fig_.*|.*_curves|discovery_(maps|settings)|report|explorer|diagnosis.*"
    )
    known, expected = (
        {rule: n for rule, n in counts.items() if not late.fullmatch(rule)}
        for counts in (rules, stats)
    )
    assert known == expected
    assert (rows["work"] == "new").all() and (rows["state"] == "finished").all()
    assert (rows["kwh"] > 0).all() and rows["cpu_method"].str.len().gt(0).all()
    assert rows["forecast_seconds"].notna().all() and (rows["gpu_hours"] == 0).all()
    extract = rows[rows["rule"] == "extract"]
    assert (extract["images"] == 60).all() and set(extract["registers"]) >= {"r0-planted"}
    paper = table(study, "carbon_paper").set_index("quantity")["value"]
    assert round(paper["co2"], 2) == 55.39 and paper["co2_printed"] == 29.94


def test_a_forced_run_is_forecast_from_the_first(study):
    """What the finished study took calibrates the forecast; asking for it reruns nothing."""
    config = ["--config", "forecast=full", "--configfile", "tests/study/mini.yaml", "--", "all"]
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
    edited("workflow_scripts/tokenscope/plots.py", "#D55E00", "#D55E01")
    jobs = planned(snakemake(study, "-n", *MINI, "all"))
    every = planned(snakemake(study, "-n", "--forceall", *MINI, "all"))
    figures = {name for name in every if name.startswith("fig_")}
    assert {"fig_maps", "fig_norms", "fig_dense"} <= figures <= set(jobs)
    assert set(jobs) - figures <= {"all", "report", "diagnosis_page"}


def test_a_rule_of_outliers_reruns_measures_not_extraction(study, edited):
    edited("workflow_scripts/tokenscope/outliers.py", "BINS = 2048", "BINS = 4096")
    jobs = planned(snakemake(study, "-n", *MINI, "all"))
    assert {"norms", "redundancy", "gather"} <= set(jobs)
    assert not {"train", "decode", "render"} & set(jobs)
    # Neurons are chosen by the outliers they write: their backbone alone is extracted again.
    assert jobs["extract"] == jobs["gallery"] == jobs["attach"] == 2


def test_a_parameter_reruns_what_depends_on_it(study, edited):
    edited("tests/study/mini.yaml", "gallery:", "redundancy: {similarities: [0.7]}\ngallery:")
    jobs = planned(snakemake(study, "-n", *MINI, "all"))
    accounts = {"accounting", "fig_energy", "all", "report", "diagnosis", "diagnosis_page"}
    assert set(jobs) <= {"redundancy", "cosine_curves", "gather", "fig_cosine"} | accounts
    assert jobs["redundancy"] == len(table(study, "backbones"))


def test_comments_rerun_nothing(study, edited):
    edited("workflow_scripts/tokenscope/taps.py", "import torch\n", "# a remark\nimport torch\n")
    assert planned(snakemake(study, "-n", *MINI, "all")) == {}


def test_one_figure_alone(study):
    figure = RESULTS / "figures" / "scenes" / "fig6_qkv" / "control.png"
    before = (study / figure).read_bytes()
    (study / figure).unlink()
    output = snakemake(study, "--profile", "profiles/local", *MINI, str(figure))
    assert planned(output) == {"fig_qkv": 1}
    assert (study / figure).read_bytes() == before


def test_paper_study_plans_without_slurm_data_or_weights(project):
    jobs = planned(snakemake(project, "--profile", "slurm", "-n"))
    backbones = len(pd.read_csv(project / "config" / "backbones.csv").query("recipe.isna()"))
    assert jobs["obtain"] == backbones and jobs["attach"] == 3 * jobs["neurons"] > 0
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
        ("scenes-train: {", "scenes-trial: {", "add it to datasets"),
        ("images: 60", "images: 0", "images"),
        ("study: mini", "study: mini\ncarbon: {intensity: -0.1}", "-0.1"),
        ("study: mini", "study: mini\ncarbon: {pue: 0.9}", "0.9"),
        ("study: mini", "study: mini\ncarbon: {site: atlantis}", "only: snellius"),
    ],
)
def test_mistakes_in_the_config_are_said_in_a_sentence(project, tmp_path, old, new, message):
    text = (project / "tests/study/mini.yaml").read_text()
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


def test_real_backbone_on_real_photographs(project, real_data):
    """The pretrained ViT whose outliers are known: where, from which block, how many."""
    example = (project / "config" / "example-photographs.yaml").read_text()
    config = yaml.safe_load(example.replace("../shared", str(real_data)))
    config["datasets"]["photographs"]["images"] = 200
    config["heads"]["backbones"] = config["backbones"]
    config["testtime"] |= {"registers": [1], "images": 64}
    del config["probes"]
    (project / "real.yaml").write_text(yaml.safe_dump(config))
    names = ("claim1", "claim2", "claim5", "registers")
    tables = [f"results/photographs/tables/{name}.csv" for name in names]
    arguments = ["--profile", "profiles/local", "--configfile", "real.yaml", "--", *tables]
    snakemake(project, *arguments)
    read = {
        name: pd.read_csv(project / file) for name, file in zip(names, tables, strict=True)
    }  # fmt: skip
    claim1, claim2, heads = (t[t["registers"] == "r0"] for t in list(read.values())[:3])
    last = claim1[claim1["group"] == "last_block"].set_index("metric")["value"]
    assert last["norm_median"] == pytest.approx(19, abs=1)
    assert last["share_norm_over_3x_median"] == pytest.approx(2.0, abs=0.3)
    assert last["has_artifacts"] == 1 and last["bimodality_separation"] > 5
    assert value(claim2, group="depth", metric="onset_block")["value"] == 8
    store = project / "results/photographs/tokens.zarr/photographs/augreg/tiny/r0/0000"
    data = xr.open_zarr(store, chunks=None, consolidated=False)
    norms = data["norms"].values[:, -1, 1:].reshape(-1, 14, 14)
    outlier = norms > 3 * last["norm_median"]
    assert norms[outlier].mean() > 200
    corners = outlier[:, [0, 0, 13, 13], [0, 13, 0, 13]].sum()
    assert corners / outlier.sum() > 0.95
    heads = heads.set_index(["group", "metric"])["value"]
    for group in ("own_head", "own_head@resize256"):
        assert heads[group, "top1"] > 75 and heads[group, "top5"] > 93
    after = value(
        read["registers"], registers="r1-testtime", group="last_block",
        metric="share_norm_over_3x_median_minus_r0",
    )  # fmt: skip
    assert after["high"] < -1


def test_report_of_the_study(study):
    """All planned entries are there, and the numbers are those of the tables."""
    page = (study / RESULTS / "report/index.html").read_text()
    assert len(page) < 15e6 and "Complete: all" in page and "The controls passed." in page
    assert "Not drawn yet" not in page and "are there; missing:" not in page
    for said in ("Table 1: position", "Table 2: pixels", "Table 3: class", "../diagnosis.html"):
        assert page.count(f">{said}<") + page.count(f'"{said}"') == 1
    verdict = dict(re.findall(r'<tr data-criterion="([^"]+)" data-verdict="([^"]+)"', page))
    assert verdict["controls"] == verdict["registers-testtime"] == "supported"
    planted = value(
        table(study, "claim1").query("registers == 'r0-planted'"),
        group="last_block", metric="share_norm_over_3x_median",
    )  # fmt: skip
    assert f'data-value="{planted["value"]:.7g}">{planted["value"]:.4g} %</td>' in page
    data = study / RESULTS / f"figures/data/explorer/scenes/{PLANTED}.json"
    explorer = json.loads(data.read_text())
    block = explorer["blocks"][-1]
    above = block["above"][explorer["steps"] - block["first"]]
    assert 100 * above / explorer["tokens"] == pytest.approx(planted["value"], rel=1e-6)


def test_report_of_snakemake_itself(study, tmp_path):
    """It has our figures and tables by section, with captions."""
    files = [
        str(RESULTS / name) for name in ("figures/scenes/fig3_cosine.png", "tables/claim3.csv")
    ]
    archive = tmp_path / "made.zip"
    snakemake(study, *MINI[:-1], "--report", str(archive), "--", *files)
    with zipfile.ZipFile(archive) as content:
        [page] = [name for name in content.namelist() if name.endswith(".html")]
        text = content.read(page).decode()
    for said in ("Claim 3: outliers sit where", "Cosine similarity to neighbours", "claim3.csv"):
        assert said in text


def test_figures_and_report_from_packed_files(study, tmp_path):
    """Tables and figures' data alone give back every figure, bit by bit, and start nothing else."""
    pack = subprocess.run(
        [sys.executable, "workflow_scripts/pack.py", "tests/study/mini.yaml"],
        cwd=study, capture_output=True, text=True, env={"PYTHONPATH": "workflow_scripts"},
    )  # fmt: skip
    assert pack.returncode == 0 and "mini.tar.gz" in pack.stdout, pack.stderr
    laptop = copy_project(tmp_path)
    with tarfile.open(study / RESULTS / "mini.tar.gz") as tar:
        tar.extractall(laptop, filter="data")
    shutil.copytree(study / ".snakemake/metadata", laptop / ".snakemake/metadata")
    rules = sorted(set(re.findall(r"^rule (fig_\w+):", "\n".join(
        file.read_text() for file in (laptop / "rules").glob("*.smk")), re.M)))  # fmt: skip
    local = ["--profile", "profiles/local", "--allowed-rules", "figure", *rules]
    one = [*local, "--configfile", "tests/study/mini.yaml", "--config", "figure=fig3_cosine"]
    snakemake(laptop, *one, "--", "figure")
    drawn = [p.name for p in (laptop / RESULTS / "figures").rglob("*.png")]
    assert sorted(drawn) == ["fig3_cosine.png", "fig3_ratio.png"]  # of one rule
    every = [*one[:-1], "figure=/", "--", "figure"]
    snakemake(laptop, *every)
    files = (study / RESULTS / "figures").rglob("*.*g")  # png and svg
    for file in files:
        assert (laptop / file.relative_to(study)).read_bytes() == file.read_bytes(), file
    jobs = planned(snakemake(laptop, "-n", *every))
    assert jobs == {}
    # A change of style draws figures anew, and nothing else.
    style = laptop / "workflow_scripts/tokenscope/plots.py"
    style.write_text(style.read_text().replace('"font.size": 8', '"font.size": 9'))
    jobs = planned(snakemake(laptop, "-n", *every))
    assert set(jobs) == {"figure", *rules}
    # The report of what there is: without measurements of one claim it says so.
    (laptop / RESULTS / "tables/claim3.csv").unlink()
    partial = ["--allowed-rules", "report", "--configfile", "tests/study/mini.yaml"]
    snakemake(laptop, "--profile", "profiles/local", *partial, "--config", "partial=True", "--",
              "report")  # fmt: skip
    page = (laptop / RESULTS / "report/index.html").read_text()
    assert "<b>Partial results:</b>" in page and "0 of 6 are there" in page
