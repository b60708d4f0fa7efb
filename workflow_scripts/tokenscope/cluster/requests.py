"""What the jobs of a run ask Slurm for: each kind of request once, with the rules that make it."""

import functools
import shlex
from collections import defaultdict
from dataclasses import dataclass, field

from tokenscope.jobs.leases import gpus_asked, gpus_of

# Resources that reach sbatch, as Snakemake's Slurm plugin names them.
SENT = (
    "slurm_partition", "slurm_account", "qos", "constraint", "cluster", "clusters", "slurm_cluster",
    "gpu", "gpu_model", "gres", "nodes", "tasks", "tasks_per_node", "tasks_per_gpu", "mpi",
    "cpus_per_task", "cpus_per_gpu", "mem_mb", "mem_mb_per_cpu", "runtime", "slurm_extra",
)  # fmt: skip
SIGNS = {"-": "__minus__", "+": "__plus__"}  # in the models of GPUs
MOST = ("runtime", "mem_mb")  # of these a request holds the most that any of its jobs asks for


class Asked(dict):
    """Resources of a job as the plugin reads them: by key and by attribute."""

    def __getattr__(self, name):
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


def spelled(set_gres_string):
    """Wraps the plugin's words for GPUs, so that models may be named as sites name them.

    The plugin (2.8.0) takes letters, digits, underscores and dots alone, and a site may have a
    ``nvidia_a100-sxm4-80gb`` or a ``1g.10gb+me``. A job of no GPU (``gpu: 0``) asks for no model.
    """

    @functools.wraps(set_gres_string)
    def with_signs(job):
        found = {name: job.resources.get(name) for name in ("gpu", "gpu_model", "gres")}
        asked = Asked({name: value for name, value in found.items() if value is not None})
        if asked.get("gpu") == 0:  # else the plugin would write --gpus=h100:0
            asked.pop("gpu_model", None)
        for name in asked.keys() - {"gpu"}:
            for sign, word in SIGNS.items():
                asked[name] = str(asked[name]).replace(sign, word)

        class Job:
            resources = asked

        text = set_gres_string(Job)
        for sign, word in SIGNS.items():
            text = text.replace(word, sign)
        return text

    return with_signs


@dataclass
class Request:
    """Jobs that ask for the same but for time and memory, of which this is the most.

    Args:
        resources: by name, those of :data:`SENT`.
        threads: cores of one task.
        rules: which ask for it.
        by: of ``runtime`` and ``mem_mb``, the rule that asks for the most.
        attempt: which attempt of the jobs this is.
    """

    resources: dict
    threads: int
    rules: list[str] = field(default_factory=list)
    by: dict[str, str] = field(default_factory=dict)
    attempt: int = 1

    def get(self, name: str, default=None):
        return self.resources.get(name, default)

    @property
    def partition(self) -> str:
        return str(self.get("slurm_partition") or "")

    @property
    def gpus(self) -> int:
        """GPUs of one node."""
        if not self.get("gpu"):  # gres counts by node, gpu by job
            return gpus_asked(self.resources)
        return int(self.get("gpu")) // max(1, int(self.get("nodes") or 1))

    @property
    def model(self) -> str:
        if self.get("gpu"):
            return str(self.get("gpu_model") or "")
        return next(iter(gpus_of(str(self.get("gres") or ""))), "")

    def command(self, settings=None) -> list[str]:
        """The call of sbatch by which Snakemake's plugin would submit it, without what it runs.

        Args:
            settings: of the plugin, as a run has them.

        Raises:
            WorkflowError: the plugin cannot put a resource into words.
        """
        from snakemake_executor_plugin_slurm.submit_string import get_submit_command
        from snakemake_executor_plugin_slurm.utils import set_gres_string
        from snakemake_executor_plugin_slurm.validation import validate_slurm_extra

        class Job:
            resources, threads = Asked(self.resources), self.threads

        validate_slurm_extra(Job)
        account, partition = self.get("slurm_account"), self.partition
        words = {
            "run_uuid": "tokenscope_test", "slurm_logfile": "/dev/null", "comment_str": "test",
            "account": f"-A {shlex.quote(str(account))}" if account else "",
            "partition": f"-p {shlex.quote(partition)}" if partition else "", "workdir": "",
        }  # fmt: skip
        return shlex.split(get_submit_command(Job, words, settings) + spelled(set_gres_string)(Job))


def of_run(workflow, attempt: int = 1) -> list[Request]:
    """The requests of all jobs that Snakemake would submit, at one of their attempts."""
    jobs = [
        job
        for job in workflow.dag.needrun_jobs(exclude_finished=False)
        if not (job.rule.norun or job.rule.name in workflow._localrules)
    ]
    caps = workflow.global_resources
    own = caps["_cores"]
    caps["_cores"] = type(own)("_cores", None)  # else threads would be those of this machine
    try:
        asked = [(job.rule.name, *_asked(job, attempt)) for job in jobs]
    finally:
        caps["_cores"] = own
    return grouped(asked, attempt)


def _asked(job, attempt: int) -> tuple[dict, int]:
    skip = {resource.name for resource in job.rule.resources.values()} - {*SENT, "_cores"}
    found = job.rule.expand_resources(job.wildcards_dict, job.input, attempt, skip_evaluation=skip)
    values = {name: found.get(name) for name in SENT}
    return {k: v for k, v in values.items() if v is not None}, int(found["_cores"])


def grouped(asked: list[tuple[str, dict, int]], attempt: int = 1) -> list[Request]:
    """One request for jobs that differ in time and memory alone.

    Args:
        asked: rule, resources and threads of each job.
    """
    groups: dict[tuple, list[tuple[str, dict]]] = defaultdict(list)
    for rule, resources, threads in asked:
        rest = tuple(sorted((k, str(v)) for k, v in resources.items() if k not in MOST))
        groups[rest, threads].append((rule, resources))
    requests = []
    for (_, threads), jobs in groups.items():
        most = dict(jobs[0][1])
        by = {}
        for name in MOST:
            rule, largest = max(jobs, key=lambda job: job[1].get(name) or 0)
            if name in largest:
                most[name], by[name] = largest[name], rule
        rules = list(dict.fromkeys(rule for rule, _ in jobs))
        requests.append(Request(most, threads, rules, by, attempt))
    return requests
