"""Figures and reports of a whole small study, there and from packed files."""

import json
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile

import pytest
from projects import (
    MINI,
    PLANTED,
    RESULTS,
    copy_project,
    light,
    planned,
    snakemake,
    table,
    value,
)

from tokenscope.tables.formatting import as_text


def test_every_figure_is_there_in_all_formats(study):
    figures = study / RESULTS / "figures" / "scenes"
    drawn = sorted(p.relative_to(figures).with_suffix("") for p in figures.rglob("*.png"))
    for kind in ("pdf", "svg"):
        files = sorted(p.relative_to(figures).with_suffix("") for p in figures.rglob(f"*.{kind}"))
        assert drawn == files
    kinds = {path.parts[0] for path in drawn}
    assert kinds >= {
        "fig1_features", "fig2_attention_features", "fig3_cosine", "fig3_ratio", "fig4_norms",
        "fig5_attention_registers", "fig6_qkv", "fig7_blocks", "attention", "features", "cosine",
        "high_resolution", "qkv", "register_maps", "norms", "norms_by_block", "blocks",
        "outliers_by_depth", "outlier_places", "registers",
        "table4_gains", "table5_gains", "testtime_maps", "testtime_neurons", "testtime_norms",
        "testtime_number",
        "training_norms", "training_registers", "training_curves", "register_norms", "emergence",
    }  # fmt: skip


def test_report_of_the_study(study):
    """All planned entries are there, and the numbers are those of the tables."""
    page = (study / RESULTS / "report/index.html").read_text()
    assert len(page) < 15e6 and "Complete: all" in page and "The phantoms passed." in page
    assert "Not drawn yet" not in page and "are there; missing:" not in page
    for link in ("Table 1: position", "Table 2: pixels", "Table 3: class", "../diagnosis.html"):
        assert page.count(f">{link}<") + page.count(f'"{link}"') == 1
    verdict = dict(re.findall(r'<tr data-criterion="([^"]+)" data-verdict="([^"]+)"', page))
    assert verdict["controls"] == "supported"
    # ViTs trained here for a minute say nothing about the papers; phantoms give known answers.
    assert not {"supported", "contradicted"} & {
        v for k, v in verdict.items() if not k.startswith("controls")
    }
    verdicts = table(study, "verdicts")
    lines = verdicts[verdicts["backbone"].isna()]
    phantoms = lines[lines["scope"] == "phantom"].set_index("statement")["answer"]
    assert phantoms["registers-testtime"] in ("supported", "cannot tell")
    assert "contradicted" not in set(phantoms) and "data-phantom" in page
    planted = value(
        table(study, "claim1").query("registers == 'r0-content-10x'"),
        group="last_block", metric="share_norm_over_3x_median",
    )  # fmt: skip
    shown = as_text(planted["value"], "percent")
    assert f'data-value="{planted["value"]:.7g}">{shown}</td>' in page
    for number, section in zip(range(1, 6), (*["claim4"] * 3, *["claim5"] * 2), strict=True):
        tex = f"tables/table{number}.tex"
        assert (study / RESULTS / tex).read_text().count(r"\midrule") == 1
        assert f'href="../{tex}"' in page[page.index(f'<section id="{section}"') :]
    data = study / RESULTS / f"figures/data/explorer/scenes/{PLANTED}.json"
    explorer = json.loads(data.read_text())
    block = explorer["blocks"][-1]
    above = block["above"][explorer["steps"] - block["first"]]
    assert 100 * above / explorer["tokens"] == pytest.approx(planted["value"], rel=1e-6)


def test_every_item_of_the_sources_leads_to_a_file_that_is_there(study):
    items = table(study, "coverage").fillna("")
    assert len(items) > 70 and set(items["source"]) >= {"reassessment-2025", "darcet-2024"}
    for item in items.to_dict("records"):
        files = item["files"].split()
        assert all((study / RESULTS / name).exists() for name in files), item
        assert files or item["note"], item
    page = (study / RESULTS / "report/index.html").read_text()
    assert page.count("data-item=") == len(items) and "(not there yet)" not in page


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
    for words in ("Claim 3: outliers sit where", "Cosine similarity to neighbours", "claim3.csv"):
        assert words in text


def test_every_table_and_figure_says_what_it_rests_on(study):
    """Pages and figures in themselves; a CSV by its backbones, whose weights a table names."""
    tables = study / RESULTS / "tables"
    said_by = {
        page: " ".join(page.read_text().partition("## What this rests on")[2].split())
        for page in tables.glob("*.md")
    }
    assert len(said_by) > 15
    for page in tables.glob("table*.tex"):
        comments = re.findall(r"^% (.*)", page.read_text(), re.M)
        said_by[page] = " ".join(comments[1:])  # after what table it is
    for page, said in said_by.items():
        by = r"Measured by (no recorded )?commit|Nothing is measured here: made by (commit|version)"
        assert re.match(by, said), page
        assert "config mini.yaml sha256:" in said and "weights" in said, page
    for figure in (study / RESULTS / "figures").rglob("*.svg"):
        said = figure.read_text()
        assert "drawn by" in said and "config mini.yaml sha256:" in said, figure
        [named] = set(re.findall(r"they were measured: (tables/\w+\.csv) of the study", said))
        assert (study / RESULTS / named).is_file(), figure


def test_figures_and_report_from_packed_files(study, tmp_path):
    """Tables and figures' data alone give back every figure, bit by bit, and start nothing else.

    In the light environment: nothing that draws imports torch.
    """
    pack = subprocess.run(
        [sys.executable, "workflow_scripts/pack.py", "tests/mini/mini.yaml"],
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
    one = [*local, "--configfile", "tests/mini/mini.yaml", "--config", "figure=fig3_cosine"]
    env = light(tmp_path / "light")
    snakemake(laptop, *one, "--", "figure", env=env)
    drawn = [p.name for p in (laptop / RESULTS / "figures").rglob("*.png")]
    assert sorted(drawn) == ["cosine.png", "fig3_cosine.png", "fig3_ratio.png"]  # of one rule
    every = [*one[:-1], "figure=/", "--", "figure"]
    snakemake(laptop, *every, env=env)
    files = (study / RESULTS / "figures").rglob("*.*g")  # png and svg
    for file in files:
        assert (laptop / file.relative_to(study)).read_bytes() == file.read_bytes(), file
    jobs = planned(snakemake(laptop, "-n", *every))
    assert jobs == {}
    # A change of style draws figures anew, and nothing else.
    style = laptop / "workflow_scripts/tokenscope/figures/style.py"
    style.write_text(style.read_text().replace('"font.size": 7', '"font.size": 8'))
    jobs = planned(snakemake(laptop, "-n", *every))
    assert {"fig_pairs"} == {"figure", *rules} - set(jobs)  # none here has a twin without registers
    # The report of what there is: without measurements of one claim it says so.
    (laptop / RESULTS / "tables/claim3.csv").unlink()
    partial = ["--allowed-rules", "report", "--configfile", "tests/mini/mini.yaml"]
    snakemake(laptop, "--profile", "profiles/local", *partial, "--config", "partial=True", "--",
              "report", env=env)  # fmt: skip
    page = (laptop / RESULTS / "report/index.html").read_text()
    assert "<b>Partial results:</b>" in page and "0 of 7 are there" in page
