"""A small report without a study: tables, norms and names made up here, for the tests of pages."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from report import report
from tokens import explorer

from tokenscope.figures import style
from tokenscope.norms.exceedance import tails as ladders
from tokenscope.report.contents import sections
from tokenscope.stores.receipts import write_receipt
from tokenscope.tables import by_kind, tidy

ROOT = Path(__file__).parents[2]
EVIL = "<script>window.hacked = 1;<"  # a name that would run if it were not escaped
KEYS = ["embedded/tiny/r0-scratch", "embedded/tiny/r4-scratch", "dinov2/small/r0"]
PROBED = "dinov2/giant/r0"
TIMES = 3


def who(key, dataset="scenes"):
    family, size, registers = key.split("/")
    kind = {"r0": "none"}.get(registers, registers.partition("-")[2])
    names = {"family": family, "size": size, "registers": registers}
    return {**names, "kind": kind, "dataset": dataset}


def norms(seed, share):
    """(image, block, patch) norms, a share of them far out from the second block on."""
    rng = np.random.default_rng(seed)
    values = np.exp(rng.normal(2, 0.2, (40, 3, 16)))
    values[:, 1:] *= np.where(rng.random((40, 2, 16)) < share, 6, 1)
    return values.astype(np.float32)


def make(folder: Path) -> dict:
    """Write ``results/report/index.html`` below ``folder``; what it was made of, by name."""
    root = folder / "results"
    (root / "tables").mkdir(parents=True)
    data = {key: norms(i, 0.05 if i == 0 else 0.0) for i, key in enumerate(KEYS[:2])}
    _tables(root / "tables", data)
    explorers = [_explorer(root, key, values) for key, values in data.items()]
    _figures(root)
    (root / "diagnosis.html").write_text("a page of its own")
    write_receipt(
        root / "scenes.json",
        listed=3,
        images=2,
        seed=0,
        root="x",
        skipped=[{"image_id": f"{EVIL}.png", "problem": "damaged <b>file</b>"}],
    )
    planned = [("scenes", key) for key in KEYS]
    plan = {"claim1": [planned, []], "claim2": [planned[:2], []]}
    plan["claim4"] = [[("bank", PROBED)], [], "bank"]
    plan["controls"] = [[("scenes", "control/tiny/r0-content-10x")], []]
    ours = ROOT / "config"
    named = {"sections": str(ours / "report.yaml"), "verdicts": str(ours / "verdicts.yaml")}
    statistics = {"confidence": 0.95, "resamples": 1000, "seed": 0}
    config = {"study": EVIL, "report": named, "statistics": statistics}
    tables = {"csv": root / "tables/verdicts.csv", "text": root / "tables/verdicts.md"}
    tables |= {"published": root / "tables/published.csv"}
    tables |= {"published_text": root / "tables/published.md"}
    facts = {"params": dict.fromkeys([*KEYS, PROBED], 1.0), "heads": {"claim4": 3}}
    facts["images_seen"] = dict.fromkeys(KEYS[:2], 10_000.0)
    files = {section["id"]: [] for section in sections(named["sections"])}
    files["claim1"] = [("scenes/fig4_norms", "Norms.", 0), ("scenes/none", "Not drawn.", 0)]
    files["claim2"] = [("scenes/large", "Too large.", 0), ("scenes/empty", "Sinks.", 0)]
    files["claim2"] += [("scenes/norms_by_block", "By block.", 0)]
    output = root / "report/index.html"
    report.main(
        str(root), config, plan, facts, 0.05, ours / "published.csv", files, explorers,
        [root / "scenes.json"], ROOT / "workflow_scripts/templates", output, tables, "0d", "0a",
        ours / "kinds_calibration.csv", "0d", {"scenes/norms_by_block": KEYS[1:2]},
    )  # fmt: skip
    return {"page": output, "norms": data, "root": root}


def _tables(folder, data):
    tables = {"claim1": [], "claim2": []}
    for key, values in data.items():
        share = 100 * float((values[:, -1] > TIMES * np.median(values[:, -1])).mean())
        rows = tidy.TidyRows(who(key), len(values), 0)
        metric = f"share_norm_over_{TIMES}x_median"
        rows.add("claim1", "last_block", metric, share, share / 2, share * 2, "percent")
        rows.add("claim1", "last_block", "norm_median", 12345.678, 1 / 3, 2e9)
        rows.add("claim1", "artifacts", "has_artifacts", float(share > 0), unit="verdict")
        rows.refuse("claim1", "outlier", "position_entropy", "too few tokens", 3)
        tables["claim1"].append(rows.frame())
        depth = tidy.TidyRows(who(key), len(values), 0)
        onset = (2, 2, 3) if share else (None, None, None)
        depth.add("claim2", "depth", "onset_block", *onset, "block, from 1")
        for block in (1, 2, 3):
            depth.add("claim2", f"block{block:02d}", "norm_median", 1.0)
        tables["claim2"].append(depth.frame())
    probed = tidy.TidyRows(who(PROBED, "bank"), 50, 0)
    for group, value in (("normal", 40.0), ("outlier", 20.0), ("outlier-normal", -20.0)):
        probed.add("claim4", group, "position_top1", value, value - 1, value + 1, "percent")
    probed.add("claim4", "outlier-normal_same_places", "position_top1_over_prior", -9, -10, -8)
    probed.add("claim4", "outlier: commonest place", "position_top1", 19.0, unit="percent")
    for group, answer in (("normal", 0), ("outlier", 1)):
        probed.add("claim4", group, "position_confounded", answer, unit="verdict")
    tables["claim4"] = [probed.frame()]
    for name, frames in tables.items():
        tidy.write(pd.concat(frames), folder / f"{name}.csv")
    columns = ["source", "item", "shows", "answer", "files", "section", "note"]
    answers = {"here": "tables/claim1.csv", "here, of others": "tables/claim2.csv", "not here": ""}
    rows = [
        ["reassessment-2025", f"Figure {number}", "norms", answer, file, "claim1", ""]
        for number, (answer, file) in enumerate(answers.items(), 1)
    ]
    pd.DataFrame([*rows, rows[1]], columns=columns).to_csv(folder / "coverage.csv", index=False)
    kinds = [["large", "share", "0", ""], ["small", "share", "2", "1.5"], ["large", "top", "0", ""]]
    table = pd.DataFrame(kinds, columns=by_kind.COLUMNS[:4]).reindex(columns=by_kind.COLUMNS)
    table.to_csv(folder / "by_kind.csv", index=False)
    weights = {"weights_sha256": "f" * 64, "config": "demo.yaml sha256:1", "torch": "2.0"}
    for name, commit in (("backbones", "abc; abd"), ("bank", "bcd")):
        measured = [{**weights, "host": "node7", "commit": commit}]
        pd.DataFrame(measured).to_csv(folder / f"{name}.csv", index=False)


def _explorer(root, key, values):
    facts = ladders(values, TIMES)
    tails, maps = root / "tails.json", root / "maps.nc"
    tails.write_text(json.dumps(facts))
    pixels = np.random.default_rng(0).integers(0, 255, (2, 32, 32, 3)).astype(np.int16)
    names = f"{EVIL}.png\n000002.png"
    data = xr.Dataset(attrs={"image_ids": names, "geometry": "32px"})
    data["norms"] = (("image", "block", "row", "column"), values[:2].reshape(2, 3, 4, 4))
    data["pixels"] = (("image", "y", "x", "channel"), pixels)
    data.to_netcdf(maps, engine="scipy")
    output = root / f"{key.replace('/', '-')}.json"
    explorer.main(tails, maps, who(key), output)
    return output


def _figures(root):
    folder = root / "figures/scenes"
    folder.mkdir(parents=True)
    circle = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9"><circle r="4"/></svg>'
    for name in ("fig4_norms", "norms_by_block"):
        (folder / f"{name}.svg").write_text(circle)
    (folder / "large.svg").write_text(circle + " " * 100_000)
    style.blank([folder / "empty.svg", folder / "empty.png"], "no token is one")
