# Helper functions of all rules, and the study they ask. Nothing heavy is imported here: on a
# cluster every job parses this file again, twice.
import gc
import os
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

SCRIPTS = str(Path(workflow.basedir, "workflow_scripts"))
sys.path.insert(0, SCRIPTS)
# Snakemake puts a script's own folder on its path; the library lies one above it.
if SCRIPTS not in (paths := os.environ.get("PYTHONPATH", "").split(os.pathsep)):
    os.environ["PYTHONPATH"] = os.pathsep.join([SCRIPTS, *filter(None, paths)])
from tokenscope.code_hash import code_hash
from tokenscope.cost import forecast, memory_model, time_model
from tokenscope.cost.carbon import Site
from tokenscope.errors import StudyError
from tokenscope.jobs.hints import hints
from tokenscope.report import contents
from tokenscope.study import flops, heads
from tokenscope.study.register_names import is_control
from tokenscope.study.study import Study

try:
    STUDY = Study(config)
    SITE = Site.of(config["carbon"])
except StudyError as error:
    raise WorkflowError(str(error))

# A graph only grows while it is built: looking for garbage in it takes a tenth of a dry run.
gc.set_threshold(100_000)

RESULTS = STUDY.results
DISCOVERY, DENSE = STUDY.discovery, STUDY.dense
ENV = "../envs/tokenscope.yaml"
BACKBONE = "{family}/{size}/{registers}"
FORMATS = ["png", "pdf", "svg"]
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
    view="[a-z0-9-]+",
    table="[a-z0-9_]+",


def code(*scripts):
    """Parameter that changes when the library code behind these files changes.

    A function, so that a job on a node, which parses all rules, reads the code of one of them.
    """
    files = [Path(SCRIPTS, script) for script in scripts]
    return lambda wildcards: code_hash(*files)


def row_of(wildcards):
    """The backbone a job is about."""
    return STUDY.rows[f"{wildcards.family}/{wildcards.size}/{wildcards.registers}"]


def base_row(wildcards):
    """The trained base of a control."""
    return STUDY.rows[f"{wildcards.family}/{wildcards.size}/{wildcards.r}-scratch"]


def who(wildcards):
    """The columns that name a backbone and a data set in every tidy row."""
    return STUDY.who(row_of(wildcards), wildcards.dataset)


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


def decoded(name, geometry):
    """Receipt and store of the decoded images of one geometry."""
    return (
        f"{RESULTS}/receipts/decode/{name}/{geometry.key}.json",
        f"{RESULTS}/images/{name}/{geometry.key}.zarr",
    )


def geometry_of(wildcards):
    """How a job shows images to its backbone: natively, unless it has a view."""
    return STUDY.view(row_of(wildcards), wildcards.get("view", "native"))


def pixels_of(wildcards):
    """Receipt of the decoded images a job reads, or the sample when it decodes on the way."""
    name, geometry = wildcards.dataset, geometry_of(wildcards)
    sample = f"{RESULTS}/data/{name}/sample.csv"
    return sample if STUDY.streamed(name, geometry) else decoded(name, geometry)[0]


def store_of(wildcards):
    """Path of the decoded images; empty when they are streamed."""
    name, geometry = wildcards.dataset, geometry_of(wildcards)
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
