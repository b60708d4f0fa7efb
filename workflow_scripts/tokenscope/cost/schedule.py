"""How long a graph of jobs takes on given GPUs and cores: list scheduling, without queues.

Whenever something is free, the ready job with the longest way to the end starts. Snakemake's own
scheduler is greedy as well; queueing at a site is not known beforehand and not in here.
"""

import heapq
from dataclasses import dataclass

# A job's own Snakemake on a node starts twice before the script does.
NODE_SECONDS = 10.0
LOCAL_LATENCY = 0.5  # seconds between two jobs on the controller's own machine


@dataclass(frozen=True)
class Step:
    """One job of a simulation; ``needs`` are positions of jobs that must have ended.

    ``bytes`` are there from its start (a partial store grows beside its place) and stay, unless
    ``temporary``: then they go when the last job that needs them has ended. ``beside``: runs
    beside the controller, on its cores.
    """

    seconds: float
    needs: tuple[int, ...] = ()
    gpus: int = 0
    threads: int = 1
    beside: bool = False
    bytes: float = 0.0
    temporary: bool = False


@dataclass(frozen=True)
class Machine:
    """What runs at once. A cluster: GPUs, jobs in flight, and the controller's cores; one machine:
    its cores and GPUs. ``latency``: seconds until the end of a submitted job is noticed.
    """

    gpus: float = float("inf")
    cores: float = float("inf")
    jobs: float = float("inf")
    beside_cores: float = 1
    latency: float = LOCAL_LATENCY


def simulate(steps: list[Step], machine: Machine) -> tuple[float, float]:
    """Seconds until the last job has ended, and the most bytes there are at any moment.

    Raises:
        ValueError: the jobs need each other in a circle.
    """
    waiting = [len(set(step.needs)) for step in steps]
    users: list[list[int]] = [[] for _ in steps]
    for i, step in enumerate(steps):
        for need in set(step.needs):
            users[need].append(i)
    rank = _to_the_end(steps, users, waiting)
    # Jobs that want the same wait in one line: if its first does not fit, none of them does.
    lines: dict[tuple, list[tuple[float, int]]] = {}

    def queue(i: int) -> None:
        line = lines.setdefault((steps[i].beside, steps[i].gpus, steps[i].threads), [])
        heapq.heappush(line, (-rank[i], i))

    for i, n in enumerate(waiting):
        if n == 0:
            queue(i)
    unused = [len(u) for u in users]
    free = {"gpus": machine.gpus, "cores": machine.cores, "jobs": machine.jobs}
    free["beside"] = machine.beside_cores
    running: list[tuple[float, int]] = []
    now = stored = peak = 0.0
    while running or any(lines.values()):
        blocked: set[tuple] = set()
        while open_ := [key for key, line in lines.items() if line and key not in blocked]:
            key = min(open_, key=lambda k: lines[k][0])
            i = lines[key][0][1]
            wants = _wants(steps[i], machine)
            if any(free[k] < v for k, v in wants.items()):
                blocked.add(key)
                continue
            heapq.heappop(lines[key])
            for k, v in wants.items():
                free[k] -= v
            stored += steps[i].bytes
            noticed = LOCAL_LATENCY if steps[i].beside else machine.latency
            heapq.heappush(running, (now + steps[i].seconds + noticed, i))
        peak = max(peak, stored)
        now, i = heapq.heappop(running)
        for k, v in _wants(steps[i], machine).items():
            free[k] += v
        for need in set(steps[i].needs):
            unused[need] -= 1
            if steps[need].temporary and unused[need] == 0:
                stored -= steps[need].bytes
        for user in users[i]:
            waiting[user] -= 1
            if waiting[user] == 0:
                queue(user)
    return now, peak


def _wants(step: Step, machine: Machine) -> dict[str, float]:
    """Resources of a job, never more than there are: Snakemake scales threads down as well."""
    if step.beside:
        return {"beside": min(step.threads, machine.beside_cores)}
    wants = {"cores": min(step.threads, machine.cores), "jobs": 1}
    return wants | {"gpus": min(step.gpus, machine.gpus)}


def _to_the_end(steps: list[Step], users: list[list[int]], waiting: list[int]) -> list[float]:
    """Seconds from the start of each job to the end of all that follow from it."""
    left = list(waiting)
    order = [i for i, n in enumerate(left) if n == 0]
    for i in order:
        for user in users[i]:
            left[user] -= 1
            if left[user] == 0:
                order.append(user)
    if len(order) < len(steps):
        raise ValueError("jobs need each other in a circle")
    rank = [0.0] * len(steps)
    for i in reversed(order):
        rank[i] = steps[i].seconds + max((rank[user] for user in users[i]), default=0.0)
    return rank
