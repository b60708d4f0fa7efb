"""What Snakemake and we ask many times while a study is planned, and need to find out once.

Kept beside the bytecode, and for the same reason: what follows from sources that have not changed.
"""

import json
import os
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import ModuleType

from tokenscope.code_hash import PACKAGE, job_hash

MEMORY = PACKAGE / "__pycache__" / "job_hash.json"


def remember_signatures(modules: tuple[ModuleType, ...], name: str = "get_function_params") -> None:
    """Let Snakemake look at a rule's function once, not at every use: a tenth of a dry run.

    Args:
        modules: those of Snakemake that have the function ``name``; without it they stay.
    """
    for module in modules:
        if asked := getattr(module, name, None):
            setattr(module, name, _remembered(asked))


def _remembered(asked: Callable) -> Callable:
    known = cache(asked)

    def answer(function):
        try:
            return known(function)
        except TypeError:  # it has no hash
            return asked(function)

    return answer


@cache
def hash_of(*files: Path) -> str:
    """:func:`tokenscope.code_hash.job_hash`, from last time if nothing changed since.

    Parsing all sources takes most of a second, at each start and of each job of a cluster.
    """
    key, stamp = json.dumps([_marks(file) for file in files]), library()
    known: dict[str, str] = {}
    with suppress(OSError, ValueError, KeyError, TypeError):  # none yet, or torn
        kept = json.loads(MEMORY.read_text())
        known = kept["hashes"] if kept["library"] == stamp else {}
    if key not in known:
        known[key] = job_hash(*files)
        aside = MEMORY.with_suffix(f".{os.getpid()}")
        with suppress(OSError):  # somebody else's folder: then as before
            MEMORY.parent.mkdir(exist_ok=True)
            aside.write_text(json.dumps({"library": stamp, "hashes": known}))
            aside.replace(MEMORY)
    return known[key]


@cache
def library() -> list[list]:
    """Marks of each source file of the library."""
    return [_marks(file) for file in sorted(PACKAGE.rglob("*.py"))]


def _marks(file: Path) -> list:
    """Place, size and time of a file, as Python keeps them of what it compiled."""
    info = file.stat()
    return [str(file), info.st_size, info.st_mtime_ns]
