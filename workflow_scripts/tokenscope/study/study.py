"""A study as its config describes it: which backbones, which images, cut into which jobs.

Pure arithmetic and small files: Snakemake asks for all of it while it builds the graph.
"""

from collections import defaultdict
from functools import cached_property
from pathlib import Path

from tokenscope.config_file import references, strict_yaml
from tokenscope.errors import StudyError
from tokenscope.images.geometry import Geometry
from tokenscope.images.location import folder_of
from tokenscope.study import controls, flops, heads, recipes, register_names, zoo
from tokenscope.study.controls import phantoms
from tokenscope.study.diagnose import diagnosed
from tokenscope.study.patch_tasks import PatchTask
from tokenscope.study.paths import Paths
from tokenscope.study.probes import Probing
from tokenscope.study.zoo import Backbone


class Study:
    """Answers for one validated config.

    Args:
        gpu: whether jobs with ``device: auto`` will find a GPU where they run.

    Raises:
        StudyError: the config names a data set, backbone or recipe that does not exist.
    """

    def __init__(self, config: dict, gpu: bool = True):
        controls.add(config)
        self.config = config
        self.gpu = config["device"] == "cuda" or (config["device"] == "auto" and gpu)
        self.results = config["results"].rstrip("/")
        self.paths = Paths(self.results)
        self.datasets = config["datasets"]
        mistakes: list[str] = []  # those of the second group name what is analysed
        for checks in (
            (lambda: references.check_results(config), lambda: references.check_analysed(config),
             lambda: references.check_classes(config), lambda: references.check_files(config),
             self._check_trained, self._read_heads,
             self._read_discovery, self._read_dense),
            (self._check_testtime, self._read_phantoms, self._read_probes, self._read_diagnosed),
        ):  # fmt: skip
            for check in () if any(m.startswith("analyse: ") for m in mistakes) else checks:
                try:
                    check()
                except StudyError as error:
                    mistakes.append(str(error))
        if mistakes:  # one may break several checks
            raise StudyError("\n".join(dict.fromkeys(mistakes)))

    def _check_testtime(self) -> None:
        references.check_testtime(self.config, any(row.attached for row in self.rows.values()))

    def _check_trained(self) -> None:
        for row in self.rows.values():
            images = row.recipe and self.recipes[row.recipe]["dataset"]
            if images and images not in self.datasets:
                raise StudyError(
                    f"datasets: {images}: is missing: {row.key} is trained on it (controls: true "
                    "brings what phantoms need)"
                )
            if images:
                self.training(row)

    def _read_phantoms(self) -> None:
        self.phantoms = phantoms(self)

    def _read_probes(self) -> None:
        self.probing = Probing(self)

    def _read_diagnosed(self) -> None:
        self.diagnosed = diagnosed(self)

    def _read_heads(self) -> None:
        self.heads = heads.Heads(self)

    def _read_discovery(self) -> None:
        self.discovery = PatchTask(self, "discovery")

    def _read_dense(self) -> None:
        self.dense = PatchTask(self, "dense")

    @cached_property
    def recipes(self) -> dict[str, dict]:
        """Training recipes by name."""
        folders = [Path(self.config["recipes"])]
        if self.config.get("controls"):  # its own recipes go before the built-in ones
            folders.insert(0, controls.RECIPES)
        files = {file.stem: file for folder in folders for file in sorted(folder.glob("*.yaml"))}
        by_name = {name: strict_yaml.load(file) for name, file in files.items()}
        for name, recipe in by_name.items():
            recipes.check(name, recipe)
        return by_name

    @cached_property
    def rows(self) -> dict[str, Backbone]:
        """Chosen backbones, those they are made from or get registers at test time, those whose
        cost is measured, phantoms; by key."""
        c = self.config
        asked = {f"phantoms: {name}": patterns for name, patterns in c.get("phantoms", {}).items()}
        asked |= {"overhead: backbones": c["overhead"]["backbones"], "backbones": c["backbones"]}
        patterns = {pattern: key for key, patterns in asked.items() for pattern in patterns}
        tables, cache = c["backbone_tables"], c["weights"]["cache"]
        more = controls.rows() if c.get("controls") else []
        rows = zoo.load(tables, patterns, self.recipes, cache, c["training"], more)
        return {row.key: row for base in rows.values() for row in (base, *self._attached(base))}

    @property
    def passes(self) -> list[tuple[str, Backbone]]:
        """Every data set and backbone of which all tokens are taken."""
        return [(n, row) for n in self.config["analyse"] for row in self.backbones] + self.phantoms

    def _attached(self, base: Backbone) -> list[Backbone]:
        section = self.config.get("testtime")
        if not section or not zoo.matches(base.key, section["backbones"]):
            return []
        if base.register_count or not zoo.matches(base.key, self.config["backbones"]):
            why = "has registers" if base.register_count else "is not among the study's backbones"
            raise StudyError(f"testtime: backbones: {base.key} {why}; name ones without registers")
        counts = section["registers"]
        attached = [base.with_attached(count, "testtime") for count in counts]
        controls = register_names.ATTACHED_CONTROLS
        return attached + [base.with_attached(counts[0], kind) for kind in controls]

    def neuron_search(self, row: Backbone) -> dict:
        """Settings of a search; a change of the others finds the same neurons."""
        keys = ("images", "unseen", "contrast", "max_neurons", "min_share", "seed", "second_size")
        settings = {key: self.config["testtime"][key] for key in keys}
        return settings | {"second_size": row.another_size(settings["second_size"])}

    def neurons_of(self, row: Backbone) -> str:
        """What was found for the base of a backbone with registers added at test time."""
        dataset = self.config["testtime"]["dataset"]
        return self.paths.measure("neurons", dataset, row.base_key, ending="json")

    @cached_property
    def named(self) -> list[Backbone]:
        """The backbones that the config names, those with registers added at test time too."""
        patterns = self.config["backbones"]
        return [row for row in self.rows.values() if row.attached or zoo.matches(row.key, patterns)]

    @cached_property
    def backbones(self) -> list[Backbone]:
        """The backbones that go through the claims: all, or those that the key ``only`` leaves."""
        only = self.config.get("only") or ["*/*/*"]
        zoo.check_patterns("only", only, self.named)
        return [
            row for row in self.named
            if zoo.matches(row.base_key if row.attached else row.key, only)
        ]  # fmt: skip

    @property
    def testtime_bases(self) -> list[Backbone]:
        """The backbones that get registers at test time: their register neurons are looked for."""
        return [row for row in self.backbones if len(self.attached_to(row)) > 1]

    def attached_to(self, row: Backbone) -> list[Backbone]:
        """A backbone without registers, and those made from it at test time."""
        return [row, *self._made.get(row.key, [])]

    @cached_property
    def _made(self) -> dict[str, list[Backbone]]:
        by_base = defaultdict(list)
        for row in self.rows.values():
            if row.attached:
                by_base[row.base_key].append(row)
        return by_base

    def of_size(self, family: str, size: str) -> list[Backbone]:
        """The chosen backbones of one family and size: its register counts, of all kinds."""
        return self._sizes[family, size]

    @cached_property
    def _sizes(self) -> dict[tuple[str, str], list[Backbone]]:
        by_size = defaultdict(list)
        for row in self.backbones:
            by_size[row.family, row.size].append(row)
        return by_size

    def who(self, row: Backbone, dataset: str) -> dict[str, str]:
        """The columns that name a backbone and a data set in every tidy row."""
        names = {"family": row.family, "size": row.size, "registers": row.registers}
        return {**names, "kind": row.kind, "dataset": dataset}

    def objects(self, dataset: str, family: str, size: str) -> str:
        """Truth store of a data set whose images these backbones see whole; empty otherwise."""
        scenes = self.datasets[dataset]["type"] == "scenes"
        whole = all(row.geometry.whole for row in self.of_size(family, size))
        return self.paths.data(dataset, "truth.zarr") if scenes and whole else ""

    @property
    def families(self) -> list[str]:
        return list(dict.fromkeys(row.family for row in self.backbones))

    def recipe(self, row: Backbone) -> dict:
        """Recipe of a backbone trained here, with the settings of its place in a grid."""
        recipe = self.recipes[row.recipe]
        return {**recipe, "training": self.training(row)}

    def training(self, row: Backbone) -> dict:
        """The recipe's section ``training`` with all defaults, as plain values."""
        given = {**self.recipes[row.recipe]["training"], **row.settings}
        return recipes.as_params(recipes.training(row.recipe, given))

    def training_images(self, row: Backbone) -> dict[str, str]:
        """Where a training takes its images from: decoded pixels, or files that are augmented.

        ``receipt`` and ``store``, with ``truth`` where patches have labels; or ``sample``,
        ``root`` and ``geometry``.
        """
        name, recipe = self.recipes[row.recipe]["dataset"], self.training(row)
        if recipe["augment"]:
            return {
                "sample": self.paths.data(name, "sample.csv"),
                "root": self.image_root(name),
                "geometry": row.geometry.key,
            }
        images = {
            "receipt": self.paths.receipt("decode", name, row.geometry.key),
            "store": self.paths.pixels(name, row.geometry.key),
        }
        if recipe["token_labels"]:
            images["truth"] = self.paths.data(name, "truth.zarr")
        return images

    def compute(self, row: Backbone) -> dict:
        """What a training asks for: ``gpus`` of each of ``nodes``, ``processes`` on CPUs,
        ``minutes`` of an attempt."""
        default = {"gpus": 1, "nodes": 1, "processes": 1, "minutes": 60}
        return {**default, **self.recipes[row.recipe].get("compute", {})}

    @property
    def trained(self) -> list[Backbone]:
        """The chosen backbones that are trained here; not the controls made from one."""
        return [row for row in self.backbones if row.kind in ("scratch", "finetuned")]

    @property
    def before_and_after(self) -> list[Backbone]:
        """The backbones trained here, and those they start from."""
        keys = [key for row in self.trained for key in (row.key, row.base) if key]
        return [self.rows[key] for key in dict.fromkeys(keys)]

    @property
    def overhead(self) -> list[Backbone]:
        """The backbones whose cost with registers is measured, as they are named."""
        only = self.config.get("only") or ["*/*/*"]
        rows = [row for row in zoo.matching([*self.rows.values()], only) if not row.attached]
        named = (zoo.matching(rows, [p]) for p in self.config["overhead"]["backbones"])
        return list(dict.fromkeys(row for found in named for row in found))

    def settings(self, row: Backbone) -> dict:
        """What a table of trainings says of each."""
        used = self.training(row)
        return {
            "key": row.key, "kind": row.kind, "recipe": row.recipe, "base": row.base,
            "training_seed": used["seed"],
            **{name: used[name] for name in ("norm_penalty", "frozen_blocks", "epochs")},
        }  # fmt: skip

    def layout(self, name: str) -> dict:
        """Type, path, labels of a data set on disk, as tokenscope.datasets.manifest takes them."""
        dataset = self.datasets[name]
        if dataset["type"] == "scenes":
            path, labels = (self.paths.data(name, file) for file in ("images", "labels.csv"))
            return {"type": "imagefolder", "path": path, "labels": labels}
        keys = ("type", "path", "labels", "columns", "synsets", "classes", "subset")
        return {key: dataset[key] for key in keys if key in dataset}

    def image_root(self, name: str) -> str:
        """Folder that the paths of a sample are relative to; parquet images are copied out."""
        layout = self.layout(name)
        packed = layout["type"] == "parquet"
        return self.paths.data(name, "packed") if packed else folder_of(layout["path"])

    @property
    def read_sets(self) -> list[str]:
        """The data sets that the study reads; one that no section names is only there."""
        c = self.config
        names = [*c["analyse"], *c.get("phantoms", {}), self.probing.settings.get("dataset"),
                 *(self.heads.settings.get(key) for key in ("train", "test")),
                 *(self.recipes[row.recipe]["dataset"] for row in self.rows.values() if row.recipe),
                 *(entry.get("dataset") for section in (self.discovery, self.dense)
                   for entry in section.sets.values())]  # fmt: skip
        return [name for name in dict.fromkeys(names) if name]

    def planned_images(self, name: str) -> int:
        """Images a study plans with; 'all' of a folder is known only once it is indexed."""
        count = self.datasets[name]["images"]
        return 5000 if count == "all" else count

    def classes(self, name: str) -> str:
        """Name of a data set's classes, to be compared with a backbone's."""
        return self.datasets[name].get("classes") or self.datasets[name]["type"]

    def view(self, row: Backbone, view: str) -> Geometry:
        """How a backbone is shown its images in a feature pass: ``native`` is its own geometry."""
        return heads.geometry(row, view)

    def streamed(self, name: str, geometry: Geometry) -> bool:
        """Whether a decoded copy would be too large to keep, so that jobs decode on the way."""
        size = flops.decoded_gb(self.planned_images(name), geometry.size)
        return size > self.config["max_decoded_gb"]

    def chunk_images(self, row: Backbone) -> int:
        """Images in one chunk of a backbone's token store."""
        extract = self.config["extract"]
        size = row.arch.input_size
        return flops.images_per_chunk(row.arch, size, extract["chunk_mb"], extract["batch"])

    def feature_chunk(self, row: Backbone, view: str) -> int:
        """Images in one chunk of a feature store: features are small, their pixels decide."""
        return flops.images_in_flight(self.view(row, view).size, self.config["extract"]["batch"])

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

    def token_receipts(self, name: str, row: Backbone) -> list[str]:
        """Receipts of all shards of a backbone's extraction from a data set, as paths."""
        shards = self.shards(name, row)
        return [self.paths.receipt("extract", name, row.key, shard) for shard in shards]

    def feature_receipts(self, name: str, row: Backbone, view: str = "native") -> list[str]:
        """The same of its feature pass under a view."""
        shards = self.shards(name, row)
        return [self.paths.receipt("features", name, row.key, view, shard) for shard in shards]
