"""The zoo: which backbones exist, as rows of a table, with the facts of their architecture.

A row of ``config/backbones.csv`` names a backbone (family, size, registers) and where its weights
come from. What Snakemake must know before any job runs (grid, width, image geometry) comes from
``config/architectures.csv``, generated from timm; an id that is missing there is looked up once
in a subprocess and remembered, so that adding a row is all a user does.
"""

import csv
import difflib
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass, field, fields, replace
from fnmatch import fnmatchcase
from pathlib import Path

from tokenscope import kinds
from tokenscope.errors import StudyError
from tokenscope.geometry import Geometry
from tokenscope.kinds import CONTROLS, REGISTERS
from tokenscope.recipes import expand

COLUMNS = ("family", "size", "registers", "timm_id", "weights", "recipe", "classes", "note")
_READ = {
    int: int,
    float: float,
    str: str,
    bool: lambda text: text == "True",
    tuple[float, float, float]: lambda text: tuple(float(x) for x in text.split()),
}


@dataclass(frozen=True)
class Architecture:
    """Facts of one architecture; ``block_macs`` counts the linear weights of one block."""

    timm_id: str
    patch: int
    depth: int
    width: int
    heads: int
    block_macs: int
    register_tokens: int
    prefix_tokens: int
    has_cls: bool
    params: int
    num_classes: int
    input_size: int
    crop_pct: float
    interpolation: str
    crop_mode: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    @classmethod
    def from_strings(cls, row: dict[str, str]) -> "Architecture":
        """One row of architectures.csv; triples are separated by spaces."""
        return cls(**{f.name: _READ[f.type](row[f.name]) for f in fields(cls)})

    def as_strings(self) -> dict[str, str]:
        """Inverse of :meth:`from_strings`."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return {
            k: " ".join(map(str, v)) if isinstance(v, tuple) else str(v) for k, v in values.items()
        }

    def remodelled(self, model: dict, data: dict, registers: int) -> "Architecture":
        """These facts after a recipe's model and data arguments and a register count."""
        width, depth = model.get("embed_dim", self.width), model.get("depth", self.depth)
        scale = (width / self.width) ** 2
        extra = registers - self.register_tokens
        return replace(
            self,
            patch=model.get("patch_size", self.patch),
            depth=depth,
            width=width,
            heads=model.get("num_heads", self.heads),
            block_macs=int(self.block_macs * scale),
            register_tokens=registers,
            prefix_tokens=self.prefix_tokens + extra,
            params=int(self.params * scale * depth / self.depth),
            num_classes=model.get("num_classes", self.num_classes),
            input_size=model.get("img_size", self.input_size),
            crop_pct=data.get("crop_pct", self.crop_pct),
            mean=tuple(data.get("mean", self.mean)),
            std=tuple(data.get("std", self.std)),
        )


@dataclass(frozen=True)
class Backbone:
    """One ViT with fixed weights: a row of the zoo with its architecture.

    ``base`` is the key of the backbone it is made from; ``settings`` are those of its recipe's
    training that its place in a grid decides.
    """

    family: str
    size: str
    registers: str
    timm_id: str
    weights: str = ""
    recipe: str = ""
    classes: str = ""
    note: str = ""
    base: str = ""
    settings: dict = field(default_factory=dict, hash=False)
    model: dict = field(default_factory=dict, hash=False)
    arch: Architecture | None = None

    @property
    def key(self) -> str:
        """``family/size/registers``, as in every path."""
        return f"{self.family}/{self.size}/{self.registers}"

    @property
    def register_count(self) -> int:
        return int(REGISTERS.fullmatch(self.registers)["count"])

    @property
    def kind(self) -> str:
        """Where its registers come from: none, trained, scratch ...; or which control it is."""
        return kinds.kind(self.registers)

    @property
    def base_key(self) -> str:
        """Key of the same backbone without registers."""
        return f"{self.family}/{self.size}/{kinds.base(self.registers)}"

    @property
    def attached(self) -> bool:
        """Whether its registers are added to a finished backbone at test time."""
        return self.kind in kinds.ATTACHED

    def with_attached(self, count: int, kind: str) -> "Backbone":
        """This backbone with registers added at test time (``testtime`` or ``random``)."""
        made = REGISTERS.fullmatch(self.registers)["made"]
        name = "-".join(filter(None, [f"r{count}", made, kind]))
        note = f"{count} registers added to {self.registers} without training"
        return replace(self, registers=name, arch=self.arch.remodelled({}, {}, count), note=note)

    @property
    def spec(self) -> dict:
        """What a job needs to build the backbone, as plain values (a rule's parameter)."""
        return {
            "name": self.key,
            "timm_id": self.timm_id,
            "model": self.model,
            "registers": 0 if self.attached else self.register_count,
            "mean": self.arch.mean,
            "std": self.arch.std,
        }

    @property
    def geometry(self) -> Geometry:
        """The backbone's own evaluation geometry."""
        return self.geometry_at(self.arch.input_size)

    def geometry_at(self, size: int) -> Geometry:
        """The same field of view at another resolution."""
        a = self.arch
        return Geometry.evaluation(size, a.crop_pct, a.interpolation, a.crop_mode)

    def size_near(self, target: int) -> int:
        """Largest multiple of the patch size up to ``target``: 800 becomes 798 for patch 14."""
        return target // self.arch.patch * self.arch.patch


