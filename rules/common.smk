# The study that all rules ask, constants, and what wildcards may be. Nothing heavy is imported
# here: on a cluster every job parses this file again, twice.
import gc

# A graph only grows while it is built: looking for garbage in it takes a tenth of a dry run.
gc.set_threshold(100_000)

import os
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

# Of this file, not of the Snakefile one calls: that may use this workflow as a module.
SCRIPTS = os.path.normpath(Path(str(workflow.current_basedir), "..", "workflow_scripts"))
if not Path(SCRIPTS).is_dir():
    raise WorkflowError(
        f"there is no folder {SCRIPTS}: clone the project, and name the Snakefile of the clone"
    )
sys.path.insert(0, SCRIPTS)
from tokenscope.errors import StudyError
from tokenscope.config_file import strict_yaml

try:
    strict_yaml.check_config(workflow.configfiles, config)
except StudyError as error:
    print(error, file=sys.stderr)
    sys.exit(1)
# Snakemake puts a script's own folder on its path; the library lies one above it.
if SCRIPTS not in (paths := os.environ.get("PYTHONPATH", "").split(os.pathsep)):
    os.environ.update(PYTHONPATH=os.pathsep.join([SCRIPTS, *filter(None, paths)]))
os.environ.setdefault("PYTHONUTF8", "1")  # jobs read and write UTF-8 on Windows too
from tokenscope.cluster import at_end, before_start, slurm_plugin
from tokenscope.config_file import needs, project_files
from tokenscope.config_file.answers import Answers
from tokenscope.cards import hub_folder, weights_files
from tokenscope.cost import forecast
from tokenscope.cost.carbon import Site
from tokenscope.datasets import watched
from tokenscope.errors import StudyError, closest
from tokenscope.figures import pages as figure_pages
from tokenscope.jobs import dry_run, software
from tokenscope.jobs.energy import gpu_here
from tokenscope.jobs.hints import hints
from tokenscope.paths import of_project
from tokenscope.report import contents, paper_figures
from tokenscope.report.coverage import coverage
from tokenscope.report.deviations import deviations
from tokenscope.report.facts import facts
from tokenscope.status import watch
from tokenscope.study import flops, heads
from tokenscope.study.study import Study
from tokenscope.tables import paper_tables

ANSWERS = Answers(workflow.configfiles)
try:
    GPU = workflow.nodes is not None or gpu_here()
    STUDY, SITE = ANSWERS.study(
        config, lambda c: (Study(project_files.find(c), GPU), Site.of(c["carbon"]))
    )
    paper_figures.check(STUDY)
except StudyError as error:
    print(ANSWERS.located(str(error)), file=sys.stderr)
    sys.exit(1)  # without the trace that Snakemake prints: the sentences are the answer

# Jobs inherit it: parameters that named the commit would run everything again at each.
overrides = {k: v for k, v in workflow.config_settings.config.items() if k not in contents.SWITCHES}
software.announce(workflow.configfiles, overrides)

RESULTS, PATHS = STUDY.results, STUDY.paths
HEADS, DISCOVERY, DENSE = STUDY.heads, STUDY.discovery, STUDY.dense
PROBES = config.get("probes") or {}
BANK = PROBES.get("dataset", "none")  # the data set whose tokens are drawn and probed
TRAINED = STUDY.trained
TABLES = contents.tables(STUDY)
# The config without the switches that only say how to show it.
PLAIN_CONFIG = {k: v for k, v in config.items() if k not in contents.SWITCHES}
SNAPSHOTS = [
    (name, row) for name in config["analyse"] for row in TRAINED if STUDY.training(row)["snapshots"]
]


# Used where the profile says so (software-deployment-method: apptainer), by all rules.
container: of_project("envs/tokenscope.sif")


# Tables of the project that rules read: inputs whose content counts and not their age (code()).
PUBLISHED = of_project("config/published.csv")
LABELS = of_project("config/labels.csv")  # words of metrics and groups
COUNTED = of_project("config/calibration.csv")
ENV = "../envs/tokenscope.yaml"
LIGHT_ENV = "../envs/tokenscope-light.yaml"  # of rules that import nothing heavy
BACKBONE = "{family}/{size}/{registers}"
FORMATS = ["png", "pdf", "svg"]
# Figures of gallery maps: at which resolution, which maps, of how many images (all without it).
# Those with a number are the main paper's, the others show all backbones of a family.
MAPS = {
    "fig1_features": {"view": "high", "layers": ["feature"], "images": 3},
    "fig2_attention_features": {"view": "high", "layers": ["attention", "feature"]},
    "fig5_attention_registers": {"view": "high", "layers": ["attention"]},
    "fig6_qkv": {"view": "high", "images": 5},
    "fig7_blocks": {"view": "native", "images": 2},
    "attention": {"view": "native", "layers": ["attention"]},
    "features": {"view": "native", "layers": ["feature"]},
    "high_resolution": {"view": "high", "layers": ["attention", "feature"]},
    "qkv": {"view": "native", "images": 2},
    "blocks": {"view": "native", "images": 2},
}


wildcard_constraints:
    dataset="|".join(STUDY.datasets),
    family="[^/]+",
    size="[^/]+",
    registers="[^/]+",
    shard=r"\d{4}",
    view="[a-z0-9-]+",
    table="[a-z0-9_]+",


def rendered(name):
    """What scenes are rendered from: what reads them hangs on this, not on their age."""
    keys = ("images", "seed", "size", "plain_skies")
    if STUDY.datasets[name]["type"] != "scenes":
        return {}
    made = {key: STUDY.datasets[name].get(key) for key in keys}
    return {**made, "code": code("data/render.py")({})}


def changes_of(wildcards, record):
    """How often files of a data set were found changed; scenes are rendered by a rule."""
    name = wildcards.dataset
    if STUDY.datasets[name]["type"] == "scenes":
        return 0
    return watched.changes(record.format(dataset=name), STUDY.layout(name))


def watch_of(source, record):
    """The same of a set with boxes or maps: the number, and where what was read is written down."""
    if source["layout"] == "scenes":
        return {"record": record, "changes": 0, "rendered": rendered(source["dataset"])}
    return {"record": record, "changes": watched.changes(record, source)}
