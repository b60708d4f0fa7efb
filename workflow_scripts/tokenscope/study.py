"""A study as its config describes it: which backbones, which images, cut into which jobs.

Pure arithmetic and small files: Snakemake asks for all of it while it builds the graph.
"""

import os
import platform
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

import yaml

from tokenscope import cost, zoo
from tokenscope.errors import StudyError
from tokenscope.geometry import Geometry
from tokenscope.zoo import Backbone


class Study:
    """Answers for one validated config.

    Raises:
        StudyError: the config names a data set, backbone or recipe that does not exist.
    """

    def __init__(self, config: dict):
        self.config = config
        self.results = config["results"].rstrip("/")
        self.datasets = config["datasets"]
        place = next(p for p in (Path(self.results), *Path(self.results).parents) if p.exists())
        if not (place.is_dir() and os.access(place, os.W_OK)):
            raise StudyError(f"results: '{self.results}': {place} is no folder one can write to")
        for name in config["analyse"]:
            if name not in self.datasets:
                have = ", ".join(self.datasets)
                raise StudyError(f"analyse: '{name}' is no data set of this study, only: {have}")
        if (asked := config.get("testtime")) and asked["dataset"] not in config["analyse"]:
            raise StudyError(f"testtime: dataset: '{asked['dataset']}' is not among analyse")
        if asked and not any(row.attached for row in self.rows.values()):
            raise StudyError(f"testtime: backbones: {asked['backbones']} match none of the study's")
        for row in self.rows.values():
            source = row.recipe and self.recipe(row)["dataset"]
            if source and source not in self.datasets:
                raise StudyError(f"{row.key} is trained on data set '{source}': add it to datasets")

    @cached_property
    def recipes(self) -> dict[str, dict]:
        """Training recipes by name."""
        folder = Path(self.config["recipes"])
        return {f.stem: yaml.safe_load(f.read_text()) for f in sorted(folder.glob("*.yaml"))}

    @cached_property
    def rows(self) -> dict[str, Backbone]:
        """Chosen backbones, those with registers added at test time, bases of controls; by key."""
        c = self.config
        rows = zoo.load(c["backbone_tables"], c["backbones"], self.recipes, c["weights"]["cache"])
        return {row.key: row for base in rows.values() for row in (base, *self._attached(base))}

    def _attached(self, base: Backbone) -> list[Backbone]:
        asked = self.config.get("testtime")
        if not asked or not zoo.chosen(base.key, asked["backbones"]):
            return []
        if base.register_count or not zoo.chosen(base.key, self.config["backbones"]):
            why = "has registers" if base.register_count else "is not among the study's backbones"
            raise StudyError(f"testtime: backbones: {base.key} {why}; name ones without registers")
        counts = asked["registers"]
        found = [base.with_attached(count, "testtime") for count in counts]
        return found + [base.with_attached(count, "random") for count in counts[:1]]

    @property
    def neuron_search(self) -> dict:
        """Settings that decide which neurons are found; a change of the others finds the same."""
        keys = ("images", "contrast", "max_neurons", "seed")
        return {key: self.config["testtime"][key] for key in keys}

    def neurons_of(self, row: Backbone) -> str:
        """What was found for the base of a backbone with registers added at test time."""
        place = f"{self.config['testtime']['dataset']}/{row.base_key}"
        return f"{self.results}/measures/neurons/{place}.json"

    @cached_property
    def chosen(self) -> list[Backbone]:
        """The backbones that go through the claims."""
        patterns = self.config["backbones"]
        return [row for row in self.rows.values() if row.attached or zoo.chosen(row.key, patterns)]

    def kin(self, family: str, size: str) -> list[Backbone]:
        """The chosen backbones of one family and size: its register counts, of all kinds."""
        return [row for row in self.chosen if (row.family, row.size) == (family, size)]

    def who(self, row: Backbone, dataset: str) -> dict[str, str]:
        """The columns that name a backbone and a data set in every tidy row."""
        names = {"family": row.family, "size": row.size, "registers": row.registers}
        return {**names, "kind": row.kind, "dataset": dataset}

    def objects(self, dataset: str, family: str, size: str) -> str:
        """Truth store of a data set whose images these backbones see whole; empty otherwise."""
        scenes = self.datasets[dataset]["type"] == "scenes"
        whole = all(row.geometry.whole for row in self.kin(family, size))
        return f"{self.results}/data/{dataset}/truth.zarr" if scenes and whole else ""

    @property
    def families(self) -> list[str]:
        return list(dict.fromkeys(row.family for row in self.chosen))

    def recipe(self, row: Backbone) -> dict:
        """Recipe of a backbone trained here."""
        return self.recipes[row.recipe]

    def image_root(self, name: str) -> str:
        """Folder of a data set's files; rendered scenes lie among the results."""
        dataset = self.datasets[name]
        scenes = dataset["type"] == "scenes"
        return f"{self.results}/data/{name}/images" if scenes else dataset["path"]

    def check_images(self, names: Iterable[str]) -> None:
        """Make sure that the images of these data sets are where the config says.

        Raises:
            StudyError: a folder does not exist on this machine.
        """
        for name in names:
            if self.datasets[name]["type"] == "scenes" or Path(self.image_root(name)).is_dir():
                continue
            raise StudyError(
                f"datasets: {name}: path: there is no folder '{self.image_root(name)}' on "
                f"{platform.node()}; set the key to where the images lie. If only the nodes see "
                "them, start Snakemake there (profiles/README.md, The controller)"
            )

    def planned_images(self, name: str) -> int:
        """Images a study plans with; 'all' of a folder is known only once it is indexed."""
        count = self.datasets[name]["images"]
        return 5000 if count == "all" else count

    def classes(self, name: str) -> str:
        """Name of a data set's classes, to be compared with a backbone's."""
        return self.datasets[name].get("classes") or self.datasets[name]["type"]

    def streamed(self, name: str, geometry: Geometry) -> bool:
        """Whether a decoded copy would be too large to keep, so that jobs decode on the way."""
        size = cost.decoded_gb(self.planned_images(name), geometry.size)
        return size > self.config["max_decoded_gb"]

    def chunk_images(self, row: Backbone) -> int:
        """Images in one chunk of a backbone's token store."""
        extract = self.config["extract"]
        size = row.arch.input_size
        return cost.images_per_chunk(row.arch, size, extract["chunk_mb"], extract["batch"])

    def shard_size(self, name: str, row: Backbone) -> int | None:
        """Images of a shard: whole chunks, so that no two jobs write into one; None for all."""
        dataset = self.datasets[name]
        if dataset["images"] == "all" or "shard_images" not in dataset:
            return None
        chunk = self.chunk_images(row)
        return -(-dataset["shard_images"] // chunk) * chunk

    def shards(self, name: str, row: Backbone) -> list[str]:
        """Names of a data set's shards for one backbone: contiguous ranges, one job each."""
        size = self.shard_size(name, row)
        count = -(-self.planned_images(name) // size) if size else 1
        return [f"{i:04d}" for i in range(count)]

    def shard_range(self, name: str, row: Backbone, shard: str) -> tuple[int, int | None]:
        """First image and length of a shard; None as length means all there are."""
        size = self.shard_size(name, row)
        if size is None:
            return 0, None
        first = int(shard) * size
        return first, min(size, self.planned_images(name) - first)
