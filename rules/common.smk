# Helper functions of all rules, and the study they ask. Nothing heavy is imported here: on a
# cluster every job parses this file again, twice.
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

sys.path.insert(0, str(Path(workflow.basedir, "workflow_scripts")))
from tokenscope import cost
from tokenscope.errors import StudyError
from tokenscope.geometry import Geometry
from tokenscope.hints import hints
from tokenscope.kinds import is_control
from tokenscope.sources import code_hash
from tokenscope.study import Study

try:
    STUDY = Study(config)
except StudyError as error:
    raise WorkflowError(str(error))

RESULTS = STUDY.results
ENV = "../envs/tokenscope.yaml"
BACKBONE = "{family}/{size}/{registers}"
FORMATS = ["png", "pdf"]
# Sustained bf16 FLOP/s of one H100, or FLOP/s of one CPU job, on the low side: requests must cover.
SPEED = {"cuda": 2.5e14, "auto": 2.5e14, "cpu": 2e10}
# Figures of claim 1 that show gallery maps: at which resolution, and which maps.
MAPS = {
    "fig1_attention": {"view": "native", "layers": ["attention"]},
    "fig2_features": {"view": "native", "layers": ["feature"]},
    "fig5_high_resolution": {"view": "high", "layers": ["attention", "feature"]},
}


wildcard_constraints:
    dataset="|".join(STUDY.datasets),
    family="[^/]+",
    size="[^/]+",
    registers="[^/]+",
    shard=r"\d{4}",
    table="[a-z0-9_]+",


def code(script):
    """Parameter that changes when the library code behind a script changes."""
    return code_hash(Path(workflow.basedir, "workflow_scripts", script))


def row_of(wildcards):
    """The backbone a job is about."""
    return STUDY.rows[f"{wildcards.family}/{wildcards.size}/{wildcards.registers}"]


def base_row(wildcards):
    """The trained base of a control."""
    return STUDY.rows[f"{wildcards.family}/{wildcards.size}/{wildcards.r}-scratch"]


def who(wildcards):
    """The columns that name a backbone and a data set in every tidy row."""
    names = {c: wildcards[c] for c in ("family", "size", "registers")}
    return {**names, "kind": row_of(wildcards).kind, "dataset": wildcards.dataset}


def check_images(jobs):
    """Refuse to start jobs on images that are not there; a dry run needs none."""
    rules_ = ("index", "sample", "decode", "gallery")
    names = {job.wildcards.dataset for job in jobs if job.rule.name in rules_}
    try:
        STUDY.check_images(sorted(names))
    except StudyError as error:
        raise WorkflowError(str(error))


def over(pattern):
    """The pattern for every analysed data set and chosen backbone."""
    return [
        pattern.format(dataset=name, family=row.family, size=row.size, registers=row.registers)
        for name in config["analyse"]
        for row in STUDY.chosen
    ]


def rendered_labels(wildcards):
    """Labels of rendered scenes; nothing that we make for other data sets."""
    scenes = STUDY.datasets[wildcards.dataset]["type"] == "scenes"
    return [f"{RESULTS}/data/{wildcards.dataset}/labels.csv"] if scenes else []


def label_source(wildcards):
    """The labels parameter of tokenscope.manifest.index."""
    return (
        next(iter(rendered_labels(wildcards)), None) or STUDY.datasets[wildcards.dataset]["labels"]
    )


def decoded(name, geometry):
    """Receipt and store of the decoded images of one geometry."""
    return (
        f"{RESULTS}/receipts/decode/{name}/{geometry.key}.json",
        f"{RESULTS}/images/{name}/{geometry.key}.zarr",
    )


def pixels_of(wildcards):
    """Receipt of the decoded images a job reads, or the sample when it decodes on the way."""
    name, geometry = wildcards.dataset, row_of(wildcards).geometry
    sample = f"{RESULTS}/data/{name}/sample.csv"
    return sample if STUDY.streamed(name, geometry) else decoded(name, geometry)[0]


