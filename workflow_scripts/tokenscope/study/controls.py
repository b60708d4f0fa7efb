"""Phantoms in a study, ViTs whose answer is known: the section ``phantoms``, the key ``controls``.

Their rows are those of ``config/backbones.csv``;
what they are trained on and judged by is rendered.
"""

import csv

import yaml

from tokenscope.errors import StudyError, nearest
from tokenscope.paths import CONFIG
from tokenscope.study import zoo
from tokenscope.study.register_names import is_control

TABLE = CONFIG / "backbones.csv"
RECIPES = CONFIG / "recipes"
PHANTOMS = CONFIG / "phantoms.yaml"


def phantoms(study) -> list[tuple[str, zoo.Backbone]]:
    """What the section ``phantoms`` adds: a data set and a phantom that is judged on it, no more.

    Those that go through the claims on that data set anyhow are judged there.

    Raises:
        StudyError: no such data set, or a backbone whose answer nobody knows.
    """
    config, pairs = study.config, []
    through = {row.key for row in study.backbones}
    for dataset, patterns in config.get("phantoms", {}).items():
        if dataset not in study.datasets:
            have = ", ".join(study.datasets)
            near = nearest(dataset, study.datasets)
            raise StudyError(
                f"phantoms: '{dataset}' is no data set of this study, only: {have}{near}"
            )
        for row in zoo.matching(list(study.rows.values()), patterns):
            if not is_control(row.kind):
                raise StudyError(
                    f"phantoms: {dataset}: {row.key} is no phantom, its answer is not known; name "
                    "rows such as control/tiny/r0-clean"
                )
            if dataset not in config["analyse"] or row.key not in through:
                pairs.append((dataset, row))
    return pairs


def rows() -> list[dict[str, str]]:
    """The built-in phantoms, and the ViT that they are made from, as rows of a table."""
    with open(TABLE, newline="") as handle:
        found = list(csv.DictReader(handle))
    families = {row["family"] for row in found if is_control(row["registers"])}
    return [row for row in found if row["family"] in families]


def add(config: dict) -> None:
    """Write into a config with ``controls: true`` what a person would have to: as in the study of
    phantoms, ``config/phantoms.yaml``."""
    if not config.get("controls"):
        return
    study = yaml.safe_load(PHANTOMS.read_text())
    phantoms = config.setdefault("phantoms", {})
    for name, images in study["datasets"].items():
        config["datasets"].setdefault(name, images)
    for name, patterns in study["phantoms"].items():
        through = study["backbones"] if name in study["analyse"] else []
        phantoms.setdefault(name, [*through, *patterns])
