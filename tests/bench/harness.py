"""The one way in which everything here is measured.

Variants of the same work take turns: every round runs each of them once, in alternating order, and
a ratio is formed within its round, so that what disturbs a round disturbs both sides. Reported are
medians over rounds with the lowest and the highest, the machine, and how much of it others used.
"""

import cProfile
import csv
import gc
import os
import platform
import pstats
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path

import torch

TICKS = os.sysconf("SC_CLK_TCK")
FEWEST = 2  # rounds that are run whatever time they take

_until = float("inf")  # when the time of this section is over, by time.monotonic


@dataclass
class Row:
    """One variant in one setting. ``ratio`` is to ``base``, ``cpu_ratio`` that of the processor
    time they took, which other users of the machine disturb less than the clock.
    """

    section: str
    setting: str
    variant: str
    unit: str
    value: float
    low: float
    high: float
    rounds: int
    base: str = ""
    ratio: float | None = None
    ratio_low: float | None = None
    ratio_high: float | None = None
    cpu_ratio: float | None = None
    target: str = ""
    met: str = ""
    machine: str = ""


@dataclass
class Timing:
    """Seconds of each round: by the clock, and of processors (children included)."""

    wall: list[float]
    cpu: list[float]

    def rates(self, amount: float) -> list[float]:
        return [amount / seconds for seconds in self.wall]


def pick() -> str:
    """The device to measure: a GPU when there is one."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def sync(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def interleave(
    works: dict[str, Callable[[], object]], rounds: int, device: str = "cpu", warm: bool = True,
    before: Callable[[], object] = lambda: None,
) -> dict[str, Timing]:  # fmt: skip
    """Seconds of every work in every round; what a work returns is dropped.

    Once the time of the section is over, :data:`FEWEST` rounds have to do. ``before`` each work is
    not counted.
    """
    times = {name: Timing([], []) for name in works}
    for round_ in range(-1 if warm else 0, rounds):
        if round_ >= FEWEST and time.monotonic() > _until:
            break
        for name in list(works)[:: -1 if round_ % 2 else 1]:
            gc.collect()
            before()
            sync(device)
            wall, cpu = time.perf_counter(), cpu_seconds()
            works[name]()
            sync(device)
            wall, cpu = time.perf_counter() - wall, cpu_seconds() - cpu
            if round_ >= 0:
                times[name].wall.append(wall)
                times[name].cpu.append(cpu)
    return times


def cpu_seconds() -> float:
    """Processor time of this process and of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


