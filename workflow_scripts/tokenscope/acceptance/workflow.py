"""The whole chain: the demo here against a CPU's, released weights against the literature."""

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from tokenscope.acceptance.outcome import Said
from tokenscope.errors import StudyError
from tokenscope.paths import SCRIPTS
from tokenscope.tables import tidy

ROOT = SCRIPTS.parent
# Table, group, metric: how far a GPU's number may be from a CPU's; norms relatively, in percent.
ALIKE = [
    ("claim1", "artifacts", "share", 0.2),
    ("claim1", "last_block", "share_norm_over_3x_median", 0.2),
    ("discovery", "lost", "corloc", 2.0),
]
NORMS = ("claim1", "last_block", "norm_median", 1.0)
WHO = [*tidy.BACKBONE_COLUMNS, "dataset", "group", "metric"]


@dataclass(frozen=True)
class Known:
    """A number of released weights that must come out, from the literature."""

    backbone: str
    table: str
    group: str
    metric: str
    low: float
    high: float
    words: str


# Of photographs of ImageNet's validation set at 518 pixels.
LITERATURE = [
    Known("dinov2/small/r0", "claim1", "last_block", "norm_median", 19.7, 20.1,
          "median norm of DINOv2-S"),
    Known("dinov2/small/r0", "claim1", "last_block", "share_norm_over_150", 0.0, 0.0,
          "DINOv2-S over 150, percent"),
    Known("dinov2/giant/r0", "claim1", "last_block", "share_norm_over_150", 2.4, 2.6,
          "DINOv2-g over 150, percent"),
]  # fmt: skip
PEAK = "dinov2/base/r0", 9  # block, from 1, with most outliers: 8 counted from 0


def snakemake(config: str, *settings: str, targets: tuple[str, ...] = ("all",)) -> None:
    """One study of this repository, run to its end on this machine.

    Raises:
        StudyError: it ended before; the last lines of what it said.
    """
    command = [sys.executable, "-m", "snakemake", "--profile", "profiles/local", "--nolock",
               "--configfile", config, "--config", *settings, "--", *targets]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        tail = (done.stdout + done.stderr).strip().splitlines()[-3:]
        raise StudyError(f"{config} ended early: {' / '.join(tail)}")


def demo(here: Path, cpu: Path) -> Said:
    """The demo on the GPU, into ``here``, against the demo of a CPU in ``cpu``, made if absent."""
    if not Path(cpu, "tables", "verdicts.csv").exists():
        snakemake("config/demo.yaml", f"results={cpu}", "device=cpu")
    shutil.rmtree(here, ignore_errors=True)
    snakemake("config/demo.yaml", f"results={here}", "device=cuda")
    return compared(here, cpu)


def compared(here: Path, there: Path) -> Said:
    """Numbers and verdicts of two runs of one study; phantoms and ViTs trained there alike."""
    wrong, numbers = [], 0
    for table, group, metric, bound in (*ALIKE, NORMS):
        pairs = _pairs(here, there, table, group, metric)
        apart = (pairs["value_x"] - pairs["value_y"]).abs()
        if (table, group, metric) == NORMS[:3]:
            apart = 100 * apart / pairs["value_y"]
        numbers += len(pairs)
        far = pairs[~(apart <= bound)]  # not the other way round: an absent number is far
        wrong += [f"{r.family}/{r.size}/{r.registers} {metric}" for r in far.itertuples()]
    answers = [_verdicts(folder) for folder in (here, there)]
    both = answers[0].index.intersection(answers[1].index)
    differ = both[answers[0][both] != answers[1][both]]
    wrong += [" ".join(key) for key in differ]
    if not numbers or not len(both):
        return Said(False, "the two runs have no number or no verdict in common")
    text = f"{numbers} numbers and {len(both)} verdicts compared, apart: {', '.join(wrong[:5])}"
    return Said(not wrong, text if wrong else f"{text}none")


def _pairs(here: Path, there: Path, table: str, group: str, metric: str) -> pd.DataFrame:
    """Of phantoms alone: a ViT that is trained anew on another device is another ViT."""
    rows = []
    for folder in (here, there):
        frame = tidy.read(Path(folder, "tables", f"{table}.csv"))
        chosen = (frame["group"] == group) & (frame["metric"] == metric)
        rows.append(frame[chosen & (frame["family"] == "control")])
    return rows[0].merge(rows[1], on=WHO, how="outer")


def _verdicts(folder: Path) -> pd.Series:
    """Answers about phantoms and the instrument, by what they are about."""
    frame = pd.read_csv(Path(folder, "tables", "verdicts.csv"), dtype=str, keep_default_na=False)
    frame = frame[frame["scope"].isin(["phantom", "instrument"])]
    return frame.set_index(["statement", "backbone", "dataset", "group"])["answer"]


def literature(results: Path, images: str) -> list[Said]:
    """Released weights on photographs, by the study config/accept.yaml, against what is published.

    Args:
        results: folder of the study. images: folder with images of ImageNet's validation set.
    """
    datasets = json.dumps({"photographs": {"path": str(Path(images).resolve())}})
    tables = tuple(f"{results}/tables/{table}.csv" for table in ("claim1", "claim2"))
    settings = f"results={results}", f"datasets={datasets}"
    snakemake("config/accept.yaml", *settings, targets=tables)
    return [*(_known(results, known) for known in LITERATURE), _peak(results)]


def _of(results: Path, table: str, backbone: str) -> pd.DataFrame:
    frame = tidy.read(Path(results, "tables", f"{table}.csv"))
    family, size, registers = backbone.split("/")
    return frame[
        (frame["family"] == family) & (frame["size"] == size) & (frame["registers"] == registers)
    ]


def _known(results: Path, known: Known) -> Said:
    rows = _of(results, known.table, known.backbone)
    value = rows[(rows["group"] == known.group) & (rows["metric"] == known.metric)]["value"]
    if len(value) != 1:
        return Said(False, f"{known.words}: {len(value)} rows in {known.table}")
    got = float(value.iloc[0])
    bounds = f"{known.low:g} to {known.high:g}"
    return Said(known.low <= got <= known.high, f"{known.words}: {got:.2f}, published {bounds}")


def _peak(results: Path) -> Said:
    backbone, block = PEAK
    rows = _of(results, "claim2", backbone)
    shares = rows[rows["metric"] == "share_norm_over_3x_median"].set_index("group")["value"]
    if shares.empty or not shares.max() > 0:
        return Said(False, f"{backbone}: no outliers in any block")
    got = int(shares.idxmax().removeprefix("block"))
    return Said(got == block, f"{backbone}: most outliers after block {got}, published {block}")
