"""What becomes of an attempt to get a wrong number, a traceback or a hang, and the table of all.

An attempt is *handled* when it ends in a sentence (a StudyError), or in the right number; *silent*
when it gives anything else; a *traceback* when an error comes out that is not meant for a person,
or none within :data:`PATIENCE`. A row is added to the list of its kind: a name and what is done.
"""

import signal
from collections import Counter, defaultdict

import pytest

from tokenscope.errors import StudyError

PATIENCE = 60  # seconds until an attempt counts as one that hangs
OUTCOMES = ("handled", "silent", "traceback")
COUNTS: dict[str, Counter] = defaultdict(Counter)


def pytest_collection_modifyitems(items):
    for item in items:
        if "/attack/" in str(item.path):
            item.add_marker("attack")


class TooLong(Exception):
    """An attempt that does not end."""


def _ring(*_):
    raise TooLong(f"no answer within {PATIENCE} seconds")


def outcome_of(action, right=None) -> tuple[str, str]:
    """Outcome of an attempt, and what it said.

    Args:
        action: does the attempt.
        right: whether a value that it returns is the right one; without it none is.
    """
    before = signal.signal(signal.SIGALRM, _ring)
    signal.alarm(PATIENCE)
    try:
        value = action()
    except StudyError as error:
        said = str(error)
        return ("handled" if said.strip() and "Traceback" not in said else "traceback"), said
    except Exception as error:
        return "traceback", f"{type(error).__name__}: {error}"
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    return ("handled" if right is not None and right(value) else "silent"), repr(value)[:300]


@pytest.fixture
def attempt(request):
    """``attempt(action, right=None)``: judged, counted under the file's kind, and asserted."""
    kind = request.path.stem.removeprefix("test_")

    def judge(action, right=None):
        outcome, said = outcome_of(action, right)
        COUNTS[kind][outcome] += 1
        assert outcome == "handled", f"{outcome}: {said}"
        return said

    return judge


def pytest_sessionfinish(session):
    """Where tests run in several processes each tells the first one what it counted."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["attempts"] = {k: dict(c) for k, c in COUNTS.items()}


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    for kind, counts in getattr(node, "workeroutput", {}).get("attempts", {}).items():
        COUNTS[kind].update(counts)


def pytest_terminal_summary(terminalreporter):
    if not COUNTS:
        return
    terminalreporter.section("attempts")
    widths = f"{{:14}}{'{:>11}' * (len(OUTCOMES) + 1)}"
    terminalreporter.write_line(widths.format("kind", "attempts", *OUTCOMES))
    total: Counter = Counter()
    for kind, counts in sorted(COUNTS.items()):
        total += counts
        terminalreporter.write_line(_row(widths, kind, counts))
    terminalreporter.write_line(_row(widths, "all", total))


def _row(widths, kind, counts):
    return widths.format(kind, sum(counts.values()), *(counts[outcome] for outcome in OUTCOMES))
