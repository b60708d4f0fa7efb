"""The front door: from a backbone and a folder of images to the study that `make diagnose` runs.

Nothing heavy is imported here.
"""

import csv
import itertools
import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml

from tokenscope.backbones import fit
from tokenscope.cards import hub_folder, model_folder, preprocessor_config, weights_files
from tokenscope.config_file.needs import find_weights
from tokenscope.errors import StudyError
from tokenscope.paths import of_project
from tokenscope.study import zoo
from tokenscope.study.architecture import Architecture, look_up
from tokenscope.study.diagnose import FAMILIES

DATASET = "photographs"
MOST_IMAGES = 500
MIN_KINDS, KINDS_IMAGES = 8, 64  # images for the kinds of artifacts beside high norms
PROBED_IMAGES = 200  # fewer labelled images than this say nothing about classes
TABLE = of_project("config/backbones.csv")


@dataclass(frozen=True)
class Model:
    """A backbone as a user names it: a timm id, an id of the hub, or a file or folder."""

    timm_id: str
    weights: str = ""
    called: str = ""

    @classmethod
    def of(cls, model: str, arch: str = "", cache: str = "") -> "Model":
        """Raises StudyError: no such file or model, or a file without its architecture.

        Args:
            model, arch: as the user says. cache: folder of downloaded weights.
        """
        path = Path(model)
        if path.is_dir() or path.is_file():
            return cls._of_files(path, arch)
        repo = re.sub(r"^hf[-_]hub:", "", model)
        file = path.suffix in (".pth", ".pt", ".safetensors", ".bin")
        if repo.startswith("timm/"):
            model = repo
        elif cache and hub_folder.REPO.fullmatch(repo) and not file:
            return cls._of_hub(repo, cache)
        elif "/" in model or file:
            raise StudyError(f"there is no file or folder '{model}'")
        if "." not in model:
            raise StudyError(
                f"MODEL={model}: without a tag it may be any of several weights; "
                f"{_tags(model.removeprefix('timm/'))}"
            )
        return cls(model.removeprefix("timm/"))

    @classmethod
    def _of_files(cls, path: Path, arch: str) -> "Model":
        folder = path.is_dir()
        if not folder:
            weights_files.check(path)
            if not arch:
                raise StudyError(
                    f"'{path}' is a weights file: say which architecture, e.g. "
                    "ARCH=vit_base_patch14_dinov2.lvd142m (a timm id)"
                )
        arch = arch or model_folder.read(path).architecture
        weights = model_folder.weights_file(path) if folder else str(path)
        weights_files.check(weights)
        return cls(arch, weights)

    @classmethod
    def _of_hub(cls, repo: str, cache: str) -> "Model":
        try:
            weights = hub_folder.weights_of(repo, cache)
        except StudyError as error:
            raise StudyError(
                f"there is no file or folder '{repo}', and as a model of the hub: {error}"
            ) from None
        card = model_folder.read(Path(weights).parent)
        return cls(card.architecture, weights, repo.rpartition("/")[2])

    @property
    def name(self) -> str:
        """A word for paths: the file's or the id's."""
        if self.called:
            return self.called
        path = Path(self.weights)
        stem = re.sub(r"\.(safetensors|bin)\.index$", "", path.stem)
        if re.fullmatch(r"(open_clip_)?(pytorch_)?model|checkpoint", stem):
            stem = path.parent.name
        return re.sub(r"[^A-Za-z0-9_.-]+", "-", stem if self.weights else self.timm_id)


@dataclass(frozen=True)
class Images:
    """A folder of images: how many, and whether its folders are classes."""

    path: str
    files: int
    classes: int

    @classmethod
    def of(cls, path: str) -> "Images":
        """Raises StudyError: no folder, or no image in it."""
        from tokenscope.datasets.listing import EXTENSIONS, walk

        if not Path(path).is_dir():
            raise StudyError(f"there is no folder '{path}' (IMAGES)")
        files = list(walk(path))
        if not files:
            raise StudyError(
                f"there is no image below '{path}' (looked for {', '.join(sorted(EXTENSIONS))})"
            )
        first = {name.split("/", 1)[0] for name in files} if all("/" in n for n in files) else ()
        return cls(path, len(files), len(first) if len(first) > 1 else 0)

    @property
    def probed(self) -> bool:
        """Whether a class probe makes sense: labelled, and several images of each class."""
        return self.classes > 1 and self.used >= max(PROBED_IMAGES, 10 * self.classes)

    @property
    def used(self) -> int:
        """How many go through the diagnosis."""
        return min(self.files, MOST_IMAGES)


