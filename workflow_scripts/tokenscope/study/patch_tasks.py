"""The config's sections ``discovery`` and ``dense``: which data sets, which backbones.

Object discovery by LOST (https://arxiv.org/abs/2109.14279); linear heads for classes and depth.

Pure arithmetic, because Snakemake asks for it while it builds the graph.
"""

from functools import cached_property

from tokenscope.errors import StudyError
from tokenscope.study import zoo
from tokenscope.study.flops import LIGHT_MB, extract_seconds, start_seconds
from tokenscope.study.zoo import Backbone

TYPICAL_IMAGES, TYPICAL_SIDE = 12_000, 450  # of a set that is not indexed yet; VOC12 has 11,540


class PatchTask:
    """One of the config's sections ``discovery`` and ``dense``; empty where it is left out.

    Raises:
        StudyError: the section names a data set or backbones that do not exist.
    """

    def __init__(self, study, section: str):
        self.study, self.section = study, section
        self.config = study.config.get(section) or {}
        self.sets = self.config.get("sets", {})
        for name, entry in self.sets.items():
            scenes = study.datasets.get(entry.get("dataset", ""), {})
            if entry["layout"] == "scenes" and scenes.get("type") != "scenes":
                raise StudyError(
                    f"{section}: {name}: dataset '{entry.get('dataset', '')}' is no data set of "
                    "type scenes of this study"
                )
        if self.sets and not zoo.matching(study.named, self.config.get("backbones", [])):
            raise StudyError(f"{section}: no backbone of this study matches its key backbones")

        if not self.rows:  # left out by the key only
            self.sets = {}

    @cached_property
    def rows(self) -> list[Backbone]:
        """The study's backbones that take part; controls only when they are named."""
        return zoo.matching(self.study.backbones, self.config.get("backbones", []))

    @property
    def names(self) -> str:
        """The data sets as a regular expression for the wildcard ``dataset``."""
        return "|".join(self.sets) or "-"

    def layout(self, name: str) -> dict:
        """A set's entry, with the folder and the ground truth of rendered scenes filled in."""
        entry = dict(self.sets[name])
        if entry["layout"] == "scenes":
            entry["path"] = self.study.image_root(entry["dataset"])
            entry["truth"] = self.study.paths.data(entry["dataset"], "truth.zarr")
        return entry

    def made_here(self, name: str) -> list[str]:
        """Inputs of a set that the study makes itself."""
        return [self.layout(name)["truth"]] if self.sets[name]["layout"] == "scenes" else []

    def over(self, pattern: str) -> list[str]:
        """The pattern for every set and backbone of the section."""
        return [
            pattern.format(dataset=name, family=r.family, size=r.size, registers=r.registers)
            for name in self.sets
            for r in self.rows
        ]

    def planned_images(self, name: str) -> int:
        """Images to plan with; 'all' is known only once the set is indexed."""
        entry = self.sets[name]
        if entry["layout"] == "scenes" and entry.get("images", "all") == "all":
            return self.study.planned_images(entry["dataset"])
        count = entry.get("images" if self.section == "discovery" else "images_at_most", "all")
        return TYPICAL_IMAGES if count == "all" else count

    def side(self, name: str) -> int:
        """Pixels along a side of a set's images, to plan with."""
        entry = self.sets[name]
        if entry["layout"] == "scenes":
            return self.study.datasets[entry["dataset"]].get("size", 160)
        return TYPICAL_SIDE

    def listing_mb(self, name: str) -> int:
        """Host memory in MB of listing a set; COCO's annotations are one JSON of half a GB."""
        return 6000 if self.sets[name]["layout"] == "coco" else LIGHT_MB

    def corloc_mb(self, name: str) -> int:
        """Host memory in MB of CorLoc: boxes and hits of every setting, some copies; no torch."""
        c = self.config
        settings = c["blocks"] * len(c["facets"]) * len(c["normalise"]) * len(c["biases"])
        return int(LIGHT_MB + 1e-4 * self.planned_images(name) * settings)

    def forward_seconds(self, row: Backbone, images: int, side: int, speed: float) -> float:
        """Expected seconds of forward passes over images of ``side`` pixels, start included."""
        start = start_seconds(self.study.gpu)
        return extract_seconds(row.arch, side, images, speed, start)

    def discover_seconds(self, name: str, row: Backbone, speed: float) -> float:
        """Expected seconds of a discovery pass: forward, Gram matrices, comparisons."""
        images = self.planned_images(name)
        side = self.side(name)
        patches = (side // row.arch.patch) ** 2
        c = self.config
        grams = c["blocks"] * len(c["facets"]) * len(c["normalise"])
        flops = grams * patches**2 * (2.0 * row.arch.width + 10 * len(c["biases"]))
        # Gram matrices are float32 and bound by memory: a tenth of the speed of a large backbone.
        products = 2.5e13 if self.study.gpu else speed / 10
        return self.forward_seconds(row, images, side, speed) + images * flops / products

    def settings(self, name: str) -> dict:
        """How the head of a dense set is trained: the task's settings, and the set's own."""
        entry = self.sets[name]
        own = {k: entry[k] for k in ("nearest", "farthest") if k in entry}
        depth = {"nearest": 1e-3, "farthest": 10.0, **own} if entry["task"] == "depth" else {}
        return {**self.config[entry["task"]], **depth}

    def head_seconds(self, name: str, row: Backbone, speed: float) -> float:
        """Expected seconds of training and testing the heads, one a seed."""
        c = self.settings(name)
        side = round((c["crop"][0] * c["crop"][1]) ** 0.5)
        images = 3 * self.planned_images(name)
        if c["features"] == "augmented":
            images += c["steps"] * c["batch"]
        one = self.forward_seconds(row, images, side, speed) + 0.05 * c["steps"]
        return self.config["seeds"] * one
