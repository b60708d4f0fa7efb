"""The config that ``make new`` writes: commented, and complete for claims 1 to 3."""

import os
from pathlib import Path

import yaml

from tokenscope.diagnosis.setup import KINDS_IMAGES, MIN_KINDS, Images
from tokenscope.paths import CONFIG
from tokenscope.study.zoo import COLUMNS

TEMPLATE = """\
# yaml-language-server: $schema={schema}
# A study of {model}, written by `make new`.
#   make check CONFIG={folder}/study.yaml    would it run, what would it cost, what is missing?
#   make study CONFIG={folder}/study.yaml    run it, then open {results}/report/index.html
# All keys are explained in config/README.md.
study: {name}
results: {results}
device: auto                  # a GPU where there is one; or cuda, cpu

backbone_tables: [{folder}/backbones.csv]    # a line more is a backbone more
backbones: ["mine/*/*"]       # globs over family/size/registers of its lines
weights: {weights}
controls: false               # true: ViTs whose answer is known go along (minutes on a CPU)

analyse: [images]             # the data sets that go through claims 1 to 3
datasets:
  images:
    type: imagefolder
    path: {path}
    labels: {labels}           # folders: the first folder is the class; or none, or a label file
    images: {count}                # of them, a seeded sample; or all
    seed: 0
    on_bad_image: {bad}         # what becomes of images that cannot be read: fail, or skip

{kinds}{testtime}{probes}extract: {{batch: 32}}          # images on the device at once
gallery: {{images: {shown}, high_resolution: {resolution}}}    # shown in the figures

# Further sections, each explained in config/README.md: heads (claim 5), discovery, dense, training.
"""
KINDS = """\
kinds: {{images: {count}, batch: 16}}    # other kinds of artifacts than high norms

"""
TESTTIME = """\
testtime:                     # registers added without training, by the neurons of its outliers
  backbones: [{key}]
  dataset: images
  registers: [1]
  images: {count}

"""
PROBES = """\
probes:                       # claim 4: what tokens know of place, pixels and class
  dataset: images
  cutoffs: images
  backbones: [{key}]
  batch: 256
  split: [0.6, 0.15, 0.25]
  min_tokens: 50

"""


def text_of(
    name: str, folder: str, row: dict, images: Images, arch, weights: str, bad: str = "fail"
) -> str:
    """The config of a study of one backbone on a folder of images.

    Args:
        name: of the study. folder: where its config and table lie.
        row: of the backbone table. arch: the facts of its architecture.
        images: as given. weights: folder of local weights, or empty.
        bad: what becomes of images that cannot be read, ``fail`` or ``skip``.
    """
    key = "/".join(row[column] for column in COLUMNS[:3])
    # Of a sample others take their place; where all are used, those are left that can be read.
    count = "all" if bad == "skip" and images.used == images.files else images.used
    given = {"key": key, "count": max(2, images.used)}
    few = min(KINDS_IMAGES, images.used)
    schema = Path(os.path.relpath(CONFIG / "schemas/config.schema.json", folder)).as_posix()
    return TEMPLATE.format(
        name=name, folder=folder, results=f"results/{name}", schema=schema,
        model=row["weights"] or row["timm_id"],
        weights=_flow({"folder": weights} if weights else {"download": True}),
        path=_flow(images.path), labels="folders" if images.classes else "none", count=count,
        bad=bad, shown=min(6, images.used), resolution=arch.input_size,
        kinds=KINDS.format(count=few) if images.used >= MIN_KINDS else "",
        testtime=TESTTIME.format(**given) if row["registers"] == "r0" else "",
        probes=PROBES.format(**given) if images.probed else "",
    )  # fmt: skip


def _flow(value) -> str:
    """A value as YAML on one line."""
    return yaml.safe_dump(value, default_flow_style=True, width=10_000).splitlines()[0]
