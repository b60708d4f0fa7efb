"""Claim 5, the config's section ``heads``: which backbones, which views of images, which heads.

Classification after DINOv2's own evaluation (https://arxiv.org/abs/2304.07193).

Like the study itself asked while Snakemake builds the graph: pure arithmetic and small files.
"""

import csv
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path

from tokenscope.errors import StudyError, nearest
from tokenscope.images.geometry import Geometry
from tokenscope.study import flops, zoo
from tokenscope.study.zoo import Backbone

# The official DINOv2 evaluation: shorter side to 256, central 224 (dinov2/data/transforms.py).
RESIZE256 = Geometry(224, 256)
KNOWN = ("imagenet-1k",)
OFFICIAL = "resize256-official"
VIEWS = ("native", "resize256", OFFICIAL)
OFFICIAL_BLOCKS = 4


@dataclass(frozen=True)
class ReleasedHead:
    """A linear head someone published for a backbone: a row of ``config/heads.csv``.

    ``layers`` is 1 or 4: its input is the CLS token of that many last blocks and the mean patch
    token of the last, all after the final norm. ``source`` is a URL or a file; ``sha256`` may be
    empty where the publisher gives none.
    """

    family: str
    size: str
    registers: str
    layers: int
    classes: str
    source: str
    sha256: str

    @property
    def key(self) -> str:
        return f"{self.family}/{self.size}/{self.registers}"

    @property
    def group(self) -> str:
        """Name in tables; the one-layer head is the one the papers report."""
        return "published_head" if self.layers == 1 else f"published_head_{self.layers}_layers"


