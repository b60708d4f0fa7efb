"""What the controller leaves behind while it runs, for `make status` and `make resume`."""

import atexit
import os
import sys
from pathlib import Path

from tokenscope.cost.carbon import Site
from tokenscope.cost.forecast import LATENCY
from tokenscope.cost.job_graph import name_of
from tokenscope.cost.schedule import Machine
from tokenscope.errors import StudyError
from tokenscope.jobs import controllers
from tokenscope.jobs.records import RUN
from tokenscope.status import events, graph
from tokenscope.study.study import Study

BESIDE_CORES = 2  # local-cores of profiles/slurm


class Watch:
    """The heartbeat of one run and the files beside it; nothing in here stops a run."""

    def __init__(self):
        self.heartbeat: controllers.Heartbeat | None = None

    def begin(self, workflow, study: Study, site: Site, config: dict, tasks: list) -> None:
        """Before the first job: keep the graph, record events, let the heart beat.

        A run without a lock (a figure, a report beside a controller) leaves nothing behind.

        Args:
            workflow: Snakemake's, after its graph is built.
            study: the study.
            site: where its jobs run.
            config: what decides its jobs, without switches of how to show them.
            tasks: the jobs of the forecast.

        Raises:
            StudyError: another controller of this study lives, on whatever host.
        """
        if not workflow.execution_settings.lock:
            return
        own = controllers.Controller.own(os.environ[RUN], study.config["study"], study.results)
        for other in controllers.read():
            if other.results == own.results and other.lives():
                raise StudyError(
                    f"{other.who()} still runs: a second one would submit its jobs again. Leave it "
                    "to its work (make status shows it), or end it first (make resume)"
                )
        self.heartbeat = controllers.Heartbeat(own)
        self.heartbeat.start()
        atexit.register(self.end, "was interrupted")
        if workflow.dag_settings.allowed_rules:
            return  # only figures or a report are drawn: no state of the study
        try:
            self._keep(workflow, study, site, config, tasks)
        except Exception as error:
            print(f"no status of this run: {type(error).__name__}: {error}", file=sys.stderr)

    def _keep(self, workflow, study: Study, site: Site, config: dict, tasks: list) -> None:
        new = graph.of_tasks(
            tasks, machine=machine(workflow), cluster=workflow.nodes is not None,
            study=study.config["study"], least_cores=site.least_cores,
            what=graph.fingerprint(config, [rule.name for rule in workflow.rules]),
        )  # fmt: skip
        graph.update(study.results, new)
        names = {workflow.dag.jobid(job): name_of(job) for job in workflow.dag.jobs}
        file = Path(study.results, events.FOLDER, f"{os.environ[RUN]}.jsonl")
        workflow.logger_manager.logger.addHandler(events.Recorder(file, names))

    def end(self, outcome: str) -> None:
        """The run is over; how."""
        if self.heartbeat:
            self.heartbeat.end(outcome)


def machine(workflow) -> Machine:
    """What the jobs run on: the caps of the profile."""
    given = workflow.global_resources.get("gpu")
    cap = given.value if given else None  # of a run without a profile it is there, and None
    gpus = float("inf") if cap is None else float(cap)
    if workflow.nodes is None:
        return Machine(gpus=gpus, cores=workflow._cores or os.cpu_count() or 1)
    return Machine(gpus=gpus, jobs=workflow.nodes, beside_cores=BESIDE_CORES, latency=LATENCY)
