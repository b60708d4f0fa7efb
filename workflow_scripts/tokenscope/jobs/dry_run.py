"""What a person reads of a dry run: how many jobs of each rule, not each of a thousand jobs."""

import logging
import re
import textwrap
from collections.abc import Callable

DROPPED = {"JOB_INFO", "GROUP_INFO", "SHELLCMD", "WORKFLOW_STARTED"}
# Reasons that say no more than that there is something to do.
PLAIN = ("input files updated by another job", "output files have to be generated")
# Of jobs whose code or parameters changed; the rules themselves are listed after it.
ADVICE = "Some jobs were triggered by provenance information"
WIDTH = 100  # characters of a line


class Brief(logging.Filter):
    """Keeps Snakemake's messages but those on each job; counts by rule come once, a few lines.

    Args:
        dry: whether this is a dry run, which Snakemake itself knows only once the graph is there.
    """

    def __init__(self, dry: Callable[[], bool]):
        super().__init__()
        self._dry = dry
        self._counted = False

    def filter(self, record: logging.LogRecord) -> bool:
        if not self._dry():
            return True
        event = getattr(getattr(record, "event", None), "name", "")
        if event == "RUN_INFO" and hasattr(record, "stats"):
            if not self._counted:
                print("\n".join(["Job stats:", *counted(record.stats)]))
            self._counted = True
            return False
        message = record.getMessage()
        if message.startswith("Reasons:"):
            for line in reasons(message):
                print(line)
            return False
        return event not in DROPPED and not message.startswith(ADVICE)


def reasons(message: str) -> list[str]:
    """A line for each reason worth a line, from Snakemake's list of all: what has changed."""
    found = re.findall(r"^    (\S.*):\n        (.*)", message, re.M)
    return [f"reason: {why}: {rules}" for why, rules in found if why not in PLAIN]


def counted(counts: dict[str, int]) -> list[str]:
    """Lines with the number of jobs of each rule."""
    rules = [f"{rule} {count}" for rule, count in counts.items() if rule != "total"]
    return [*textwrap.wrap(", ".join(rules), WIDTH), f"total {counts['total']}"]


def shorten(logger: logging.Logger, dry: Callable[[], bool]) -> None:
    """Make what a logger writes to the terminal of a dry run brief; other handlers get all."""
    for handler in logger.handlers:
        if handler.name == "DefaultStreamHandler":
            handler.addFilter(Brief(dry))
