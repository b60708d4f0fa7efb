"""Facts of architectures: what Snakemake must know before any job runs (grid, width, geometry).

They come from ``config/architectures.csv``, generated from timm; an id that is missing there is
looked up once in a subprocess and remembered.
"""

import csv
import json
import os
import subprocess
import sys
from dataclasses import dataclass, fields, replace
from pathlib import Path

from tokenscope.cards.timm_folder import Card
from tokenscope.errors import StudyError
from tokenscope.paths import SCRIPTS

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

    def of_card(self, card: Card) -> "Architecture":
        """These facts as the card of a model folder changes them."""
        arguments = card.arguments
        given = {"input_size": arguments.get("img_size", self.input_size), **card.data}
        registers = arguments.get("reg_tokens", arguments.get("num_reg_tokens"))
        registers = self.register_tokens if registers is None else registers
        changed = self.remodelled(arguments, {}, registers)
        if arguments.get("class_token", self.has_cls) != self.has_cls:
            more = -1 if self.has_cls else 1
            changed = replace(
                changed, has_cls=not self.has_cls, prefix_tokens=changed.prefix_tokens + more
            )
        return replace(changed, **given)


def look_up(ids: list[str], tables: list[str], cache: str) -> dict[str, Architecture]:
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
    done = subprocess.run(
        [sys.executable, "-m", "tokenscope.backbones.architecture_table", *ids],
        env={**os.environ, "PYTHONPATH": str(SCRIPTS)},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no message"]
        raise StudyError(lines[-1].removeprefix("StudyError: "))
    return [Architecture.from_strings(row) for row in csv.DictReader(done.stdout.splitlines())]