class Report:
    """Rows of one section: printed as a table, written as CSV when the section is over."""

    def __init__(self, section: str, title: str, options):
        self.section, self.title = section, title.splitlines()[0]
        self.rounds, self.full = options.rounds, options.full
        self.minutes, self.profile = options.minutes, None
        if options.profile:
            # Processor time: what others do meanwhile is not in it.
            self.profile = cProfile.Profile(time.process_time)
        self.file = Path(options.out, f"{section}.csv")
        self.rows: list[Row] = []

    def __enter__(self) -> "Report":
        print(f"\n{self.section}: {self.title}", flush=True)
        self.began, self.used = time.perf_counter(), (_busy(), cpu_seconds())
        global _until
        _until = time.monotonic() + 60 * self.minutes
        if self.profile:
            self.profile.enable()
        return self

    def __exit__(self, kind, *_) -> None:
        if self.profile:
            self._write_profile()
        if not self.rows:
            return
        wall = time.perf_counter() - self.began
        machine = f"{describe()}; {self.others()}; {wall / 60:.1f} minutes, {time.strftime('%F')}"
        machine += "; ended by an error" if kind is not None else ""
        for row in self.rows:
            row.machine = machine
        names = [field.name for field in fields(Row)]
        self.file.parent.mkdir(parents=True, exist_ok=True)
        aside = self.file.with_name(f".{self.file.name}")
        with aside.open("w", newline="") as handle:
            writer = csv.writer(handle)
            writer.writerow(names)
            for row in self.rows:
                values = [getattr(row, name) for name in names]
                writer.writerow(f"{v:.6g}" if isinstance(v, float) else v for v in values)
        aside.replace(self.file)
        print(f"{machine}\n{self.file}", flush=True)

    def _write_profile(self) -> None:
        """Where the processor time of this process went, by function: the first thread's."""
        self.profile.disable()
        file = self.file.with_suffix(".profile.txt")
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("w") as handle:
            stats = pstats.Stats(self.profile, stream=handle)
            stats.sort_stats("tottime").print_stats(30)
            stats.sort_stats("cumulative").print_stats(40)
        print(file)

    def others(self) -> str:
        """How much of the processors was used by others while this section ran."""
        if self.used[0] is None:
            return "unknown load"
        wall = time.perf_counter() - self.began
        theirs = _busy() - self.used[0] - (cpu_seconds() - self.used[1])
        return f"others used {max(0.0, theirs / wall):.2f} of {os.cpu_count()} cores meanwhile"

    def rates(self, setting, unit, amount, times: dict[str, Timing], base="", targets=None) -> None:
        """Rows of timed works, as ``amount`` per second."""
        values = {name: timing.rates(amount) for name, timing in times.items()}
        cpu = {name: timing.cpu for name, timing in times.items()}
        self.add(setting, unit, values, base, targets, cpu)

    def add(
        self, setting: str, unit: str, values: dict[str, list[float]], base: str = "",
        targets: dict[str, str] | None = None, cpu: dict[str, list[float]] | None = None,
    ) -> None:  # fmt: skip
        """Rows of values by round; ``targets`` are limits of ratios, like ``{"ours": ">= 0.8"}``.

        The ratio is value over the value of ``base``; ``cpu`` is processor seconds by round.
        """
        for name, mine in values.items():
            row = Row(
                self.section, setting, name, unit, statistics.median(mine), min(mine), max(mine),
                len(mine),
            )  # fmt: skip
            if base and name != base:
                ratios = [a / b for a, b in zip(mine, values[base], strict=True)]
                row.base, row.ratio = base, statistics.median(ratios)
                row.ratio_low, row.ratio_high = min(ratios), max(ratios)
                if cpu:
                    # Where that clock ticks a hundred times a second, short rounds take no time.
                    shares = [b / a for a, b in zip(cpu[name], cpu[base], strict=True) if a]
                    row.cpu_ratio = statistics.median(shares) if shares else None
                if target := (targets or {}).get(name):
                    row.target, row.met = target, _met(ratios, target)
            self.rows.append(row)
            print(_line(row), flush=True)

    def note(self, setting: str, unit: str, variant: str, value: float) -> None:
        """A single number that is no repetition: a limit of the machine, a peak."""
        self.add(setting, unit, {variant: [value]})


def _met(ratios: list[float], target: str) -> str:
    """Whether the median keeps the limit, and how many rounds do where they differ."""
    sign, limit = target.split()

    def keeps(ratio):
        return ratio >= float(limit) if sign == ">=" else ratio <= float(limit)

    kept = sum(map(keeps, ratios))
    differ = f" ({kept} of {len(ratios)} rounds)" if 0 < kept < len(ratios) else ""
    return ("yes" if keeps(statistics.median(ratios)) else "NO") + differ


def _line(row: Row) -> str:
    text = f"  {row.setting:34} {row.variant:34} {_short(row.value):>9} {row.unit:12}"
    if row.rounds > 1:
        text += f" ({_short(row.low)} to {_short(row.high)})"
    if row.ratio is not None:
        spread = f"{row.ratio_low:.2f} to {row.ratio_high:.2f}"
        text += f"  {row.ratio:.2f} x {row.base} ({spread})"
        text += f", processor time {row.cpu_ratio:.2f}" if row.cpu_ratio is not None else ""
    if row.target:
        text += f"  [{row.target}: {row.met}]"
    return text


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _busy() -> float | None:
    """Seconds that all processors of the machine together have worked since it started."""
    try:
        user, nice, system, _, _, irq, softirq, *_ = map(
            int, Path("/proc/stat").read_text().splitlines()[0].split()[1:]
        )
    except (OSError, ValueError):
        return None
    return (user + nice + system + irq + softirq) / TICKS


def describe() -> str:
    """The machine in a line."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(x.split(":")[1].strip() for x in lines if x.startswith("model name"))
    except (OSError, StopIteration):
        model = platform.processor()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    text = f"{model}, {os.cpu_count()} cores, {memory:.0f} GiB, torch {torch.__version__} on "
    text += f"{torch.get_num_threads()} threads"
    if torch.cuda.is_available():
        text += f", {torch.cuda.get_device_name()}"
    return text


def scratch() -> tempfile.TemporaryDirectory:
    """A folder for files to write and read; BENCH_FOLDER names the disk to measure."""
    return tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_FOLDER"), prefix="bench-")
