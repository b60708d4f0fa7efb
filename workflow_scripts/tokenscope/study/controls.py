"""The key ``controls``: ViTs whose answer is known, with all that they need, in any study.

Their rows are those of ``config/backbones.csv``; what they are trained on is rendered.
"""

import csv

import yaml

from tokenscope.paths import CONFIG
from tokenscope.study import register_names

TABLE = CONFIG / "backbones.csv"
RECIPES = CONFIG / "recipes"
SCENES = {"type": "scenes", "images": 2000, "seed": 1}  # as in config/demo.yaml


def rows() -> list[dict[str, str]]:
    """The built-in controls, and the ViTs that they are made from, as rows of a table."""
    with open(TABLE, newline="") as handle:
        found = list(csv.DictReader(handle))
    families = {row["family"] for row in found if register_names.is_control(row["registers"])}
    return [row for row in found if row["family"] in families]


def add(config: dict) -> None:
    """Write into a config with ``controls: true`` what a person would have to: rows and images."""
    if not config.get("controls"):
        return
    for row in rows():
        key = "/".join(row[column] for column in ("family", "size", "registers"))
        if register_names.is_control(row["registers"]) and key not in config["backbones"]:
            config["backbones"] = [*config["backbones"], key]
        recipe = RECIPES / f"{row['recipe']}.yaml"
        images = yaml.safe_load(recipe.read_text())["dataset"]
        config["datasets"].setdefault(images, dict(SCENES))
