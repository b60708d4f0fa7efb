"""How much energy a job took: counters of the hardware where it has any, and how it was measured.

GPU: the driver's counter of total energy, of the devices that the job was given and no others;
where a device has none, its power sampled once a second; else nothing, and accounting falls back to
the formula. CPU: the RAPL counters of the packages, shared by busy time. Every figure carries the
name of its method. Nothing here ever fails a job: what cannot be read is said, not raised.
"""

import os
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

try:
    import resource
except ModuleNotFoundError:  # Windows
    resource = None  # type: ignore[assignment]

POWERCAP = Path("/sys/class/powercap")
SECONDS = 1.0  # between two samples of power
NO_GPU = {"", "-1", "NoDevFiles"}
# Fraction of a GPU in one MIG slice of compute: all MIG devices are cut into sevenths.
MIG_SLICES = 7


def allocated(environment=os.environ, wanted: int = 1) -> list[str] | None:
    """The GPUs given to this job, as indices or UUIDs; None where nobody said.

    CUDA_VISIBLE_DEVICES comes first: under a device cgroup it counts as the driver does, from 0,
    while SLURM_JOB_GPUS counts the GPUs of the node. A job that asked for no GPU has none.
    """
    if wanted < 1:
        return []
    for name in ("CUDA_VISIBLE_DEVICES", "SLURM_JOB_GPUS"):
        if (text := environment.get(name)) is not None:
            listed = [part.strip() for part in text.split(",")]
            cut = next((i for i, part in enumerate(listed) if part in NO_GPU), len(listed))
            return listed[:cut]  # CUDA ignores what follows the first invalid entry
    return None


def gpu_here(environment=os.environ, devices: Path = Path("/dev")) -> bool:
    """Whether this machine has an NVIDIA GPU that a process may use, without asking its driver."""
    return allocated(environment) != [] and any(devices.glob("nvidia[0-9]*"))


@dataclass
class Gpu:
    """One allocated device: its counter, its sampled power, and the share of it that is ours."""

    name: str
    handle: object = None
    uuid: str = ""
    problem: str = ""
    share: float = 1.0
    counter: float | None = None  # joules at the start
    sampled: float = 0.0
    last: tuple[float, float] | None = None


class GpuMeter:
    """Energy of the allocated devices between start and stop."""

    def __init__(self, wanted: int):
        self.nvml, self.gpus, self.problem = None, [], ""
        self._stop, self._thread = threading.Event(), None
        names = allocated(wanted=wanted)
        if names == []:
            return
        self.gpus = [Gpu(name) for name in names or []]
        try:
            import pynvml

            pynvml.nvmlInit()
            self.nvml = pynvml
        except Exception as error:
            # Without a driver there is nothing to measure; told to use GPUs, we still count them.
            self.problem = f"no NVML: {error}"
            for gpu in self.gpus:
                gpu.problem = self.problem
            return
        try:
            self._find(names, wanted)
            for gpu in self.gpus:
                gpu.counter = self._counter(gpu)
            self._sample()
            if any(gpu.handle is not None for gpu in self.gpus):
                self._thread = threading.Thread(target=self._run, daemon=True)
                self._thread.start()
        except Exception as error:
            self.problem = f"NVML: {error}"

    def _find(self, names: list[str] | None, wanted: int) -> None:
        """Handles of the devices: by index, by UUID or its beginning, or a MIG device."""
        count = self.nvml.nvmlDeviceGetCount()
        handles, uuids, closed = [None] * count, [""] * count, [""] * count
        for i in range(count):  # one that may not be opened is maybe another user's
            try:
                handles[i] = self.nvml.nvmlDeviceGetHandleByIndex(i)
                uuids[i] = self._text(self.nvml.nvmlDeviceGetUUID(handles[i]))
            except Exception as error:
                handles[i], closed[i] = None, str(error)
        if names is None:  # a machine without a scheduler: torch takes the first ones
            names = [str(i) for i in range(min(wanted, count))]
            self.gpus = [Gpu(name) for name in names]
        for gpu in self.gpus:
            if gpu.name.startswith("MIG-"):
                gpu.uuid = gpu.name
                gpu.share = self._mig_share(gpu.name)
                gpu.problem = "a MIG slice has no counter of its own"
                continue
            same = [i for i, uuid in enumerate(uuids) if uuid and uuid.startswith(gpu.name)]
            index = int(gpu.name) if gpu.name.isdigit() else same[0] if len(same) == 1 else -1
            if 0 <= index < count:
                gpu.handle, gpu.uuid = handles[index], uuids[index]
                gpu.problem = closed[index] and f"the driver does not open it: {closed[index]}"
            else:
                gpu.problem = f"the driver knows no GPU {gpu.name}"

    def _mig_share(self, uuid: str) -> float:
        try:
            handle = self.nvml.nvmlDeviceGetHandleByUUID(uuid)
            return self.nvml.nvmlDeviceGetAttributes(handle).gpuInstanceSliceCount / MIG_SLICES
        except Exception:
            return 1.0

    @staticmethod
    def _text(value) -> str:
        return value.decode() if isinstance(value, bytes) else str(value)

    def _counter(self, gpu: Gpu) -> float | None:
        """Joules since the driver was loaded; None where the device has no counter."""
        if gpu.handle is None:
            return None
        try:
            return self.nvml.nvmlDeviceGetTotalEnergyConsumption(gpu.handle) / 1e3
        except Exception as error:
            gpu.problem = f"no energy counter: {error}"
            return None

    def _sample(self) -> None:
        """One reading of the power of each device, joined to the last by a straight line."""
        for gpu in self.gpus:
            if gpu.handle is None:
                continue
            try:
                now, watts = time.monotonic(), self.nvml.nvmlDeviceGetPowerUsage(gpu.handle) / 1e3
            except Exception:
                continue
            if gpu.last:
                gpu.sampled += (now - gpu.last[0]) * (watts + gpu.last[1]) / 2
            gpu.last = now, watts

    def _run(self) -> None:
        while not self._stop.wait(SECONDS):
            self._sample()

    def stop(self) -> list[dict]:
        """One entry a device: uuid, share, joules (None: not measured), method, both readings."""
        self._stop.set()
        if self._thread:
            self._thread.join()
        if self.nvml:
            self._sample()
        readings = []
        for gpu in self.gpus:
            counted, before = None, gpu.counter
            if before is not None and (after := self._counter(gpu)) is not None:
                counted = after - before
                if counted < 0:
                    counted, gpu.problem = None, "the energy counter was reset"
            sampled = gpu.sampled if gpu.last else None
            why = f" ({gpu.problem})" if gpu.problem else ""
            if counted is not None:
                joules, method = counted, "NVML counter"
            elif sampled is not None:
                joules, method = sampled, f"NVML sampled power{why}"
            else:
                joules, method = None, f"formula{why}"
            readings.append({
                "gpu": gpu.uuid or gpu.name, "share": gpu.share, "joules": joules,
                "counter_joules": counted, "sampled_joules": sampled, "method": method,
            })  # fmt: skip
        if self.nvml:
            try:
                self.nvml.nvmlShutdown()
            except Exception:
                self.problem = "NVML did not shut down"
        return readings


