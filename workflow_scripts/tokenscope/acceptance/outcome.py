"""A check of the machine, what became of it, and the table of all."""

import platform
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass

import torch

from tokenscope.errors import StudyError

KEPT, MISSED, OPEN = "kept", "MISSED", "open"


@dataclass(frozen=True)
class Said:
    """What a check found: whether it is as promised (None: it could not be tried), in words."""

    kept: bool | None
    text: str


@dataclass(frozen=True)
class Check:
    """One promise.

    Args:
        name: a few words.
        promise: what must hold, with its bound.
        run: finds out.
        gpus: devices that it needs; with fewer it stays open.
    """

    name: str
    promise: str
    run: Callable[[], Said]
    gpus: int = 0


@dataclass(frozen=True)
class Outcome:
    """A check and what became of it; ``seconds`` by the clock."""

    name: str
    promise: str
    answer: str
    found: str
    seconds: float


def gpus() -> int:
    """GPUs that torch sees."""
    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def tried(checks: Iterable[Check], have: int, say: Callable[[str], None] = print) -> list[Outcome]:
    """All checks, one after the other; an error of one is its answer and ends nothing.

    Args:
        have: GPUs of this machine.
        say: called with each line of the table as it comes.
    """
    outcomes = []
    for check in checks:
        start = time.perf_counter()
        if have < check.gpus:
            need = "a GPU" if check.gpus == 1 else f"{check.gpus} GPUs"
            said = Said(None, f"needs {need}, torch sees {have or 'none'}")
        else:
            try:
                said = check.run()
            except StudyError as error:
                said = Said(False, str(error))
            except Exception as error:  # whatever it is, the promise is not kept
                said = Said(False, f"{type(error).__name__}: {error}"[:300])
        answer = {True: KEPT, False: MISSED, None: OPEN}[said.kept]
        seconds = time.perf_counter() - start
        outcomes.append(Outcome(check.name, check.promise, answer, said.text, seconds))
        say(f"{answer:6}  {check.name}: {said.text} ({seconds:.0f} s)")
    return outcomes


def machine() -> dict:
    """What the figures were measured on."""
    cuda = gpus() > 0
    return {
        "host": platform.node(),
        "gpu": torch.cuda.get_device_name() if cuda else "",
        "gpus": gpus(),
        "torch": str(torch.__version__),
        "cuda": torch.version.cuda or "",
        "python": platform.python_version(),
    }


def as_json(outcomes: list[Outcome]) -> dict:
    """All of it, with a version, for a receipt."""
    counts = {answer: sum(o.answer == answer for o in outcomes) for answer in (KEPT, MISSED, OPEN)}
    return {
        "version": 1, "machine": machine(), **{key.lower(): n for key, n in counts.items()},
        "checks": [asdict(outcome) for outcome in outcomes],
    }  # fmt: skip


def as_table(outcomes: list[Outcome]) -> str:
    """The same as Markdown."""
    lines = ["| check | promise | answer | found | s |", "|-|-|-|-|-:|"]
    for o in outcomes:
        cells = (o.name, o.promise, o.answer, o.found.replace("|", "/").replace("\n", " "))
        lines.append(f"| {' | '.join(cells)} | {o.seconds:.0f} |")
    return "\n".join(lines) + "\n"
