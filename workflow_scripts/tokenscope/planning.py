"""What Snakemake and we ask many times while a study is planned or runs, and need to know once.

Hashes are kept beside the bytecode, and for the same reason: they follow from sources that have not
changed.
"""

import json
import os
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import ModuleType

from tokenscope.code_hash import PACKAGE, code_hash, job_hash

try:
    from snakemake.common.prefix_lookup import PrefixLookup
    from snakemake.output_index import OutputIndex
except ImportError:  # another Snakemake, which then looks rules up in its own way
    OutputIndex = object  # type: ignore[assignment,misc]

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


def hash_of(*files: Path) -> str:
    """:func:`tokenscope.code_hash.job_hash`, from last time if nothing changed since.

    Parsing all sources takes most of a second, at each start and of each job of a cluster.
    """
    return _kept(job_hash, *files)


def counted_by(*files: Path) -> str:
    """:func:`tokenscope.code_hash.code_hash` in the same way."""
    return _kept(code_hash, *files)


class OutputsBySuffix(OutputIndex):
    """Which rules may make a file: as Snakemake answers, without trying all of a common prefix.

    Pages of figures begin alike, and there are hundreds: a tenth of a dry run of many backbones.
    """

    def __init__(self, rules):
        suffixes: dict = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
        for rule in rules:
            for product in rule.products():
                prefix, suffix = str(product.constant_prefix()), str(product.constant_suffix())
                suffixes[prefix][len(suffix)][suffix].append(rule)
        self._lookup = PrefixLookup(entries=list(suffixes.items()))

    def match(self, targetfile):
        return {
            rule
            for _, by_length in self._lookup.match_iter(targetfile)
            for length, rules in by_length.items()
            for rule in rules.get(targetfile[max(0, len(targetfile) - length) :], ())
        }


def find_by_suffix(dag: ModuleType) -> None:
    """Let Snakemake look rules up by :class:`OutputsBySuffix`, if it still does as is known here.

    Args:
        dag: its module that has the index.
    """
    if getattr(dag, "OutputIndex", None) is OutputIndex:
        dag.OutputIndex = OutputsBySuffix  # type: ignore[attr-defined]


def look_once(scheduler: type | None, name: str = "_schedule_reevalutation") -> None:
    """Let Snakemake look again at what may run once in a while.

    Each look asks for another one a second later, and each job that ends begins a series of its
    own, which goes on as long as jobs wait: after hundreds of jobs, hundreds of looks a second at
    the input files of all that wait.

    Args:
        scheduler: its class that has the method ``name``; without either all stays.
    """
    ask = getattr(scheduler, name, None)
    if ask is None or ask.__module__ == __name__:  # another Snakemake, or done before
        return

    def once(self, delay):
        under_way = vars(self).setdefault("_looks_until", {})
        if (now := time.monotonic()) >= under_way.get(delay, now):
            under_way[delay] = now + delay
            ask(self, delay)

    setattr(scheduler, name, once)


@cache
def _kept(of: Callable[..., str], *files: Path) -> str:
    key, stamp = json.dumps([of.__name__, *map(_marks, files)]), library()
    known: dict[str, str] = {}
    with suppress(OSError, ValueError, KeyError, TypeError):  # none yet, or torn
        kept = json.loads(MEMORY.read_text())
        known = kept["hashes"] if kept["library"] == stamp else {}
    if key not in known:
        known[key] = of(*files)
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
