"""What every job does around its work: logging, progress, threads, and errors one can read."""

import logging
import os
import signal
import sys
import time
import traceback
from collections.abc import Iterable
from contextlib import contextmanager
from logging.handlers import WatchedFileHandler
from pathlib import Path

from tokenscope import garbage
from tokenscope.errors import StudyError, Superseded
from tokenscope.jobs.leases import Lease, asked_gpus
from tokenscope.jobs.records import WHY, WORK, Recorder

log = logging.getLogger("tokenscope")


class Interrupted(Exception):
    """The job was told to stop and has finished its chunk."""


@contextmanager
def job(
    log_file: str, label: str, threads: int = 1, outputs: Iterable[str] = (), poll: float = 5.0
):
    """Run a job: messages go to ``log_file`` and to the terminal, a StudyError ends it in one line.

    ``label`` stands before each line, so that jobs running side by side can be told apart. A job
    that another has superseded ends when the other has made the ``outputs``; it looks every
    ``poll`` seconds. What the job took is recorded for the accounting, see tokenscope.jobs.records.
    Where several jobs share a machine with GPUs, each has its own, see tokenscope.jobs.leases.
    """
    garbage.resume()
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[variable] = str(threads)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)
    Path(log_file).parent.mkdir(parents=True, exist_ok=True)
    Path(log_file).write_text("")
    # A successor makes the log anew; a job that was lost and comes back finds it by name.
    handlers = [WatchedFileHandler(log_file), logging.StreamHandler(sys.stderr)]
    for handler in handlers:
        handler.setFormatter(logging.Formatter(f"[{label}] %(message)s"))
        log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False
    lease, record = Lease(), None
    try:
        lease.take(asked_gpus(), log)
        record = Recorder(log_file, threads)
        yield
        record.outcome = "finished"
    except Superseded as error:
        record.outcome = "superseded"
        WHY.append(str(error))
        log.error("%s", error)
        _wait_for(list(outputs), poll)
    except StudyError as error:
        WHY.append(str(error))
        log.error("error: %s", error)
        sys.exit(1)
    except Interrupted as stop:
        record.outcome = "stopped"
        WHY.append(str(stop))
        log.error("stopped: %s", stop)
        sys.exit(1)
    except Exception as error:
        # An unexpected error keeps its traceback, in the log only once.
        WHY.append(f"unexpected error: {type(error).__name__}: {error}")
        log.error("unexpected error\n%s", traceback.format_exc())
        sys.exit(1)
    finally:
        if record:
            record.close()
        lease.release()
        for handler in handlers:
            log.removeHandler(handler)
            handler.close()
        garbage.leave()


def _wait_for(outputs: list[str], every: float, longest: float = 86400.0) -> None:
    """Wait for the successor's outputs.

    Snakemake deletes the outputs of a job that fails, and by now they are the successor's.
    """
    end = time.monotonic() + longest
    while not all(Path(path).exists() for path in outputs):
        if time.monotonic() > end:
            sys.exit(1)
        time.sleep(every)


class Progress:
    """Prints ``done of all`` with the rate, at most every few seconds, and once at the end."""

    def __init__(self, unit: str = "images", every: float = 5.0):
        self.unit, self.every = unit, every
        self.start = self.last = time.monotonic()
        self.first: int | None = None

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if self.first is None:
            self.first = done
        WORK[self.unit] = done
        if done < total and now - self.last < self.every:
            return
        self.last = now
        rate = (done - self.first) / max(now - self.start, 1e-9)
        speed = f", {rate:,.0f} {self.unit}/s" if rate else ""
        log.info("%s of %s %s%s", f"{done:,}", f"{total:,}", self.unit, speed)


class StopRequest:
    """Why a loop should end in order: SIGTERM (scancel, a time limit), or a time limit near.

    Calling it gives the reason, or an empty string. ``margin`` is the time in seconds that the
    work in flight may still take.
    """

    def __init__(self, margin: float = 60):
        self.reason = ""
        # Slurm tells a job when its time is over (seconds since 1970).
        self.end = float(os.environ.get("SLURM_JOB_END_TIME", "inf")) - margin
        signal.signal(signal.SIGTERM, self._receive)

    def _receive(self, *_) -> None:
        self.reason = "SIGTERM"

    def __call__(self) -> str:
        if not self.reason and time.time() > self.end:
            self.reason = "the time limit is near"
        return self.reason