class Heads:
    """Answers for the section ``heads`` of one study; without the section there is nothing to do.

    Args:
        study: a tokenscope.study.study.Study.

    Raises:
        StudyError: the section names a data set, backbone or view that does not exist.
    """

    def __init__(self, study):
        self.study = study
        self.settings = study.config.get("heads") or {}
        for key in ("train", "test"):
            name = self.settings.get(key)
            if name and name not in study.datasets:
                raise StudyError(
                    f"heads: {key}: '{name}' is no data set of this study, only: "
                    f"{', '.join(study.datasets)}{nearest(name, study.datasets)}"
                )
        if not self.settings:
            return
        self.train, self.test = self.settings.get("train"), self.settings["test"]
        if self.train == self.test:
            raise StudyError(f"heads: train and test are the same data set, '{self.test}'")
        if self.train and study.classes(self.train) != study.classes(self.test):
            raise StudyError(
                f"heads: '{self.train}' has classes '{study.classes(self.train)}', '{self.test}' "
                f"has '{study.classes(self.test)}': a head of one cannot be tested on the other"
            )
        for key in ("backbones", "retrain"):
            zoo.check_patterns(f"heads: {key}", self.settings[key], study.named)

    @cached_property
    def _released(self) -> list[ReleasedHead]:
        table = self.settings["released"]["table"]
        if table is None:
            return []
        if not Path(table).is_file():
            raise StudyError(f"the table of released heads, {table}, does not exist")
        columns = [f.name for f in fields(ReleasedHead)]
        heads = []
        with open(table, newline="") as handle:
            reader = csv.DictReader(handle)
            if reader.fieldnames != columns:
                raise StudyError(f"{table}: the columns must be {', '.join(columns)}")
            for row in reader:
                if row["layers"] not in ("1", str(OFFICIAL_BLOCKS)):
                    raise StudyError(f"{table}, line {reader.line_num}: layers must be 1 or 4")
                heads.append(ReleasedHead(**{**row, "layers": int(row["layers"])}))
        return heads

    def released(self, row: Backbone) -> list[ReleasedHead]:
        """Published heads of a backbone that know the classes of the test set."""
        classes = self.study.classes(self.test)
        return [h for h in self._released if h.key == row.key and h.classes == classes]

    def retrained(self, row: Backbone, view: str) -> bool:
        """Whether heads are trained here on the features of a backbone under a view."""
        wanted = all(zoo.matches(row.key, self.settings[k]) for k in ("backbones", "retrain"))
        return bool(self.train) and wanted and view in self.settings["train_views"]

    def own(self, row: Backbone) -> bool:
        """Whether the backbone's own head knows the classes of the test set."""
        same = row.classes and row.classes == self.study.classes(self.test)
        return bool(same) and row.arch.num_classes > 0

    def views(self, row: Backbone) -> list[str]:
        """The views of a backbone under which at least one head is tested.

        DINOv2 without registers has a third: timm and its own code resample the position embedding
        differently away from the native size.
        """
        wanted = list(self.settings["views"])
        if "resize256" in wanted and row.timm_id.endswith("_dinov2.lvd142m"):
            wanted += [OFFICIAL] * (row.register_count == 0)
        published = self.own(row) or self.released(row)
        return [view for view in wanted if published or self.retrained(row, view)]

    @cached_property
    def jobs(self) -> list[tuple[Backbone, str]]:
        """Every backbone under every view that a head is tested with.

        Those that are trained here, and those they start from, are tested with their own heads
        whether they are named or not: what a training gains is told on all test images.
        """
        if not self.settings:
            return []
        named = zoo.matching(self.study.backbones, self.settings["backbones"])
        trained = [row for row in self.study.before_and_after if self.own(row)]
        rows = [*named, *(row for row in trained if row not in named)]
        return [
            (row, view)
            for row in rows
            for view in self.views(row)
            if row in named or view == "native"
        ]

    def head(self, row: Backbone, layers: int) -> dict:
        """A published head as plain values, for the job that finds it."""
        head = next(h for h in self.released(row) if h.layers == layers)
        return {**asdict(head), "key": head.key}

    def inputs(self, row: Backbone, view: str) -> dict[str, list[str] | str]:
        """Features, published heads and the check of the split that one job takes, as paths."""
        study, paths = self.study, self.study.paths
        inputs = {
            "test": (
                study.token_receipts(self.test, row)
                if self.in_tokens(self.test, row, view)
                else study.feature_receipts(self.test, row, view)
            ),
            "released": [paths.head(row.key, head.layers) for head in self.released(row)],
        }
        if self.retrained(row, view):
            inputs["trained"] = study.feature_receipts(self.train, row, view)
            inputs["splits"] = paths.receipt("splits", self.train, self.test)
        return inputs

    def _measures(self, ending: str) -> list[str]:
        measure = self.study.paths.measure
        return [
            measure("heads", self.test, row.key, view, ending=ending) for row, view in self.jobs
        ]

    def own_accuracy(self, row: Backbone) -> list[str]:
        """Rows of a trained backbone's own head on the test set, where nothing else has them."""
        if not self.settings or self.test in self.study.config["analyse"]:
            return []
        scored = (row, "native") in self.jobs and self.own(row)
        return [self.study.paths.measure("heads", self.test, row.key, "native")] * scored

    @property
    def ranks(self) -> list[str]:
        """Files with the ranks of all heads, in the order of the jobs."""
        return self._measures("ranks.csv.gz")

    @property
    def measures(self) -> list[str]:
        """Files with the tidy rows of claim 5, own heads on analysed sets apart."""
        if not self.jobs:
            return []
        return [*self._measures("csv"), self.study.paths.measure("gains", self.test)]

    @property
    def training(self) -> dict:
        """The settings that decide the heads' numbers, for the job that makes them."""
        names = ("test", "train", "backbones", "retrain", "views", "train_views", "released",
                 "duplicates")  # fmt: skip
        return {k: v for k, v in self.settings.items() if k not in names}

    def memory_mb(self, row: Backbone, view: str, gpu: bool) -> int:
        """Host memory of one job in MB: features of test and training images, and the weights."""
        images = self.study.planned_images(self.test)
        if trained := self.retrained(row, view):
            images += self.study.planned_images(self.train)
        held = min(images * flops.feature_bytes(row.arch, 0, 0) / 1e9, self.settings["memory_gb"])
        weights = 0 if gpu or not trained else 3 * flops.SINGLE * self._weights(row) / 1e9
        return int(flops.torch_mb(gpu) + 1000 * (1.5 * held + weights))

    def seconds(self, row: Backbone, view: str) -> float:
        """Expected seconds of one job's training and tests, start-up apart."""
        if not self.retrained(row, view):
            return 10.0
        images = self.settings["epochs"] * self.study.planned_images(self.train)
        speed = flops.HEAD_FLOPS["cuda" if self.study.gpu else "cpu"]
        products = 6.0 * images * self._weights(row) / speed
        return 10.0 + images / self.settings["batch"] * flops.HEAD_STEP + products

    def _weights(self, row: Backbone) -> int:
        """Weights of all heads that are trained together."""
        s, tokens = self.settings, {"cls": 1, "patch_mean": 1, "registers": row.register_count}
        width = row.arch.width * sum(
            sum(tokens[part] for part in name.split("+")) for name in s["features"]
        )
        classes = 1000 if self.study.classes(self.test) in KNOWN else 100
        return width * s["seeds"] * len(s["learning_rates"]) * classes

    def cls_blocks(self, dataset: str, row: Backbone) -> int:
        """Last blocks whose CLS token a feature pass keeps: more than one for some heads only."""
        if not self.settings or dataset != self.test:
            return 0
        return max((h.layers for h in self.released(row) if h.layers > 1), default=0)

    def in_tokens(self, dataset: str, row: Backbone, view: str) -> bool:
        """Whether the extraction of claims 1 to 3 has the features already."""
        analysed = view == "native" and dataset in self.study.config["analyse"]
        return analysed and not self.cls_blocks(dataset, row)


def geometry(row: Backbone, view: str) -> Geometry:
    """How a backbone is shown its images; ``native`` is its own way."""
    if view not in VIEWS:
        raise StudyError(f"'{view}' is no view of images; there are {', '.join(VIEWS)}")
    return row.geometry if view == "native" else RESIZE256


def spec(row: Backbone, view: str) -> dict:
    """How a backbone is opened for a view."""
    return {**row.spec, "position": "official"} if view == OFFICIAL else row.spec