def _tags(architecture: str) -> str:
    """What timm's tags of an architecture are, as the end of a sentence.

    Raises:
        StudyError: timm has no such architecture; the message lists the closest.
    """
    try:
        look_up([f"{architecture}.?"], [TABLE], "")
    except StudyError as error:
        if (known := str(error).partition("tags: ")[2]).strip():
            return f"add one of its tags: {known}"
        raise
    return "add its tag"  # pragma: no cover


def remark(model: Model, arch: Architecture) -> str:
    """Where a weights file's own card, or its folder's name, says other than its ARCH; or nothing.

    A card is the ``config.json`` that timm writes beside weights.
    """
    if not Path(model.weights).is_file():
        return ""
    folder = Path(model.weights).parent
    if model_folder.beside(model.weights, model.timm_id):
        return ""  # it is the card that is followed
    if theirs := model_folder.architecture_of(model.weights):
        return f"ARCH={model.timm_id} is followed, though the weights' own config says {theirs}"
    said = _card(folder / "config.json")
    for key in ("mean", "std"):
        theirs = said.get(key)
        if theirs and not _equal(theirs, getattr(arch, key)):
            ours = " ".join(f"{x:g}" for x in getattr(arch, key))
            own = " ".join(f"{x:g}" for x in theirs)
            return (
                f"colours are scaled by ARCH={model.timm_id} ({key} {ours}), but the weights' own "
                f"card, {folder / 'config.json'}, says {key} {own}"
            )
    if "." not in model.timm_id:
        return (
            f"ARCH={model.timm_id} has no tag: size, crop and colour scaling are those of timm's "
            "first weights of that architecture"
        )
    return ""


def _card(file: Path) -> dict:
    try:
        card = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    return {**card, **card.get("pretrained_cfg", {})} if isinstance(card, dict) else {}


def _equal(first, second) -> bool:
    """Whether two triples are the same up to rounding."""
    return len(first) == len(second) and all(
        abs(a - b) < 1e-3 for a, b in zip(first, second, strict=True)
    )


def facts_of(models: list[Model], cache: str) -> list[Architecture]:
    """Facts of each model's architecture; colours are scaled as a model folder itself says.

    Raises:
        StudyError: timm knows no such architecture, it is no ViT, or two models of one architecture
            want their colours scaled differently.
    """
    known, facts = look_up([m.timm_id for m in models], [TABLE], cache), []
    for model in models:
        own = known[model.timm_id]
        if card := model_folder.beside(model.weights, model.timm_id):
            own = own.of_card(card)
        elif model.weights:
            own = replace(own, **preprocessor_config.colours(Path(model.weights).parent))
        facts.append(own)
    if len(models) > 1 and models[0].timm_id == models[1].timm_id and facts[0] != facts[1]:
        raise StudyError(
            f"both are a {models[0].timm_id}, but their folders (preprocessor_config.json, "
            "config.json) scale colours differently or change it: diagnose one at a time"
        )
    return facts


def check_weights(
    rows: list[dict[str, str]], facts: list[Architecture], folder: str | None, cache: str
) -> None:
    """Raise a StudyError unless weights fit, or can be had: before anything is begun.

    Args:
        rows, facts: of the backbones, see :func:`rows_of`; a remark on a file becomes its note.
        folder: of local weights, if any. cache: of downloaded ones.
    """
    for row in rows:
        if row["weights"] or find_weights(row["timm_id"], folder, cache)[0]:
            continue
        if why := hub_folder.why_not(f"timm/{row['timm_id']}"):
            raise StudyError(
                f"no weights of {row['timm_id']}: {why}. Put them at {folder or cache}/"
                f"{row['timm_id']}.safetensors, name their folder (WEIGHTS=), or give a file "
                "(MODEL=<file> ARCH=<timm id>)"
            )
    with TemporaryDirectory() as scratch:
        write_tables(scratch, rows, facts)
        found = zoo.load([f"{scratch}/backbones.csv"], ["*"], {}, cache).values()
    files = [(row.spec, row.weights or find_weights(row.timm_id, folder, None)[0]) for row in found]
    here = [(spec, str(Path(file).resolve())) for spec, file in files if file]
    if here := [(spec, file) for spec, file in here if Path(file).is_file()]:
        for _, file in here:
            weights_files.check(file)
        remarks = dict(zip((spec["name"] for spec, _ in here), fit.check(here), strict=True))
        for row in rows:
            name = "/".join(row[c] for c in zoo.COLUMNS[:3])
            row["note"] = row["note"] or remarks.get(name, "")


