"""What a whole small study finds: numbers that are known, stores and tables as promised."""

import json
import re
import shutil

import pandas as pd
import pytest
import xarray as xr
import yaml
from projects import MINI, PLANTED, RESULTS, planned, snakemake, table, value


def test_controls_give_back_what_was_planted(study):
    controls = table(study, "controls")
    for registers, block in (("r0-content-10x", 4), ("r0-clean", None)):
        rows = controls[controls["registers"] == registers]
        assert value(rows, group="verdict", metric="passed")["value"] == 1
        assert value(rows, group="difference", metric="tokens")["value"] == 0
        planted = value(rows, group="planted", metric="share")
        measured = value(rows, group="measured", metric="share")
        assert measured["low"] <= planted["value"] <= measured["high"]
        onset = value(rows, group="measured", metric="onset_block")["value"]
        assert onset == block if block else pd.isna(onset)
    assert planted["value"] == 0 == measured["high"]


def test_diagnosis_of_the_controls(study):
    """Planted: content, from the planted block. Clean: none. One page that needs no other file."""
    sentences = {}
    for name in ("r0-content-10x", "r0-clean"):
        file = study / RESULTS / "figures/data/diagnosis/scenes/control/tiny" / f"{name}.json"
        sentences[name] = json.loads(file.read_text())["sentence"]
    assert sentences["r0-content-10x"].startswith(
        "has artifacts: yes; content, not position: where neighbouring patches are alike; "
        "from block 4;"
    )
    assert sentences["r0-clean"].startswith("has artifacts: no")
    page = (study / RESULTS / "diagnosis.html").read_text()
    assert "They follow what the image shows, not the position: where neighbouring" in page
    assert sentences["r0-clean"].removeprefix("has artifacts: no: ") in page
    # It needs nothing beside itself, and leads to its own parts and to the report.
    assert not re.findall(r'src="(?!data:)|href="(?!data:|#|report/index.html)', page)
    rows = table(study, "diagnosis")
    pair = value(rows, group="second-first", metric="share_last_block")
    planted = value(
        table(study, "controls"), group="planted", metric="share", registers="r0-content-10x"
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
    assert (provenance["images"] == 160).all() and (provenance["images_skipped"] == 0).all()
    assert provenance["weights_sha256"].str.len().eq(64).all()
    page = (study / RESULTS / "tables" / "claim1.md").read_text()
    assert "control/tiny/r0-content-10x (control)" in page and "80px-bicubic-center80" in page
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
    assert seen == {"scenes-bank", "scenes-test"}  # the latter tests the probes of claim 4


def test_discovery_and_dense_tasks(study):
    rows = table(study, "discovery")
    assert set(rows["dataset"]) == {"scenes-boxes"} and set(rows["claim"]) == {"discovery"}
    assert len(rows[rows["metric"] == "corloc"]) >= 9
    rows = table(study, "dense")
    labels = rows[rows["dataset"] == "scenes-labels"]
    measured = value(labels, group="linear-constant", metric="miou")
    assert measured["low"] > 0
    assert value(labels, group="linear", metric="features_cached")["value"] == 1
    assert {"rmse", "abs_rel", "delta1"} <= set(rows[rows["dataset"] == "scenes-depth"]["metric"])
    rough = rows["metric"].str.fullmatch("roughness_(tokens|directions|norms)")
    assert rough.sum() == 3 * len(table(study, "backbones"))
    for figure in ("scenes-boxes/discovery/embedded/tiny", "scenes-labels/dense/embedded"):
        assert (study / RESULTS / "figures" / f"{figure}.png").exists()


def test_registers_at_test_time_take_the_planted_outliers(study):
    search = json.loads(
        (study / RESULTS / "measures/neurons/scenes" / f"{PLANTED}.json").read_text()
    )
    planted = json.loads((study / RESULTS / "backbones" / PLANTED / "card.json").read_text())
    where = planted["planted"]
    assert search["neurons"] == [[where["block"], where["neuron"]]] and search["overlap"] == 1
    rows = table(study, "registers")
    metric = "share_norm_over_3x_median"
    before = value(rows, registers="r0-content-10x", group="last_block", metric=metric)["value"]
    assert before > 1
    # Over the images that the search did not see.
    for kind, name, expected in (
        ("testtime", metric, 0), ("zeroed", metric, 0), ("random", f"{metric}_minus_r0", 0),
    ):  # fmt: skip
        after = value(rows, registers=f"r1-content-10x-{kind}", group="last_block", metric=name)
        assert after["value"] == pytest.approx(expected, abs=0.2) and after["n"] == 80
    # At another size, where nothing was searched, the same neuron writes them.
    moved = {how: value(rows, registers="r1-content-10x-testtime",
                        group=f"{how}-at_120_pixels", metric="transfer_share")["value"]
             for how in ("before", "testtime", "random")}  # fmt: skip
    assert search["transfer"]["size"] == 120 and moved["testtime"] < 0.2
    assert moved["before"] > 1 and moved["random"] == pytest.approx(moved["before"], abs=0.2)


def test_stores_explain_themselves(study):
    tree = xr.open_datatree(study / RESULTS / "tokens.zarr", engine="zarr", chunks=None)
    data = tree["scenes/embedded/tiny/r1-scratch/0000"].to_dataset()
    assert dict(data.sizes)["image"] == 160
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
    config = copy / "tests/mini/mini.yaml"
    text = config.read_text().replace("seed: 2}", "seed: 2, shard_images: 20}")
    config.write_text(text + "max_decoded_gb: 0\n")
    tables = ("claim1", "claim2", "claim3", "controls")
    before = {name: (copy / RESULTS / "tables" / f"{name}.csv").read_bytes() for name in tables}
    targets = [str(RESULTS / "tables" / f"{name}.csv") for name in tables]
    jobs = planned(snakemake(copy, "--profile", "profiles/local", *MINI, *targets))
    assert jobs["extract"] > 6 and "decode" not in jobs and "train" not in jobs
    for name in tables:
        assert (copy / RESULTS / "tables" / f"{name}.csv").read_bytes() == before[name]


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
    assert last["bimodality_separation"] > 5
    judged = claim1[claim1["group"] == "artifacts"].set_index("metric")["value"]
    assert judged["has_artifacts"] == 1 and judged["block"] == 12 and judged["onset_block"] == 8
    assert judged["share"] == pytest.approx(2.0, abs=0.1)
    assert judged["ratio"] == pytest.approx(25, abs=3)
    attached = read["claim1"][read["claim1"]["registers"] == "r1-testtime"]
    assert value(attached, group="artifacts", metric="has_artifacts")["value"] == 0
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
