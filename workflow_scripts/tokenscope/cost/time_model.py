"""Time: the seconds each job is expected to take, and the bytes it leaves behind.

One model, behind both the requests (``time_limit.py``) and the forecast.

``MODEL`` has a line for each rule whose cost follows from the study: a function that gives seconds
on one machine of the kind the study names, and one that gives the bytes the job leaves behind. A
rule without a line is not an error: the forecast takes what earlier jobs of that rule took, or what
the rule requests, and says which.
"""

from collections.abc import Callable

from tokenscope.images.geometry import Geometry
from tokenscope.study import heads
from tokenscope.study.flops import (
    HALF,
    PROBE_FLOPS,
    SINGLE,
    decode_seconds,
    decoded_gb,
    extract_seconds,
    feature_bytes,
    forward_flops,
    gpu_speed,
    norms_seconds,
    redundancy_seconds,
    start_seconds,
    token_bytes,
    tokens_per_image,
)
from tokenscope.study.study import Study

CORE = 4e10  # FLOP/s in float32 that one core sustains; 7e10 of one with AVX-512
PASSES = ("extract", "features")  # rules that read a whole data set through a backbone


class Job:
    """One job as the model sees it: rule, wildcards, threads, and the study's answers for it."""

    def __init__(self, study: Study, rule: str, wildcards: dict, threads: int = 1, images=None):
        self.study, self.rule, self.wildcards, self.threads = study, rule, wildcards, threads
        self.gpu, self._images = study.gpu, images

    @property
    def row(self):
        """The backbone the job is about."""
        w = self.wildcards
        return self.study.rows[f"{w['family']}/{w['size']}/{w['registers']}"]

    @property
    def arch(self):
        return self.row.arch

    @property
    def images(self) -> float:
        """Images of the job: as it reported, those of its shard, or all of its data set."""
        if self._images is not None:
            return self._images
        name = self.wildcards["dataset"]
        for section in (self.study.discovery, self.study.dense):
            if name in section.sets:
                return section.planned_images(name)
        total = self.study.planned_images(name)
        sharded = "shard" in self.wildcards
        return total / len(self.study.shards(name, self.row)) if sharded else total

    @property
    def view(self) -> Geometry:
        """How images are shown to the backbone: natively, unless the job has a view."""
        if "view" in self.wildcards:
            return self.study.view(self.row, self.wildcards["view"])
        return self.row.geometry

    @property
    def size(self) -> int:
        return self.view.size

    @property
    def speed(self) -> float:
        """FLOP/s of forward passes of the backbone, at the size of the job's images."""
        batch = self.study.config["extract"]["batch"]
        return gpu_speed(self.arch, self.size, batch) if self.gpu else CORE * self.threads

    @property
    def tokens(self) -> float:
        return self.images * tokens_per_image(self.arch, self.size)

    @property
    def geometry(self) -> Geometry:
        return Geometry.parse(self.wildcards["geometry"])

    def seconds(self) -> float | None:
        """Expected seconds of a first attempt, start-up included; None without a model."""
        return MODEL[self.rule][0](self) if self.rule in MODEL else None

    def bytes(self) -> float | None:
        """Bytes it leaves behind; None without a model."""
        size = MODEL[self.rule][1] if self.rule in MODEL else None
        return size(self) if size else None

    def flops(self) -> float:
        """FLOPs of forward passes on the device, for a check by arithmetic; zero elsewhere."""
        if self.rule in PASSES:
            return self.images * forward_flops(self.arch, self.size)
        return 0.0


def _pass(job: Job) -> float:
    start = start_seconds(job.gpu)
    seconds = extract_seconds(job.arch, job.size, job.images, job.speed, start)
    if job.study.streamed(job.wildcards["dataset"], job.view):  # decoded beside the passes
        return max(seconds, decode_seconds(job.images, job.size, job.threads))
    return seconds


def _views(job: Job) -> tuple[int, int]:
    high = job.row.size_near(job.study.config["gallery"]["high_resolution"])
    return job.arch.input_size, high


def _gallery(job: Job) -> float:
    flops = sum(forward_flops(job.arch, size) for size in _views(job))
    images = job.study.config["gallery"]["images"]
    # One image at a time keeps a device a tenth as busy as a batch does.
    weights = 2 * job.arch.params * SINGLE / 1e9
    return start_seconds(job.gpu) + weights + images * (0.2 + 10 * flops / job.speed)


