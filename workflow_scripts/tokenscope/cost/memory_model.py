"""Memory: how much of the host's each job asks for, beside :mod:`tokenscope.cost.time_model`.

``MEMORY`` has a line for each rule: a function that gives megabytes, libraries included. Formulas
of one kind of content are in :mod:`tokenscope.study.flops`.
"""

from collections.abc import Callable

from tokenscope.cost.time_model import Job
from tokenscope.study import flops
from tokenscope.study.study import Study


def megabytes(study: Study, rule: str, wildcards, threads: int = 1, attempt: int = 1) -> int:
    """Megabytes to request, more on each attempt; none where a site lets nobody ask for memory."""
    if not study.config["requests"].get("memory", True):
        return 0
    return int(MEMORY[rule](Job(study, rule, dict(wildcards.items()), threads))) * attempt


def _planned(job: Job) -> int:
    return job.study.planned_images(job.wildcards["dataset"])


def _light(job: Job) -> int:
    return flops.LIGHT_MB


def _manifest(job: Job) -> int:
    return flops.manifest_mb(_planned(job))


def _torch(job: Job) -> int:
    return flops.torch_mb(False)


def _tokens(job: Job) -> int:
    """A pass that keeps all tokens; its chunks are of the backbone's own size."""
    size = job.arch.input_size
    chunk, stored = job.study.chunk_images(job.row), flops.token_bytes(job.arch, size)
    return flops.extract_mb(job.arch, size, _together(job, chunk), job.gpu, stored)


def _together(job: Job, chunk: int) -> int:
    """Images that are in memory at once for each that a chunk holds: on a GPU a batch is full."""
    return max(chunk, job.study.config["extract"]["batch"]) if job.gpu else chunk


def _features(job: Job) -> int:
    """A pass that keeps little per image."""
    view = job.wildcards["view"]
    bank = job.study.probing.bank(job.wildcards["dataset"], job.row, view)
    stored = flops.feature_bytes(job.arch, job.size, 2 * bank.get("tokens", 0) + 1)
    chunk = job.study.feature_chunk(job.row, view)
    return flops.extract_mb(job.arch, job.size, _together(job, chunk), job.gpu, stored)


def _any_size(job: Job) -> float:
    """A backbone on images of any size."""
    return flops.torch_mb(job.gpu) + 8 * job.arch.params / 1e6 + 2000


def _held(bytes_per_token: Callable[[Job], float]) -> Callable[[Job], float]:
    """All of one quantity of a backbone at once."""

    def held(job: Job) -> float:
        tokens = _planned(job) * flops.tokens_per_image(job.arch, job.arch.input_size)
        return flops.LIGHT_MB + bytes_per_token(job) * tokens / 1e6

    return held


def _kin(job: Job) -> float:
    """The norms of all register counts of one size."""
    rows = job.study.of_size(job.wildcards["family"], job.wildcards["size"])
    return flops.LIGHT_MB + 12 * _planned(job) * sum(map(_values, rows)) / 1e6


def _two_largest(job: Job) -> float:
    """The norms of any two backbones."""
    values = sorted(map(_values, job.study.backbones))[-2:]
    return flops.LIGHT_MB + 12 * _planned(job) * sum(values) / 1e6


def _values(row) -> int:
    """Norms and maps kept of one image."""
    tokens = flops.tokens_per_image(row.arch, row.arch.input_size)
    return tokens * (2 * row.arch.depth + row.arch.prefix_tokens)


def _probes(job: Job) -> int:
    return job.study.probing.memory_mb(job.gpu)


def _train(job: Job) -> int:
    return flops.train_mb(job.study.compute(job.row), job.threads, job.gpu)


def _kept_of_blocks(job: Job) -> float:
    images = min(_planned(job), job.study.config["kinds"]["images"])
    per_block = 6 * job.arch.width + 3 * flops.tokens_per_image(job.arch, job.arch.input_size)
    return 2 * 4 * images * job.arch.depth * per_block / 1e6


_norms = _held(lambda job: 12 * job.arch.depth)

MEMORY: dict[str, Callable[[Job], float]] = {
    "render": _light,
    "index": _manifest,
    "sample": _manifest,
    "decode": lambda job: flops.LIGHT_MB + 100 * job.threads,
    "train": _train,
    "plant": _torch,
    "extract": _tokens,
    "gallery": _tokens,
    "features": _features,
    "norms": _norms,
    "decision": _norms,
    "redundancy": _held(lambda job: 200),
    # Beside the norms, the images themselves and what tells constant patches.
    "control": _held(lambda job: 12 * job.arch.depth + 9 * job.arch.patch**2),
    "probe": _probes,
    "sensitivity": _probes,
    "heads": lambda job: job.study.heads.memory_mb(job.row, job.wildcards["view"], job.gpu),
    "gains": _manifest,
    "index_boxes": lambda job: job.study.discovery.listing_mb(job.wildcards["dataset"]),
    "discover": _any_size,
    "corloc": lambda job: job.study.discovery.corloc_mb(job.wildcards["dataset"]),
    "discovery_maps": _any_size,
    "index_targets": _light,
    "dense_head": _any_size,
    "smoothness": lambda job: flops.LIGHT_MB + 200,
    "snapshots": _tokens,
    "emergence": _norms,
    "overhead": lambda job: flops.torch_mb(job.gpu) + 2000,
    "neurons": _tokens,
    "compare": _kin,
    "contrast": _two_largest,
    # The norms of all images, and what is kept of each block of a few hundred: some widths.
    "measure_kinds": lambda job: _norms(job) + _tokens(job) + _kept_of_blocks(job),
    "diagnosis": _norms,
    "calibrate": lambda job: (
        flops.LIGHT_MB + 1e-4 * int(job.wildcards["images"]) * int(job.wildcards["patches"])
    ),
}
