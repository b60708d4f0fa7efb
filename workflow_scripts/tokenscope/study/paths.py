"""Where a study keeps its results: the one home of paths that rules and library both speak of.

All are text below the folder of results. Words in braces pass through, so that the same methods
make the patterns of rules: ``paths.table("{table}")``. Logs, benchmarks, unfinished work and Zarr
stores that one rule alone writes are named by the rules.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Paths:
    """Paths below ``results``.

    In all of them ``dataset`` is the name of a data set, and ``backbone`` the key
    ``family/size/registers``.
    """

    results: str

    def data(self, dataset: str, file: str) -> str:
        """What is known of a data set's images: ``sample.csv``, ``labels.csv``, ``truth.zarr``."""
        return f"{self.results}/data/{dataset}/{file}"

    def pixels(self, dataset: str, geometry: str) -> str:
        """Store of the decoded images; ``geometry`` is the key of a Geometry."""
        return f"{self.results}/images/{dataset}/{geometry}.zarr"

    def backbone(self, backbone: str, file: str) -> str:
        """A file of a backbone's own folder: weights, history, snapshots."""
        return f"{self.results}/backbones/{backbone}/{file}"

    def card(self, backbone: str) -> str:
        """Card of a backbone: where its weights are, and their checksum."""
        return self.backbone(backbone, "card.json")

    def head(self, backbone: str, layers: int | str) -> str:
        """Card of a published head, by the number of blocks it reads."""
        return f"{self.results}/heads/{backbone}/{layers}.json"

    def receipt(self, kind: str, *place: str) -> str:
        """Receipt of finished work of one kind: data set, then backbone, view, shard."""
        return f"{self.results}/receipts/{kind}/{'/'.join(place)}.json"

    def measure(self, kind: str, *place: str, ending: str = "csv") -> str:
        """Measurements of one kind: tidy rows, or beside them what has another ending."""
        return f"{self.results}/measures/{kind}/{'/'.join(place)}.{ending}"

    def cutoffs(self, dataset: str, backbone: str) -> str:
        """Norms that part outliers from other tokens."""
        return f"{self.results}/cutoffs/{dataset}/{backbone}.json"

    def table(self, name: str, ending: str = "csv") -> str:
        """A table of all backbones."""
        return f"{self.results}/tables/{name}.{ending}"

    def is_table(self, path: str) -> bool:
        """Whether a path is that of a table."""
        return path.startswith(f"{self.results}/tables/")

    def figure(self, name: str, ending: str = "png") -> str:
        """A figure by its name in ``config/report.yaml``, which may hold folders."""
        return f"{self.results}/figures/{name}.{ending}"

    def page(self, ending: str = "html") -> str:
        """The page of a diagnosis; with ``json`` what it says, for programs."""
        return f"{self.results}/diagnosis.{ending}"

    def index(self, hierarchy: str) -> str:
        """Consolidated metadata of all groups of a kind: ``tokens``, ``gallery``."""
        return f"{self.results}/{hierarchy}.zarr/zarr.json"

    def accounting(self) -> str:
        """Folder of what jobs took and what was forecast; see :mod:`tokenscope.jobs.records`."""
        return f"{self.results}/accounting"

    def figure_data(self, *place: str) -> str:
        """What a figure is drawn from beside tables; the last word is a file with its ending."""
        return f"{self.results}/figures/data/{'/'.join(place)}"
