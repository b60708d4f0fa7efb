"""The model zoo: which backbones exist, as rows of a table.

A row of ``config/backbones.csv`` names a backbone (family, size, registers) and where its weights
come from; a row is all a user adds.
"""

import csv
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import cached_property

from tokenscope.cards import class_list, model_folder
from tokenscope.errors import StudyError, nearest, some
from tokenscope.images.geometry import Geometry
from tokenscope.study import register_names
from tokenscope.study.architecture import Architecture, look_up
from tokenscope.study.recipes import expand
from tokenscope.study.register_names import CONTROLS, REGISTERS

COLUMNS = ("family", "size", "registers", "timm_id", "weights", "recipe", "classes", "note")


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

    @cached_property
    def key(self) -> str:
        """``family/size/registers``, as in every path."""
        return f"{self.family}/{self.size}/{self.registers}"

    @cached_property
    def register_count(self) -> int:
        return int(REGISTERS.fullmatch(self.registers)["count"])

    @cached_property
    def kind(self) -> str:
        """Where its registers come from: none, trained, scratch ...; or which control it is."""
        return register_names.kind(self.registers)

    @cached_property
    def base_key(self) -> str:
        """Key of the same backbone without registers."""
        return f"{self.family}/{self.size}/{register_names.base(self.registers)}"

    def measured_at(self, overhead: dict) -> int:
        """Side of the images on which its cost is measured, its own where none is given.

        Args:
            overhead: the section of that name.

        Raises:
            StudyError: the side is not whole patches.
        """
        size = overhead.get("size", self.arch.input_size)
        if size % self.arch.patch:
            raise StudyError(
                f"overhead: size: {size} pixels are no whole number of patches of "
                f"{self.arch.patch} ({self.key})"
            )
        return size

    @property
    def attached(self) -> bool:
        """Whether its registers are added to a finished backbone at test time."""
        return self.kind in register_names.ATTACHED

    def with_attached(self, count: int, kind: str) -> "Backbone":
        """This backbone with registers added at test time, of one of the kinds ``ATTACHED``."""
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

    def another_size(self, asked: int | list[int] | None) -> int | None:
        """The first of the sizes asked for, in whole patches, that is not its own; or None."""
        sizes = map(self.size_near, [asked] if isinstance(asked, int) else asked or [])
        return next((size for size in sizes if size and size != self.arch.input_size), None)