def _gallery_bytes(job: Job) -> float:
    images = job.study.config["gallery"]["images"]
    return images * sum(
        token_bytes(job.arch, size) + 3 * HALF * tokens_per_image(job.arch, size) * job.arch.width
        for size in _views(job)
    )


AUGMENTED = 110.0  # images a second that one core decodes and augments (3-Augment at 224, reckoned)


def _train(job: Job) -> float:
    recipe = job.study.recipe(job.row)
    images = job.study.planned_images(recipe["dataset"]) * recipe["training"]["epochs"]
    # Backward takes twice the forward pass.
    flops = 3 * images * forward_flops(job.arch, job.arch.input_size)
    ask = job.study.compute(job.row)
    computing = flops / (job.speed * ask["gpus"] * ask["nodes"])
    # Augmented files are decoded anew at every turn, by the cores of all nodes.
    cores = job.threads * ask["nodes"]
    decoding = images / (AUGMENTED * cores) if recipe["training"].get("augment") else 0.0
    return start_seconds(job.gpu) + max(computing, decoding)


def _plant(job: Job) -> float:  # some ten passes over 64 images, and three over 256
    flops = 1400 * forward_flops(job.arch, job.arch.input_size)
    return start_seconds(False) + flops / CORE


def _neurons(job: Job) -> float:
    section = job.study.config["testtime"]
    images = min(job.images, section["images"])
    unseen = min(job.images, section["unseen"] or images)
    # One pass over all for the scores, about 22 tries on half of them, then before, the choice and
    # three controls on the others; at a second size these before and twice after.
    second = job.row.another_size(section["second_size"])
    flops = (12 * images + 5 * unseen) * forward_flops(job.arch, job.size)
    flops += 4 * unseen * forward_flops(job.arch, second) if second else 0
    return start_seconds(job.gpu) + flops / job.speed


def _kinds(job: Job) -> float:
    """Two passes that look at every block, up to ten of experiments, one at another size."""
    section = job.study.config["kinds"]
    images = min(job.images, section["images"])
    sizes = [job.size] * 15 + [job.row.another_size(section["second_size"]) or job.size]
    flops = sum(forward_flops(job.arch, size) for size in sizes)
    return start_seconds(job.gpu) + images * (0.02 + flops / job.speed)


def _decoded(job: Job) -> float:
    return decoded_gb(job.images, job.geometry.size) * 1e9


def _weights(job: Job) -> float:
    return SINGLE * job.arch.params


def _tokens(job: Job) -> float:
    stored = token_bytes(job.arch, job.size) * job.images
    kept = job.study.config["extract"]["tokens"]
    return stored if kept else stored - HALF * job.tokens * job.arch.width


def _features(job: Job) -> float:
    name = job.wildcards["dataset"]
    slots = 3 * job.study.probing.bank(name, job.row, job.wildcards["view"]).get("tokens", 0) + 1
    return job.images * feature_bytes(job.arch, job.size, slots)