def rows_of(
    models: list[Model], facts: list[Architecture], classes: str = ""
) -> list[dict[str, str]]:
    """Rows of a backbone table, one a model; the first is ``mine``, the second ``other``.

    ``classes``: list of the classes of the first one's own head; others do not matter.
    """
    rows = []
    for family, model, arch in zip(FAMILIES, models, facts, strict=False):
        registers = f"r{arch.register_tokens}"
        note = remark(model, arch)
        own = classes if family == FAMILIES[0] else ""
        cells = (family, model.name, registers, model.timm_id, model.weights, "", own, note)
        rows.append(dict(zip(zoo.COLUMNS, cells, strict=True)))
    return rows


def own_folder(wanted: str, rows: list[dict], images: Images) -> str:
    """A folder of results that is not of another input: ``wanted``, or the same with a number."""
    for number in itertools.count(1):
        folder = wanted if number == 1 else f"{wanted}-{number}"
        if not Path(folder, "study.yaml").is_file() or _same(folder, rows, images):
            return folder
    raise AssertionError("there are numbers enough")


def _same(folder: str, rows: list[dict], images: Images) -> bool:
    """Whether a folder holds a diagnosis of these backbones on this folder of images."""
    try:
        config = yaml.safe_load(Path(folder, "study.yaml").read_text())
        with open(Path(folder, "backbones.csv"), newline="") as handle:
            before = list(csv.DictReader(handle))
        return config["datasets"][DATASET]["path"] == images.path and [
            {**row, "note": ""} for row in before
        ] == [{**row, "note": ""} for row in rows]
    except (OSError, yaml.YAMLError, KeyError, TypeError):
        return False


def config_of(
    results: str, rows: list[dict], facts: list[Architecture], images: Images, options: dict
) -> dict:
    """The study behind one diagnosis, as a config.

    Args:
        rows: of the backbone table, see :func:`rows_of`. facts: of their architectures.
        options: ``device``, ``batch``, ``weights`` (folder of local weights or None), ``threads``,
            ``bad``: what becomes of images that cannot be read, ``fail`` or ``skip``.
    """
    keys = ["/".join(row[c] for c in zoo.COLUMNS[:3]) for row in rows]
    bases = [key for key in keys if key.endswith("/r0")]
    count, skip = images.used, options["bad"] == "skip"
    config = {
        "study": Path(results).name, "results": results, "device": options["device"],
        "backbone_tables": [f"{results}/backbones.csv"], "backbones": keys,
        "weights": {"folder": options["weights"]}, "analyse": [DATASET],
        "datasets": {DATASET: {
            "type": "imagefolder", "path": images.path, "seed": 0, "on_bad_image": options["bad"],
            # Of a sample others take their place; where all are used, those are left that can be.
            "images": "all" if skip and count == images.files else count,
            "labels": "folders" if images.classes else "none",
        }},
        "extract": {"batch": options["batch"]},
        "gallery": {
            "images": min(12, count), "high_resolution": min(arch.input_size for arch in facts),
        },
        "diagnose": {"dataset": DATASET, "backbones": keys},
        "threads": dict.fromkeys(("decode", "extract", "probe"), options["threads"]),
        "forecast": "none",
    }  # fmt: skip
    if bases:
        config["testtime"] = {
            "backbones": bases, "dataset": DATASET, "registers": [1], "images": max(2, count),
        }  # fmt: skip
    if classes := rows[0]["classes"]:
        if not images.classes:
            raise StudyError(
                f"CLASSES={classes}: a head is scored on images that lie in folders by class"
            )
        config["datasets"][DATASET] |= {"classes": classes, "subset": True}
        config["heads"] = {"test": DATASET, "backbones": keys[:1], "views": ["native"]}
    if count >= MIN_KINDS:
        config["kinds"] = {"images": min(KINDS_IMAGES, count), "batch": min(16, options["batch"])}
    if images.probed:
        config["probes"] = {
            "dataset": DATASET, "cutoffs": DATASET, "backbones": keys, "batch": 256,
            "split": [0.6, 0.15, 0.25], "min_tokens": 50,
        }  # fmt: skip
    return config


def write_tables(folder: str | Path, rows: list[dict], facts: list[Architecture]) -> None:
    """The backbone table of a diagnosis, and beside it the facts that Snakemake needs."""
    unique = {arch.timm_id: arch.as_strings() for arch in facts}.values()
    for name, lines in (("backbones", rows), ("architectures", list(unique))):
        with open(Path(folder, f"{name}.csv"), "w", newline="") as handle:
            writer = csv.DictWriter(handle, list(lines[0]))
            writer.writeheader()
            writer.writerows(lines)