@dataclass
class CpuMeter:
    """Energy of the packages between start and stop, by this process's share of busy time.

    RAPL counts a whole package, whoever uses it; the share of the node's busy CPU time is ours.
    """

    folder: Path = POWERCAP
    stat: Path = Path("/proc/stat")
    before: dict[Path, int] = field(default_factory=dict)

    def __post_init__(self):
        self.before, self.busy, self.own = self._read(), _busy_seconds(self.stat), _own_seconds()

    def _read(self) -> dict[Path, int]:
        """Microjoules by package; empty where they cannot be read (they often need root)."""
        microjoules = {}
        for zone in sorted(self.folder.glob("intel-rapl:*")):
            if zone.name.count(":") == 1:  # packages; deeper zones are parts of them
                try:
                    microjoules[zone] = int((zone / "energy_uj").read_text())
                except (OSError, ValueError):
                    return {}
        return microjoules

    def stop(self) -> dict:
        """joules (None: not measured) and method."""
        cpu = _own_seconds() - self.own
        after = self._read()
        if not self.before or after.keys() != self.before.keys():
            return {"joules": None, "method": "formula (no RAPL)", "cpu_seconds": cpu}
        total = 0
        for zone, start in self.before.items():
            used = after[zone] - start
            if used < 0:  # the counter starts again after its range; jobs are shorter than two
                try:
                    used += int((zone / "max_energy_range_uj").read_text())
                except (OSError, ValueError):
                    used = -1
            if used < 0:
                reset = "formula (a RAPL counter was reset)"
                return {"joules": None, "method": reset, "cpu_seconds": cpu}
            total += used
        busy = max(_busy_seconds(self.stat) - self.busy, cpu, 1e-9)
        method = "RAPL by share of busy time"
        return {"joules": total / 1e6 * cpu / busy, "method": method, "cpu_seconds": cpu}


def _own_seconds() -> float:
    """CPU time of this process and of its ended children, where the system counts those."""
    if resource is None:
        return time.process_time()
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _busy_seconds(stat: Path) -> float:
    """CPU time that all processes of this machine have used since it was started."""
    try:
        ticks = [int(x) for x in stat.read_text().split("\n", 1)[0].split()[1:9]]
    except (OSError, ValueError, IndexError):
        return 0.0
    user, nice, system, _idle, _wait, irq, softirq, _steal = ticks
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")