def load(
    tables: list[str],
    patterns: list[str] | dict[str, str],
    recipes: dict[str, dict],
    cache: str,
    grids: dict[str, dict] | None = None,
    more: Iterable[dict] = (),
) -> dict[str, Backbone]:
    """Rows that match one of the glob patterns and the bases they are made from, by key.

    Args:
        tables: CSV files with the columns :data:`COLUMNS`; later files may add rows.
        patterns: globs over ``family/size/registers``, e.g. ``dinov2/*/r4``; as a mapping, with the
            key of the config that names each.
        recipes: training recipes by name, for rows trained here.
        cache: folder that remembers facts of ids that architectures.csv does not hold.
        grids: grids of trained backbones, see :func:`tokenscope.study.recipes.expand`.
        more: rows that are there whatever the tables say; those of the tables go before them.

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
                    "optional -scratch, -finetuned or name of a phantom: " + ", ".join(CONTROLS)
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
    for name, grid in (grids or {}).items():
        if grid["recipe"] not in recipes:
            have, near = ", ".join(recipes), nearest(grid["recipe"], recipes)
            raise StudyError(
                f"training: {name}: recipe: '{grid['recipe']}' is none of {have}{near}"
            )
    rows |= expand(grids or {}, rows)
    for row in more:
        rows.setdefault("/".join(row[c] for c in COLUMNS[:3]), dict(row))
    named = patterns if isinstance(patterns, dict) else dict.fromkeys(patterns, "backbones")
    strays = [
        f"{key}: '{pattern}' matches no row of {', '.join(tables)}. {_what_there_is(pattern, rows)}"
        for pattern, key in named.items()
        if not any(matches(row, [pattern]) for row in rows)
    ]
    if strays:
        raise StudyError("\n".join(strays))
    needed = {key: None for key in rows if matches(key, [*patterns])}
    todo = list(needed)
    while todo:
        key = todo.pop()
        if base := _base(key, rows):
            rows[key]["base"] = base
            if base not in needed:
                needed[base] = None
                todo.append(base)
    facts = look_up([rows[key]["timm_id"] for key in needed], tables, cache)
    return {key: _backbone(rows[key], rows, facts, recipes) for key in needed}


def _base(key: str, rows: dict[str, dict]) -> str:
    """The backbone that a control or a fine-tuned one is made from; empty for others."""
    kind = REGISTERS.fullmatch(rows[key]["registers"])["made"]
    if kind == "finetuned":
        base = rows[key].get("base") or f"{key.rsplit('/', 1)[0]}/r0"
        what = "a fine-tuned backbone needs the row {0}, where it starts"
    elif kind in CONTROLS:
        base = f"{key.rsplit('/', 1)[0]}/r0-scratch"
        what = "a control needs the row {0}, the ViT it is made from"
    else:
        return ""
    if base not in rows:
        raise StudyError(f"{key}: {what.format(base)}")
    return base


def matches(key: str, patterns: list[str]) -> bool:
    """Whether one of the glob patterns picks this ``family/size/registers``."""
    return any(fnmatchcase(key, pattern) for pattern in patterns)


def matching(rows: list[Backbone], patterns: list[str]) -> list[Backbone]:
    """The rows that one of the glob patterns picks."""
    return [row for row in rows if matches(row.key, patterns)]


def check_patterns(key: str, patterns: list[str], rows: list[Backbone]) -> None:
    """Make sure that each pattern of a key of the config picks one of the study's rows.

    Raises:
        StudyError: one picks none.
    """
    for pattern in patterns:
        if not matching(rows, [pattern]):
            have = some([row.key for row in rows])
            near = nearest(pattern, (row.key for row in rows))
            raise StudyError(f"{key}: '{pattern}' is none of this study's backbones: {have}{near}")


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
        raise StudyError(f"backbone_tables: {table} does not exist") from None


def _what_there_is(pattern: str, rows: dict) -> str:
    family, _, rest = pattern.partition("/")
    size = rest.partition("/")[0]
    families = sorted({key.split("/")[0] for key in rows})
    if not any(fnmatchcase(known, family) for known in families):
        return f"Families there are: {', '.join(families)}{nearest(family, families)}"
    sizes = sorted({key.split("/")[1] for key in rows if matches(key, [f"{family}/*"])})
    if not any(fnmatchcase(known, size) for known in sizes):
        return f"Sizes of {family}: {', '.join(sizes)}{nearest(size, sizes)}"
    there = [key.split("/")[2] for key in rows if matches(key, [f"{family}/{size}/*"])]
    counts = list(dict.fromkeys(there))
    near = nearest(rest.partition("/")[2], counts) if len(counts) > 4 else ""
    return f"Register counts of {family}/{size}: {', '.join(counts)}{near}"


def _backbone(
    row: dict, rows: dict[str, dict], facts: dict[str, Architecture], recipes: dict[str, dict]
) -> Backbone:
    key = "/".join(row[c] for c in COLUMNS[:3])
    arch, model = facts[row["timm_id"]], {}
    if card := model_folder.beside(row["weights"], row["timm_id"]):
        arch, model = arch.of_card(card), dict(card.arguments)
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
        base = rows.get(row.get("base")) or row
        headless = not base["classes"] and not base["recipe"]
        if not model.get("num_classes", 0 if headless else arch.num_classes):
            raise StudyError(
                f"{key}: {row.get('base') or row['timm_id']} has no head to train: recipe "
                f"{row['recipe']} lacks model: num_classes"
            )
    elif match["made"]:
        raise StudyError(f"{key}: a backbone of kind '{match['made']}' needs a recipe in its row")
    elif arch.register_tokens != count:
        raise StudyError(
            f"{key}: {row['timm_id']} has {arch.register_tokens} registers, its row says {count}"
        )
    elif not row["classes"]:  # a head that does not matter, whatever its size
        model, arch = {**model, "num_classes": 0}, replace(arch, num_classes=0)
    elif class_list.is_list(row["classes"]):
        count = len(class_list.read(row["classes"]))
        if (card or not row["weights"]) and arch.num_classes != count:
            raise StudyError(
                f"{key}: its own head has {arch.num_classes} classes, '{row['classes']}' lists "
                f"{count}"
            )
        model, arch = {**model, "num_classes": count}, replace(arch, num_classes=count)
    return Backbone(**row, model=model, arch=arch)
