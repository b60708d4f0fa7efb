"""Sums over the jobs of a run: hours, energy, CO2, service units, storage, wall time."""

from collections import defaultdict
from collections.abc import Callable

from tokenscope.cost import job_graph
from tokenscope.cost.calibration import Calibration, total
from tokenscope.cost.carbon import Site
from tokenscope.cost.job_graph import Task
from tokenscope.cost.schedule import Machine, simulate

PEAK = 989.4e12  # bf16 FLOP/s of an H100, dense
UTILISATION = 0.4  # of the peak, for the check by arithmetic
COLUMNS = (
    "jobs", "done", "reserved_gpu_hours", "expected_gpu_hours", "low", "high", "core_hours",
    "reserved_units", "expected_units", "kwh", "co2_kg", "storage_gb",
)  # fmt: skip


class Totals:
    """Sums over tasks, as a row of a table each."""

    def __init__(self, tasks: list[Task], calibration: Calibration, cluster: bool, site: Site):
        self.tasks, self.calibration, self.cluster, self.site = tasks, calibration, cluster, site
        self.todo = [task for task in tasks if task.todo]

    def hours(self, task: Task) -> float:
        """Expected hours a job holds its resources."""
        return (task.estimate.seconds + job_graph.node_seconds(task, self.cluster)) / 3600

    def kwh(self, task: Task) -> float:
        hours, watts = self.hours(task), self.calibration.watts(task.rule)
        return self.site.kwh(hours * task.gpus, hours * task.threads, watts)

    def units(self, task: Task, hours: float) -> float:
        """Only jobs submitted to a cluster are charged."""
        charged = self.cluster and not task.beside
        return self.site.units(hours, task.gpus, task.threads) if charged else 0.0

    def cores(self, task: Task) -> float:
        """Cores that a job holds: at a site, no fewer than its smallest allocation."""
        submitted = self.cluster and not task.beside
        return self.site.allocated(task.gpus, task.threads) if submitted else task.threads

    def row(self, tasks: list[Task]) -> dict[str, float]:
        """One row of a table; all but ``done`` is about what is still to do."""
        todo = [task for task in tasks if task.todo]
        parts = [(t.rule, t.estimate, t.gpus / 3600) for t in todo if t.gpus]
        _, low, high = total(parts)
        started = sum(job_graph.node_seconds(t, self.cluster) * t.gpus for t in todo) / 3600
        kwh = sum(map(self.kwh, todo))
        values = (
            len(todo), len(tasks) - len(todo),
            sum(t.gpus * t.minutes / 60 for t in todo), sum(t.gpus * self.hours(t) for t in todo),
            low + started, high + started, sum(self.cores(t) * self.hours(t) for t in todo),
            sum(self.units(t, t.minutes / 60) for t in todo),
            sum(self.units(t, self.hours(t)) for t in todo),
            kwh, self.site.co2(kwh), sum(t.bytes or 0 for t in todo) / 1e9,
        )  # fmt: skip
        return dict(zip(COLUMNS, values, strict=True))

    def table(self, key: Callable[[Task], str]) -> dict[str, dict[str, float]]:
        """A row for each value of a key, in the order of the graph, and one for all."""
        groups: dict[str, list[Task]] = defaultdict(list)
        for task in self.tasks:
            groups[key(task)].append(task)
        rows = {name: self.row(groups[name]) for name in sorted(groups)}
        return {**rows, "all": self.row(self.tasks)}

    def claims(self) -> dict[str, dict[str, float]]:
        """What each claim alone would need; work shared by claims is in each of them."""
        names = sorted({claim for task in self.tasks for claim in task.claims})
        return {c: self.row([t for t in self.tasks if c in t.claims]) for c in names}

    def crossed(self) -> dict[tuple[str, str], dict[str, float]]:
        """A row for each claim and backbone: the jobs about the backbone that the claim needs."""
        groups: dict[tuple[str, str], list[Task]] = defaultdict(list)
        for task in self.tasks:
            for claim in task.claims if task.backbone else ():
                groups[claim, task.backbone].append(task)
        return {key: self.row(groups[key]) for key in sorted(groups)}

    def wall(self, machine: Machine) -> tuple[float, float]:
        """Seconds and most bytes at once, see tokenscope.cost.schedule."""
        return simulate(job_graph.steps(self.tasks, self.cluster), machine)

    def done_share(self) -> float:
        """Share of the expected GPU time (core time where no job has a GPU) already done."""
        weight = "gpus" if any(t.gpus for t in self.tasks) else "threads"
        costs = [(t.todo, getattr(t, weight) * t.estimate.seconds) for t in self.tasks]
        whole = sum(cost for _, cost in costs)
        return sum(cost for todo, cost in costs if not todo) / whole if whole else 1.0

    def single_pass_hours(self) -> float:
        """GPU-hours of all forward passes of the study, done or not, at 40 % of the peak."""
        return sum(task.flops for task in self.tasks) / (UTILISATION * PEAK) / 3600