def load(
    tables: list[str],
    patterns: list[str],
    recipes: dict[str, dict],
    cache: str,
    grids: dict[str, dict] | None = None,
) -> dict[str, Backbone]:
    """Rows that match one of the glob patterns and the bases they are made from, by key.

    Args:
        tables: CSV files with the columns :data:`COLUMNS`; later files may add rows.
        patterns: globs over ``family/size/registers``, e.g. ``dinov2/*/r4``.
        recipes: training recipes by name, for rows trained here.
        cache: folder that remembers facts of ids that architectures.csv does not hold.
        grids: grids of trained backbones, see :func:`tokenscope.recipes.expand`.

    Raises:
        StudyError: a malformed or double row, or a pattern that matches nothing.
    """
    rows: dict[str, dict] = {}
    for table in tables:
        for line, row in _read(table):
            key = "/".join(row[c] for c in COLUMNS[:3])
            if not REGISTERS.fullmatch(row["registers"]):
                raise StudyError(
                    f"{table}, line {line}: registers '{row['registers']}' is not r<count> with an "
                    "optional -scratch, -finetuned, -planted or -clean"
                )
            if REGISTERS.fullmatch(row["registers"])["attached"]:
                raise StudyError(
                    f"{table}, line {line}: registers at test time need no row; name their base in "
                    "the config (testtime: backbones)"
                )
            if not row["recipe"] and not row["weights"] and "." not in row["timm_id"]:
                raise StudyError(
                    f"{table}, line {line}: '{row['timm_id']}' without a tag may be any of several "
                    "weights; write <architecture>.<tag>, or name a file in the column weights"
                )
            if key in rows:
                raise StudyError(f"{table}, line {line}: the backbone {key} is there twice")
            rows[key] = row
    rows |= expand(grids or {}, rows)
    for pattern in patterns:
        if not any(chosen(key, [pattern]) for key in rows):
            raise StudyError(
                f"backbones: '{pattern}' matches no row of {', '.join(tables)}. "
                + _what_there_is(pattern, rows)
            )
    needed = {key: None for key in rows if chosen(key, patterns)}
    todo = list(needed)
    while todo:
        key = todo.pop()
        if base := _base(key, rows):
            rows[key]["base"] = base
            if base not in needed:
                needed[base] = None
                todo.append(base)
    facts = architectures([rows[key]["timm_id"] for key in needed], tables, cache)
    return {key: _backbone(rows[key], rows, facts, recipes) for key in needed}


def _base(key: str, rows: dict[str, dict]) -> str:
    """The backbone that a control or a fine-tuned one is made from; empty for others."""
    kind = REGISTERS.fullmatch(rows[key]["registers"])["made"]
    if kind == "finetuned":
        base = rows[key].get("base") or f"{key.rsplit('/', 1)[0]}/r0"
        what = "a fine-tuned backbone needs the row {0}, where it starts"
    elif kind in CONTROLS:
        base = re.sub(f"-{kind}$", "-scratch", key)
        what = "a control needs the row {0}, the ViT it is made from"
    else:
        return ""
    if base not in rows:
        raise StudyError(f"{key}: {what.format(base)}")
    return base


def chosen(key: str, patterns: list[str]) -> bool:
    """Whether one of the glob patterns picks this ``family/size/registers``."""
    return any(fnmatchcase(key, pattern) for pattern in patterns)


