"""DDP: processes that train together, one a device, started by torchrun.

Gradients are averaged by torch's DistributedDataParallel, over several nodes by srun of Slurm.
"""

import os
import platform
import re
import subprocess
import sys
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn

from tokenscope.errors import StudyError


@dataclass(frozen=True)
class World:
    """Which of how many processes this is, and its device."""

    device: str = "cpu"
    rank: int = 0
    size: int = 1

    @classmethod
    def join(cls, device: str) -> "World":
        """Join the processes that torchrun started, if it did: NCCL on GPUs, gloo on CPUs."""
        size = int(os.environ.get("WORLD_SIZE", 1))
        if size == 1 or "RANK" not in os.environ:
            return cls(device)
        if device == "cuda":
            device = f"cuda:{os.environ['LOCAL_RANK']}"
            torch.cuda.set_device(device)
        dist.init_process_group("nccl" if device.startswith("cuda") else "gloo")
        return cls(device, dist.get_rank(), size)

    @property
    def main(self) -> bool:
        """Whether this process writes what is written once."""
        return self.rank == 0

    def leave(self) -> None:
        """End the group of processes, if there is one."""
        if self.size > 1:
            dist.destroy_process_group()

    def wrap(self, module: nn.Module) -> nn.Module:
        """The module with its gradients averaged over the processes."""
        if self.size == 1:
            return module
        index = [torch.device(self.device).index] if self.device.startswith("cuda") else None
        return nn.parallel.DistributedDataParallel(module, device_ids=index)

    def sum(self, value: Tensor) -> Tensor:
        """Sum over all processes, in place."""
        if self.size > 1:
            dist.all_reduce(value)
        return value

    def any(self, flag: bool) -> bool:
        """Whether any process says so; all must ask."""
        return bool(self.sum(torch.tensor(float(flag), device=self.device)).item())

    def wait(self) -> None:
        """Until all processes are here."""
        self.any(False)

    def share(self, value):
        """The value of the main process, in all of them."""
        box = [value]
        if self.size > 1:
            dist.broadcast_object_list(box, device=torch.device(self.device))
        return box[0]


def torchrun(processes: int, nodes: int, threads: int) -> list[str]:
    """The command before the program: torchrun here, or on each node of this Slurm job by srun.

    Args:
        processes: on each node. threads: cores of each node, for its processes together.

    Raises:
        StudyError: several nodes outside a Slurm job that has them.
    """
    command = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={processes}"]
    if nodes == 1:
        return [*command, "--standalone"]
    have = int(os.environ.get("SLURM_JOB_NUM_NODES", 1))
    if have != nodes:
        raise StudyError(f"the recipe asks for {nodes} nodes, this Slurm job has {have}")
    job = os.environ["SLURM_JOB_ID"]
    port = 20000 + int(job) % 20000  # the same on all nodes, another for each job
    # srun takes neither the cores per task nor a binding that fits both nodes from its job.
    return [
        "srun", "--overlap", f"--nodes={nodes}", f"--ntasks={nodes}", "--ntasks-per-node=1",
        f"--cpus-per-task={threads}", "--cpu-bind=none", "--kill-on-bad-exit=1", *command,
        f"--nnodes={nodes}", f"--rdzv-id={job}", "--rdzv-backend=c10d",
        f"--rdzv-endpoint={platform.node()}:{port}",
    ]  # fmt: skip


def launch(command: list[str], say) -> tuple[int, str]:
    """Run a command of :func:`torchrun`.

    Args:
        say: called with each line that the main process writes.

    Returns:
        exit status, and the first line that began with ``error:`` or ``stopped:``; processes
        that lose a peer complain after it.
    """
    first = ""
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as running:
        for line in running.stderr:
            if match := re.match(r"\[train [^]]*\] (.*)", line):
                say(match[1])
                if not first and re.match(r"(error|stopped|unexpected error)", match[1]):
                    first = match[1]
            elif line.strip():
                print(line, end="", file=sys.stderr)
    return running.returncode, first