def _probe(job: Job) -> float:
    """Position, pixels and class, the last with one token of each kind an image."""
    asked = job.study.config["probes"]["tokens_per_image"]
    patches = (job.arch.input_size // job.arch.patch) ** 2
    # Two of a hundred patches are over the 98th percentile, whatever is asked for.
    tokens = 3 * min(asked, max(1.0, 0.02 * patches))
    outputs = tokens * (patches + 3 * job.arch.patch**2)
    outputs += (3 + job.arch.prefix_tokens) * _classes(job)
    return start_seconds(job.gpu) + _probing(job, outputs)


def _sensitivity(job: Job) -> float:
    """The class question once per recipe, and once per penalty by L-BFGS."""
    varied = job.study.config["probes"]["sensitivity"]
    recipes = 5 + len(varied["shares"]) + len(varied["penalties"])
    return start_seconds(job.gpu) + _probing(job, recipes * 2 * _classes(job))


def _probing(job: Job, outputs: float) -> float:
    """Seconds of probes that give so many outputs for each training image; half stop early."""
    probes = job.study.config["probes"]
    speed = PROBE_FLOPS["cuda" if job.gpu else "cpu"]
    runs = probes["seeds"] * len(probes["learning_rates"]) * probes["epochs"] / 2
    return 6 * runs * probes["split"][0] * job.images * job.arch.width * outputs / speed


def _classes(job: Job) -> int:
    return 1000 if job.study.classes(job.wildcards["dataset"]) in heads.KNOWN else 100


def _heads(job: Job) -> float:
    return start_seconds(job.gpu) + job.study.heads.seconds(job.row, job.wildcards["view"])


def _discover(job: Job) -> float:
    return job.study.discovery.discover_seconds(job.wildcards["dataset"], job.row, job.speed)


def _dense_head(job: Job) -> float:
    return job.study.dense.head_seconds(job.wildcards["dataset"], job.row, job.speed)


def _discovery_maps(job: Job) -> float:
    return start_seconds(job.gpu) + job.study.config["discovery"]["figure_images"]


def _smoothness(job: Job) -> float:
    images = min(job.images, job.study.config["dense"]["smoothness"]["images"])
    return 5 + images * job.tokens / job.images * job.arch.width * 2e-7


def _snapshots(job: Job) -> float:
    """One pass for each snapshot of a training, on a sample of the images."""
    passes = len(job.study.training(job.row)["snapshots"])
    flops = passes * job.images * forward_flops(job.arch, job.size)
    return start_seconds(job.gpu) + flops / job.speed


def _overhead(job: Job) -> float:
    """Forward and training steps of every register count, in rounds."""
    section = job.study.config["overhead"]
    steps = 5 * section["rounds"] * section["batch"] * len(section["registers"])
    flops = 4 * steps * forward_flops(job.arch, job.row.measured_at(job.study.config["overhead"]))
    return start_seconds(job.gpu) + flops / job.speed


def _resamples(job: Job) -> int:
    return job.study.config["statistics"]["resamples"]


def _none(job: Job) -> float:
    return 0.0


def _per_image(seconds: float) -> Callable[[Job], float]:
    """Seconds of handling every image of a data set once, images shared by threads."""
    return lambda job: 1 + job.images * seconds / job.threads


def _draws(job: Job) -> float:
    """Draws of norms of every family and mode: most of it is what one block costs to judge."""
    s, tokens = job.study.config["calibration"], 1.0
    for name in ("images", "patches"):
        tokens *= int(job.wildcards[name])
    tried = len(s["every"]) if tokens <= s["every_up_to"] else 1
    modes = (tried + 2) * len(s["spreads"]) * len(s["ratios"]) * len(s["shares"])
    tails = 18 * len([*s["spreads"], *s["wide_spreads"]])
    return s["draws"] * ((modes + tails) * (4e-3 + 6e-8 * tokens) + 0.5)


def _small(seconds: float) -> tuple:
    return (lambda job: seconds, _none)


# rule: (seconds, bytes left behind; None where they are not known beforehand)
MODEL: dict[str, tuple[Callable[[Job], float], Callable[[Job], float] | None]] = {
    "render": (_per_image(1.5e-2), lambda job: 5.5e4 * job.images),
    "index": (_per_image(2e-4), _none),
    "sample": (_per_image(5e-3), _none),
    "decode": (
        lambda job: decode_seconds(job.images, job.geometry.size, job.threads),
        _decoded,
    ),
    "obtain": (lambda job: 10 + job.arch.params * SINGLE / 5e7, _weights),
    "train": (_train, _weights),
    "plant": (_plant, _weights),
    "extract": (_pass, _tokens),
    "gallery": (_gallery, _gallery_bytes),
    "norms": (
        lambda job: norms_seconds(job.images, job.tokens, job.arch.depth, _resamples(job)),
        _none,
    ),
    "redundancy": (lambda job: redundancy_seconds(job.images, job.tokens), _none),
    "decision": _small(2),
    "control": _small(2),
    "calibrate": (_draws, _none),
    "features": (_pass, _features),
    "probe": (_probe, _none),
    "sensitivity": (_sensitivity, _none),
    "heads": (_heads, _none),
    "gains": (lambda job: 1 + 6e-4 * job.images, _none),
    "splits": _small(3),
    "discover": (_discover, _none),
    "dense_head": (_dense_head, _none),
    "index_boxes": (_per_image(1e-3), _none),
    "index_targets": (_per_image(5e-3), _none),
    "corloc": _small(3),
    "discovery_maps": (_discovery_maps, _none),
    "smoothness": (_smoothness, _none),
    "snapshots": (_snapshots, _none),
    "emergence": _small(5),
    "overhead": (_overhead, _none),
    "neurons": (_neurons, _none),
    "attach": _small(1),
    "measure_kinds": (_kinds, _none),
    "compare": _small(2),
    "contrast": _small(2),
    "diagnosis": _small(2),
    "verdict_errors": _small(40),
}