def _read(table: str):
    try:
        with open(table, newline="") as handle:
            reader = csv.DictReader(handle)
            if (header := tuple(reader.fieldnames or ())) != COLUMNS:
                raise StudyError(f"{table}: the columns are {header}, they must be {COLUMNS}")
            for row in reader:
                if None in row or None in row.values():
                    raise StudyError(f"{table}, line {reader.line_num}: needs {len(COLUMNS)} cells")
                yield reader.line_num, row
    except FileNotFoundError:
        raise StudyError(f"backbone table {table} does not exist") from None


def _what_there_is(pattern: str, rows: dict) -> str:
    family, _, rest = pattern.partition("/")
    size = rest.partition("/")[0]
    families = sorted({key.split("/")[0] for key in rows})
    if family not in families:
        return f"Families there are: {', '.join(families)}."
    sizes = sorted({key.split("/")[1] for key in rows if key.startswith(family + "/")})
    if size not in sizes:
        return f"Sizes of {family}: {', '.join(sizes)}."
    counts = [key.split("/")[2] for key in rows if key.startswith(f"{family}/{size}/")]
    return f"Register counts of {family}/{size}: {', '.join(counts)}."


def _backbone(
    row: dict, rows: dict[str, dict], facts: dict[str, Architecture], recipes: dict[str, dict]
) -> Backbone:
    key = "/".join(row[c] for c in COLUMNS[:3])
    arch, model = facts[row["timm_id"]], {}
    match = REGISTERS.fullmatch(row["registers"])
    count = int(match["count"])
    if row["recipe"]:
        if row["recipe"] not in recipes:
            raise StudyError(
                f"{key}: recipe '{row['recipe']}' is not one of {', '.join(sorted(recipes))}"
            )
        # A fine-tuned backbone has the shape of the one it starts from, unless its recipe differs.
        start = rows[row["base"]]["recipe"] if match["made"] == "finetuned" else ""
        made_by = [recipes[name] for name in (start, row["recipe"]) if name]
        model, data = (
            {k: v for recipe in made_by for k, v in recipe.get(part, {}).items()}
            for part in ("model", "data")
        )
        arch = arch.remodelled(model, data, count)
    elif match["made"]:
        raise StudyError(f"{key}: a backbone of kind '{match['kind']}' needs a recipe in its row")
    elif arch.register_tokens != count:
        raise StudyError(
            f"{key}: {row['timm_id']} has {arch.register_tokens} registers, its row says {count}"
        )
    elif row["weights"] and not row["classes"]:  # a file whose head does not matter
        model, arch = {"num_classes": 0}, replace(arch, num_classes=0)
    return Backbone(**row, model=model, arch=arch)


def architectures(ids: list[str], tables: list[str], cache: str) -> dict[str, Architecture]:
    """Facts by timm id: from architectures.csv beside the table, the cache, or timm itself."""
    table = Path(tables[0]).with_name("architectures.csv")
    known = {}
    if table.exists():
        with table.open(newline="") as handle:
            known = {r["timm_id"]: Architecture.from_strings(r) for r in csv.DictReader(handle)}
    folder = Path(cache) / "architectures"
    missing = sorted(set(ids) - set(known))
    for timm_id in list(missing):
        if (file := folder / f"{timm_id}.json").exists():
            known[timm_id] = Architecture.from_strings(json.loads(file.read_text()))
            missing.remove(timm_id)
    for arch in _ask_timm(missing) if missing else ():
        known[arch.timm_id] = arch
        folder.mkdir(parents=True, exist_ok=True)
        aside = folder / f".{arch.timm_id}.{os.getpid()}"
        aside.write_text(json.dumps(arch.as_strings(), indent=1))
        aside.replace(folder / f"{arch.timm_id}.json")
    return known


def _ask_timm(ids: list[str]) -> list[Architecture]:
    """In a subprocess: importing torch here would cost every Slurm job seconds, twice."""
    path = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-m", "tokenscope.architectures", *ids],
        env={**os.environ, "PYTHONPATH": str(path)},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no message"]
        raise StudyError(lines[-1].removeprefix("StudyError: "))
    return [Architecture.from_strings(row) for row in csv.DictReader(done.stdout.splitlines())]


def closest(word: str, words: list[str], n: int = 4) -> str:
    """The ``n`` nearest of ``words``, for error messages."""
    near = difflib.get_close_matches(word, words, n=n, cutoff=0.3)
    return ", ".join(near) or "nothing similar"
