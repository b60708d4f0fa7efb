"""What the controller did with each job: one line of JSON for each thing that happened.

Snakemake tells its logger when it starts a job, hands it to Slurm, sees it end or fail. The file
``accounting/events/<run>.jsonl`` keeps that, so that whoever asks needs no controller to ask.
"""

import json
import logging
import re
import time
from dataclasses import dataclass
from pathlib import Path

FOLDER = "accounting/events"
SUBMITTED = re.compile(r"Job (\d+) has been submitted with SLURM jobid (\S+)")
REFUSED = re.compile(r"Job (\d+) is not taken by Slurm now: (.*)")
AGAIN = re.compile(r"Trying to restart job (\d+)")
FAILED_AS = re.compile(r"SLURM-job '(\S+?)' failed.*?SLURM status is: ?'(\w+)'", re.S)


@dataclass(frozen=True)
class Event:
    """Something that happened to a job: started, refused, submitted, finished, failed, again."""

    time: float
    kind: str
    job: str
    slurm_job_id: str = ""
    state: str = ""  # Slurm's, of a job that failed
    why: str = ""


class Recorder(logging.Handler):
    """Writes the events of a run as they come; one that cannot be written is lost, no more.

    Args:
        file: where to.
        names: of the jobs, by Snakemake's number.
    """

    def __init__(self, file: str | Path, names: dict[int, str]):
        super().__init__()
        self.file, self.names = Path(file), names
        self.file.parent.mkdir(parents=True, exist_ok=True)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep what a message of Snakemake says of a job."""
        try:
            lines = [json.dumps(line) for line in self._events(record)]
            if lines:
                with self.file.open("a") as handle:
                    handle.write("\n".join(lines) + "\n")
        except Exception:
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:
        """A full disk has other ways to be known."""

    def _events(self, record: logging.LogRecord):
        event = getattr(getattr(record, "event", None), "name", "")
        if event == "JOB_STARTED":
            yield from (self._line("started", n) for n in getattr(record, "jobs", ()))
        elif event == "JOB_FINISHED":
            yield self._line("finished", getattr(record, "job_id", 0))
        elif event == "JOB_ERROR":
            why = str(getattr(record, "rule_msg", "") or "").partition("sbatch call:")[0]
            found = FAILED_AS.search(why)
            more = {"slurm_job_id": found[1], "state": found[2]} if found else {}
            yield self._line(
                "failed", getattr(record, "jobid", 0), why=" ".join(why.split())[:600], **more
            )
        elif not event and record.msg:
            text = record.getMessage()
            if found := SUBMITTED.search(text):
                yield self._line("submitted", int(found[1]), slurm_job_id=found[2])
            elif found := REFUSED.search(text):
                yield self._line("refused", int(found[1]), why=found[2][:600])
            elif found := AGAIN.search(text):
                yield self._line("again", int(found[1]))

    def _line(self, kind: str, number: int, **more: str) -> dict:
        return {"time": time.time(), "kind": kind, "job": self.names.get(number, ""), **more}


def read(results: str | Path, since: float = 0.0) -> list[Event]:
    """Events since a time, oldest first; a torn last line is left out."""
    events = []
    for file in sorted(Path(results, FOLDER).glob("*.jsonl")):
        try:
            if file.stat().st_mtime < since:
                continue
            lines = file.read_text(errors="replace").splitlines()
        except OSError:
            continue
        for line in lines:
            try:
                event = Event(**json.loads(line))
            except (ValueError, TypeError):
                continue
            if event.time >= since:
                events.append(event)
    return sorted(events, key=lambda event: event.time)
