# Helper functions of all rules, and what the study consists of. Nothing heavy is imported here:
# on a cluster every job parses this file again, twice.
import sys
from pathlib import Path

import yaml
from snakemake.exceptions import WorkflowError

sys.path.insert(0, str(Path(workflow.basedir, "workflow_scripts")))
from tokenscope import cost, zoo
from tokenscope.errors import StudyError
from tokenscope.geometry import Geometry
from tokenscope.sources import code_hash

RESULTS = config["results"].rstrip("/")
ENV = "../envs/tokenscope.yaml"
CACHE = config["weights"]["cache"]
BACKBONE = "{family}/{size}/{registers}"
# Sustained bf16 FLOP/s of one H100 and of one CPU core, on the low side: requests must cover.
SPEED = {"cuda": 2.5e14, "auto": 2.5e14, "cpu": 2e10}


def read_recipes():
    """Training recipes by name."""
    folder = Path(config["recipes"])
    return {f.stem: yaml.safe_load(f.read_text()) for f in sorted(folder.glob("*.yaml"))}


def load_study():
    """The zoo's rows this study needs; a mistake in the tables ends here, in one sentence."""
    for name in config["analyse"]:
        if name not in config["datasets"]:
            have = ", ".join(config["datasets"])
            raise WorkflowError(
                f"analyse: '{name}' is no data set of this study; there are: {have}"
            )
    try:
        rows = zoo.load(config["backbone_tables"], config["backbones"], RECIPES, CACHE)
    except StudyError as error:
        raise WorkflowError(str(error))
    for row in rows.values():
        source = row.recipe and RECIPES[row.recipe]["dataset"]
        if source and source not in config["datasets"]:
            raise WorkflowError(
                f"{row.key} is trained on the data set '{source}': add it to datasets"
            )
    return rows


RECIPES = read_recipes()
ZOO = load_study()
CHOSEN = [row for row in ZOO.values() if zoo.chosen(row.key, config["backbones"])]
KEYS = [row.key for row in CHOSEN]
FAMILIES = list(dict.fromkeys(row.family for row in CHOSEN))


wildcard_constraints:
    dataset="|".join(config["datasets"]),
    family="[^/]+",
    size="[^/]+",
    registers="[^/]+",
    shard=r"\d{4}",
    table="[a-z0-9_]+",


def row_of(wildcards):
    """The backbone a job is about."""
    return ZOO[f"{wildcards.family}/{wildcards.size}/{wildcards.registers}"]


def base_row(wildcards):
    """The trained base of a control."""
    return ZOO[f"{wildcards.family}/{wildcards.size}/{wildcards.r}-scratch"]


def code(script):
    """Parameter that changes when the library code behind a script changes."""
    return code_hash(Path(workflow.basedir, "workflow_scripts", script))


def who(wildcards):
    """The columns that name a backbone and a data set in every tidy row."""
    return {
        "family": wildcards.family,
        "size": wildcards.size,
        "registers": wildcards.registers,
        "kind": row_of(wildcards).kind,
        "dataset": wildcards.dataset,
    }


def image_root(name):
    """Folder of a data set's files; rendered scenes lie among the results."""
    dataset = config["datasets"][name]
    return f"{RESULTS}/data/{name}/images" if dataset["type"] == "scenes" else dataset["path"]


def planned_images(name):
    """Images a study plans with; 'all' of a folder is known only once it is indexed."""
    count = config["datasets"][name]["images"]
    return 5000 if count == "all" else count


def chunk_images(row):
    """Images in one chunk of a backbone's token store."""
    extract = config["extract"]
    size = row.arch.input_size
    return cost.images_per_chunk(row.arch, size, extract["chunk_mb"], extract["batch"])


def shard_size(name, row):
    """Images of one shard: whole chunks, so that no two jobs ever write into one; None for all."""
    dataset = config["datasets"][name]
    if dataset["images"] == "all" or "shard_images" not in dataset:
        return None
    chunk = chunk_images(row)
    return -(-dataset["shard_images"] // chunk) * chunk


def shards(name, row):
    """Names of a data set's shards for one backbone: contiguous image ranges, one job each."""
    size = shard_size(name, row)
    count = -(-planned_images(name) // size) if size else 1
    return [f"{i:04d}" for i in range(count)]


def streamed(name, geometry):
    """Whether a decoded copy would be too large to keep, so that jobs decode on the way."""
    return cost.decoded_gb(planned_images(name), geometry.size) > config["max_decoded_gb"]


def over(pattern):
    """The pattern for every analysed data set and chosen backbone."""
    return [
        pattern.format(dataset=name, family=row.family, size=row.size, registers=row.registers)
        for name in config["analyse"]
        for row in CHOSEN
    ]


def receipts_of(name, row):
    """Receipts of all shards of one backbone on one data set."""
    folder = f"{RESULTS}/receipts/extract/{name}/{row.key}"
    return [f"{folder}/{shard}.json" for shard in shards(name, row)]


def all_receipts(wildcards=None):
    """Receipts of every extraction of the study."""
    return [r for name in config["analyse"] for row in CHOSEN for r in receipts_of(name, row)]


def gpu(wildcards=None):
    """GPUs of a job that runs a backbone."""
    return 0 if config["device"] == "cpu" else 1


def extract_minutes(wildcards, attempt=1):
    """Reserved minutes of an extraction: three times the expectation, more on each attempt."""
    row = row_of(wildcards)
    images = planned_images(wildcards.dataset) / len(shards(wildcards.dataset, row))
    speed = SPEED[config["device"]]
    seconds = cost.extract_seconds(row.arch, row.arch.input_size, images, speed)
    return max(10, int(3 * seconds / 60) + 1) * attempt


def extract_mb(wildcards, attempt=1):
    """Reserved host memory of an extraction in MB, more on each attempt."""
    row = row_of(wildcards)
    return cost.extract_mb(row.arch, row.arch.input_size, chunk_images(row)) * attempt
