"""A report on the 51 backbones of the paper study, with tables made up: how a page of that size is.

As many rows a backbone as a finished study has, an explorer with the pictures and patches of large
backbones, and more figures than fit.
"""

import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
from pages import who
from PIL import Image
from report import report
from tokens.explorer import jpeg

from tokenscope.kinds.answers import BESIDE, KINDS
from tokenscope.norms.exceedance import STEPS
from tokenscope.report.contents import sections
from tokenscope.tables import tidy

ROOT = Path(__file__).parents[2]
DATASET, FIGURES_MB = "imagenet-val", 1
SCORES = {"position_top1": "percent", "position_distance": "patches", "class_top1": "percent",
          "pixel_l2_squared": "squared L2 per patch"}  # fmt: skip
FULL = {"claim1": 40, "claim2": 12, "claim3": 40, "claim4": 24, "registers": 24}  # rows of each


def keys() -> list[str]:
    """The first 51 of the zoo: those released."""
    rows = pd.read_csv(ROOT / "config/backbones.csv", dtype=str).head(51)
    return ["/".join(row) for row in rows[["family", "size", "registers"]].to_numpy()]


def make(folder: Path) -> Path:
    """Write the page below ``folder``; its path."""
    root = folder / "results"
    (root / "tables").mkdir(parents=True)
    names, config = keys(), ROOT / "config"
    for name, frame in _tables(names).items():
        tidy.write(frame, root / f"tables/{name}.csv")
    of = {"sections": str(config / "report.yaml"), "verdicts": str(config / "verdicts.yaml")}
    study = {"study": "fifty", "report": of}
    study["statistics"] = {"confidence": 0.95, "resamples": 1000, "seed": 0}
    planned = [[DATASET, name] for name in names]
    plan = {name: [planned, []] for name in (*FULL, "kinds")}
    facts = {"params": dict.fromkeys(names, 1e8), "heads": {"claim4": 3}}
    facts["images_seen"] = {}
    explorers = [_explorer(root, name, i) for i, name in enumerate(names)]
    files = {section["id"]: [] for section in sections(of["sections"])}
    files |= _figures(root / "figures", names)
    outputs = {name: root / f"tables/{name}.csv" for name in ("csv", "published")}
    outputs |= {name: root / f"tables/{name}.md" for name in ("text", "published_text")}
    output = root / "report/index.html"
    report.main(
        str(root), study, plan, facts, FIGURES_MB, config / "published.csv", files, explorers, [],
        ROOT / "workflow_scripts/templates", output, outputs, "0d", "0a",
        config / "kinds_calibration.csv", "0d", {},
    )  # fmt: skip
    return output


def _tables(names: list[str]) -> dict[str, pd.DataFrame]:
    rng, tables = np.random.default_rng(0), {name: [] for name in (*FULL, "kinds")}
    for i, name in enumerate(names):
        share = 2.5 * (i % 3 == 0)
        rows = {claim: tidy.TidyRows(who(name, DATASET), 5000, 0) for claim in tables}
        one = rows["claim1"]
        one.add("claim1", "artifacts", "has_artifacts", share > 0, unit="verdict")
        one.add("claim1", "artifacts", "share", share, share * 0.9, share * 1.1, "percent")
        rows["claim2"].add("claim2", "depth", "onset_block", 8 if share else None,
                           unit="block, from 1")  # fmt: skip
        for group, worse in (("normal", 0), ("outlier", 5), ("cls", -5)):
            for metric, unit in SCORES.items():
                value = 30 - worse + rng.random()
                rows["claim4"].add("claim4", group, metric, value, value - 1, value + 1, unit)
        for claim, count in FULL.items():
            for j in range(count):
                value = rng.random()
                rows[claim].add(claim, "cls", f"attention_share_of_top_{j}_percent", value,
                                value - 0.1, value + 0.1, "percent")  # fmt: skip
        for claim in FULL:
            tables[claim].append(rows[claim].frame())
        tables["kinds"].append(_kinds(rows["kinds"], share, rng))
    return {name: pd.concat(frames) for name, frames in tables.items()}


def _kinds(rows: tidy.TidyRows, share: float, rng) -> pd.DataFrame:
    for kind in KINDS:
        value = share if kind == "high-norm" else 10 * rng.random()
        rows.add("kinds", kind, "share", value, 0.9 * value, 1.1 * value, "percent")
    frame = rows.frame()
    answers = ["yes" if value > 2 else "no" for value in frame["value"]]
    answers[-1] = "does not apply"
    facts = {"artifact": list(KINDS), "block": 12, "null": 0.0, "answer": answers}
    return frame.assign(**facts, why="made up")[[*tidy.COLUMNS, *BESIDE]]


def _explorer(root: Path, name: str, i: int) -> Path:
    """Twelve blocks of 256 patches of five pictures, more of them in large backbones."""
    rng, blocks, patches = np.random.default_rng(i), 12 + 12 * (i % 2), 256
    rungs = np.arange(-60, 2 * STEPS)
    above = np.round(1e6 * np.exp(-np.maximum(rungs + 60, 0) / 20)).astype(int)
    above[-1] = 0
    block = {"median": 10.0, "p98": 25.0, "first": -60, "above": above.tolist()}
    block["images"] = np.minimum(above, 5000).tolist()
    facts = {"images": 5000, "tokens": 1_280_000, "times": 3, "steps": STEPS, "grid": [16, 16]}
    facts |= who(name, DATASET) | {"geometry": "224px"}
    pixels = np.random.default_rng(0).integers(0, 255, (5, 96, 96, 3), dtype=np.uint8)
    facts["gallery"] = [{"id": f"{n}.png", "src": jpeg(image)} for n, image in enumerate(pixels)]
    highest = rng.integers(20, 90, (blocks, 5, patches))
    facts["blocks"] = [block | {"patches": own.tolist()} for own in highest]
    path = root / f"explorer-{i}.json"
    path.write_text(json.dumps(facts, separators=(",", ":")))
    return path


def _figures(folder: Path, names: list[str]) -> dict[str, list[tuple[str, str, int]]]:
    """A figure of a section each, one for each family and one for each backbone, of noise."""
    noise = np.random.default_rng(0).integers(0, 255, (120, 360, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "PNG", dpi=(96, 96))
    families = list(dict.fromkeys(name.partition("/")[0] for name in names))
    blocks = [(f"{DATASET}/blocks/{name}", "Norms after each block.", 2) for name in names]
    maps = [(f"{DATASET}/attention/{name}", "Attention of CLS.", 1) for name in families]
    whole = [(f"{DATASET}/fig3_ratio", "Figure 3.", 0)]
    boxes = [(f"boxes/discovery/{names[0].rpartition('/')[0]}", "Boxes of LOST.", 1)]
    for name, *_ in (*blocks, *maps, *whole, *boxes):
        path = folder / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(buffer.getvalue())
    return {"claim1": maps, "claim2": blocks, "claim3": whole, "discovery": boxes}
