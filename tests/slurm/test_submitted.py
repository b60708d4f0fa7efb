"""The controller as a job itself: back in Slurm's queue, it finds what it left and goes on.

TOKENSCOPE_SLURM_TESTS=1 pytest tests/slurm/test_submitted.py      # about 8 minutes on two cores
"""

import os
import re
import signal
import subprocess
import sys

import pytest
from runs import RESUME, SWITCH, TARGETS, frozen, newest, until

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.skipif(os.environ.get(SWITCH) != "1", reason=f"takes minutes; set {SWITCH}=1"),
]
MAKE = ["make", "-o", ".venv/complete", "controller", "CONFIG=study.yaml"]


class Submitted:
    """The controller of a project, as a job of the test cluster."""

    def __init__(self, cluster, project, *targets):
        """Submit it: by `make controller`, or with a few targets, as its script allows."""
        self.cluster, self.project = cluster, project
        script = project.dir / "profiles" / "slurm" / "controller.sh"
        script.write_text(script.read_text().replace("--time=1-00:00:00 ", "--time=1:00:00 "))
        command = ["sbatch", script.relative_to(project.dir), "study.yaml", *targets]
        said = subprocess.run(
            command if targets else MAKE, cwd=project.dir, env=project.env, check=True,
            capture_output=True, text=True,
        ).stdout  # fmt: skip
        self.number = re.search(r"Submitted batch job (\d+)", said)[1]
        self.log = project.dir / f"controller-{self.number}.log"

    def state(self, fmt="%T"):
        """What squeue says of it."""
        command = ("squeue", "-h", "-t", "all", "-j", self.number, "-o", fmt)
        return self.cluster.run(*command).strip()

    def limit(self, minutes):
        """Change its time."""
        self.cluster.scontrol("update", f"jobid={self.number}", f"timelimit={minutes}")

    def lives(self):
        """The first life: what its heartbeat says."""
        first = self.project.status()["controller"]
        assert first["alive"] and first["slurm_job_id"] == self.number
        return first

    def finishes(self, first):
        """Wait for its end, in another life than the first."""
        going = ("PENDING", "CONFIGURING", "RUNNING", "COMPLETING")
        until(lambda: self.state() not in going, 1500, "its end")
        assert self.state() == "COMPLETED", self.log.read_text()[-6000:]
        last = self.project.status()["controller"]
        assert (last["slurm_job_id"], last["outcome"]) == (self.number, "finished")
        assert last["run"] != first["run"]


def test_one_that_would_never_start_is_not_submitted(cluster, project):
    """It asks for a day as it is, and Slurm would take it without a word."""
    done = subprocess.run(MAKE, cwd=project.dir, env=project.env, capture_output=True, text=True)
    assert done.returncode and "cpu grants 60 minutes" in done.stderr
    assert "controller.sh" in done.stderr and "Traceback" not in done.stderr
    assert cluster.squeue("%Z").count([str(project.dir)]) == 0


@pytest.mark.parametrize("how", ["requeued", "out of time"])
def test_back_in_the_queue(cluster, local, project, how):
    """It leaves its job alone, waits for it, and does not do its work again."""
    before = len(project.attempts())
    controller = Submitted(cluster, project, *(TARGETS if how == "out of time" else ()))
    pid = frozen(project)
    job = newest(cluster, project, "RUNNING")[0]
    first = controller.lives()
    resume = [sys.executable, RESUME, "--directory", project.dir, "--wait"]
    second = subprocess.run(resume, env=project.env, capture_output=True, text=True)
    assert second.returncode == 1 and f"Slurm job {controller.number}" in second.stderr
    if how == "requeued":
        cluster.scontrol("requeue", controller.number)
    else:  # Slurm's own signal, two minutes before the end
        controller.limit(int(controller.state("%M").split(":")[-2]) + 3)
    until(lambda: controller.state() == "PENDING", 240, "the controller in the queue")
    told = "The time of this job is nearly over" in controller.log.read_text()
    assert told == (how == "out of time")
    controller.limit(60)
    waits = f"1 jobs of earlier runs in {project.dir}"
    until(lambda: waits in controller.log.read_text(), 300, "its wait")
    assert newest(cluster, project, "RUNNING")[0] == job  # it was not cancelled
    os.kill(pid, signal.SIGCONT)
    controller.finishes(first)
    assert [a["outcome"] for a in project.attempts()[before:]] == ["finished"]  # no work was lost
    project.agrees_with(local)


def test_its_node_fails(cluster, local, project):
    """With all that ran there: it starts on another node, and the extraction goes on."""
    controller = Submitted(cluster, project, *TARGETS)
    frozen(project)
    first, node = controller.lives(), controller.state("%N")
    cluster.stop_node(node)
    cluster.scontrol("update", f"nodename={node}", "state=down", "reason=crash")
    moved = [f"RUNNING {other}" for other in ("n1", "n2", "n3") if other != node]
    until(lambda: controller.state("%T %N") in moved, 300, "the controller on another node")
    cluster.start_node(node)
    controller.finishes(first)
    assert project.receipt()["resumed_images"] > 0
    project.agrees_with(local)