def store_of(wildcards):
    """Path of the decoded images; empty when they are streamed."""
    name, geometry = wildcards.dataset, row_of(wildcards).geometry
    return "" if STUDY.streamed(name, geometry) else decoded(name, geometry)[1]


def training_images(row):
    """Receipt and store of the decoded images a backbone is trained on."""
    return decoded(STUDY.recipe(row)["dataset"], row.geometry)


def training_inputs(wildcards):
    """Images of a training, and the card of the backbone it starts from."""
    row = row_of(wildcards)
    images = STUDY.training_images(row)
    files = {"images": images.get("sample") or images["receipt"]}
    if row.base:
        files["base"] = f"{RESULTS}/backbones/{row.base}/card.json"
    return files


def local_weights(wildcards):
    """A weights file named in the backbone's row, watched like any input once it exists."""
    file = row_of(wildcards).weights
    return [file] if file and Path(file).exists() else []


def own_head(wildcards):
    """Whether the backbone's head knows the classes of the data set."""
    row = row_of(wildcards)
    same = row.classes and row.classes == STUDY.classes(wildcards.dataset)
    return bool(same) and row.arch.num_classes > 0


def receipts_of(wildcards):
    """Receipts of all shards of one backbone on one data set."""
    return receipts(wildcards.dataset, row_of(wildcards))


def receipts(name, row):
    """The same, for a data set and a backbone."""
    folder = f"{RESULTS}/receipts/extract/{name}/{row.key}"
    return [f"{folder}/{shard}.json" for shard in STUDY.shards(name, row)]


def all_receipts(wildcards=None):
    """Receipts of every extraction of the study."""
    return [r for name in config["analyse"] for row in STUDY.chosen for r in receipts(name, row)]


def maps_of(wildcards):
    """Gallery maps of every backbone of one family, at the resolution of the figure."""
    view = MAPS[wildcards.get("figure", "fig1_attention")]["view"]
    folder = f"{RESULTS}/figures/data/maps/{wildcards.dataset}"
    rows = [row for row in STUDY.chosen if row.family == wildcards.family]
    return [f"{folder}/{row.key}/{view}.nc" for row in rows]


def measures_of(wildcards):
    """Measurements that make up a table."""
    kind = "redundancy" if wildcards.table == "claim3" else "norms"
    return over(f"{RESULTS}/measures/{kind}/{{dataset}}/{BACKBONE}.csv")


def gpu(wildcards=None):
    """GPUs of a job that runs a backbone."""
    return 0 if config["device"] == "cpu" else 1


def extract_minutes(wildcards, attempt=1):
    """Reserved minutes of an extraction: three times the expectation, more on each attempt."""
    row, name = row_of(wildcards), wildcards.dataset
    images = STUDY.planned_images(name) / len(STUDY.shards(name, row))
    speed = SPEED[config["device"]]
    seconds = cost.extract_seconds(row.arch, row.arch.input_size, images, speed)
    return max(10, int(3 * seconds / 60) + 1) * attempt


def extract_mb(wildcards, attempt=1):
    """Reserved host memory of an extraction in MB, more on each attempt."""
    row = row_of(wildcards)
    return (
        cost.extract_mb(row.arch, row.arch.input_size, STUDY.chunk_images(row), gpu() > 0) * attempt
    )


def decode_minutes(wildcards, threads, attempt=1):
    """Reserved minutes of a decoding job: three times the expectation, more on each attempt."""
    size = Geometry.parse(wildcards.geometry).size
    seconds = cost.decode_seconds(STUDY.planned_images(wildcards.dataset), size, threads)
    return max(10, int(3 * seconds / 60) + 1) * attempt


def measure_mb(wildcards, bytes_per_token, attempt=1):
    """Memory of a job that holds all of one quantity of a backbone, in MB."""
    row, images = row_of(wildcards), STUDY.planned_images(wildcards.dataset)
    tokens = images * cost.tokens_per_image(row.arch, row.arch.input_size)
    return int(cost.LIGHT_MB + bytes_per_token * tokens / 1e6) * attempt
