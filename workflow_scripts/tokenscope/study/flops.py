"""FLOPs and bytes of one forward pass, from the facts of an architecture alone.

Pure arithmetic, because Snakemake asks for it while it builds the graph.
"""

from dataclasses import replace

from tokenscope.study.architecture import Architecture

HALF, SINGLE = 2, 4  # bytes
LIGHT_MB = 800  # a job without torch: Python, xarray, and Snakemake twice
# FLOP/s of wide matrix products in TF32 or float32: of probes, whose groups and seeds are many
# small ones, and of heads on whole data sets. A step of 2e12 FLOPs of the heads of DINOv2-L with
# four registers takes 9.5 ms, as reckoned from its products (5.2) and its passes over the weights.
PROBE_FLOPS = {"cuda": 4e13, "cpu": 2e10}
HEAD_FLOPS = {"cuda": 2e14, "cpu": 2e10}
HEAD_STEP = 1e-3  # seconds of launches for a step of heads, however small they are
# Of one H100 in bf16, reckoned and not measured: 40 % of the products and 78 % of the bandwidth on
# its data sheet (989 TFLOP/s, 3.35 TB/s). Bytes are those that a block of timm reads and writes for
# each feature of a token (a float32 residual stream, norms, qkv, four times the width in the MLP).
# The host needs 8 to 9 ms for a batch of a ViT with 12 blocks, in launches of 5 us and in draws.
GPU_FLOPS, GPU_BANDWIDTH = 4e14, 2.6e12
BLOCK_BYTES, BLOCK_LAUNCHES = 160, 7e-4


def tokens_per_image(arch: Architecture, size: int) -> int:
    """CLS, registers and patches of one ``size`` x ``size`` image."""
    return arch.prefix_tokens + (size // arch.patch) ** 2


def forward_flops(arch: Architecture, size: int) -> float:
    """FLOPs (2 x multiply-accumulate) of one image: patch embedding, linear layers, attention."""
    patches = (size // arch.patch) ** 2
    tokens = arch.prefix_tokens + patches
    embed = patches * 3 * arch.patch**2 * arch.width
    blocks = arch.depth * (tokens * arch.block_macs + 2 * tokens**2 * arch.width)
    return 2.0 * (embed + blocks)


def gpu_speed(arch: Architecture, size: int, batch: int) -> float:
    """FLOP/s that one GPU sustains in forward passes.

    The slowest of three decides: products, memory (for narrow models) or the launches of a batch
    (for small images).
    """
    flops = forward_flops(arch, size)
    features = tokens_per_image(arch, size) * arch.width * arch.depth
    launches = BLOCK_LAUNCHES * arch.depth / batch
    return flops / max(flops / GPU_FLOPS, BLOCK_BYTES * features / GPU_BANDWIDTH, launches)


def flops_by_registers(arch: Architecture, counts: list[int], size: int) -> dict[str, float]:
    """FLOPs of one ``size`` x ``size`` image for each register count, as text for JSON."""
    by_count = {c: replace(arch, prefix_tokens=arch.has_cls + c) for c in counts}
    return {str(c): forward_flops(a, size) for c, a in by_count.items()}


def token_bytes(arch: Architecture, size: int) -> int:
    """Stored bytes of one image: float16 last-block tokens, float32 norms and attention rows."""
    tokens = tokens_per_image(arch, size)
    patches = tokens - arch.prefix_tokens
    return (
        HALF * tokens * arch.width
        + SINGLE * tokens * arch.depth
        # attention rows, neighbour cosines; without CLS what patches get, and the pooling latent's
        + SINGLE * patches * (arch.prefix_tokens + 4 + 2 * (not arch.has_cls))
        + SINGLE * arch.width * (arch.prefix_tokens + 1)
    )


def images_per_chunk(arch: Architecture, size: int, chunk_mb: float, batch: int) -> int:
    """Images in one stored chunk: about ``chunk_mb`` of tokens, and whole batches.

    Depends on the configuration only, never on the machine, so that an interrupted job resumes
    into the same chunks wherever it runs.
    """
    fits = max(1, int(chunk_mb * 1e6 / (HALF * tokens_per_image(arch, size) * arch.width)))
    return fits if fits < batch else min(fits // batch, max(1, 512 // batch)) * batch


def images_in_flight(size: int, batch: int, megabytes: float = 100) -> int:
    """Images in one chunk of a store that keeps little of each: the pixels under way decide."""
    fits = max(1, min(512, int(megabytes * 1e6 / (3 * size**2))))
    return fits if fits < batch else fits // batch * batch


def feature_bytes(arch: Architecture, size: int, slots: int) -> int:
    """Stored bytes of one image of a feature store with ``slots`` drawn tokens."""
    patches = tokens_per_image(arch, size) - arch.prefix_tokens
    means = SINGLE * arch.width * (arch.prefix_tokens + 1) + SINGLE * patches
    drawn = slots * (HALF * arch.width + 2 * SINGLE + 3 * arch.patch**2)
    return means + HALF * arch.prefix_tokens * arch.width + drawn


def decoded_gb(images: int, size: int) -> float:
    """Size of a decoded uint8 store in GB (1e9 bytes)."""
    return images * 3 * size**2 / 1e9


def decode_seconds(images: int, size: int, threads: int) -> float:
    """Expected seconds to decode photographs: reading JPEG dominates, resizing grows with size."""
    return 5 + images * (3.5e-3 + 1.6e-8 * size**2) / threads


def start_seconds(gpu: bool) -> float:
    """Seconds until a job that imports torch does anything: libraries, and a device to wake."""
    return 40 if gpu else 3


def extract_seconds(
    arch: Architecture, size: int, images: float, flops_per_second: float, start: float = 40
) -> float:
    """Expected seconds of one extraction: start-up, weights from disk, forward passes."""
    weights = arch.params * SINGLE / 1e9
    return start + weights + images * forward_flops(arch, size) / flops_per_second


def norms_seconds(images: float, tokens: float, depth: int, resamples: int) -> float:
    """Expected seconds of the statistics of norms: quantiles, and resampled histograms by block."""
    return 1 + depth * (1.5e-7 * tokens + 2e-7 * images * resamples + 1e-4 * resamples)


def redundancy_seconds(images: float, tokens: float) -> float:
    """Expected seconds of the statistics of neighbours, by three rules and two ways of pooling."""
    return 1 + 1e-5 * tokens + 1e-4 * images


def extract_mb(arch: Architecture, size: int, chunk: int, gpu: bool, image_bytes: int) -> int:
    """Host memory of one pass in MB: libraries, weights twice, chunks in flight.

    ``image_bytes`` are stored of one image.
    """
    in_flight = 6 * chunk * (image_bytes + 3 * size**2)
    return int(torch_mb(gpu) + (2 * SINGLE * arch.params + in_flight) / 1e6)


def manifest_mb(images: int) -> int:
    """Host memory in MB of a job that sorts and writes the list of so many images."""
    return int(LIGHT_MB + 1.5e-3 * images)


def torch_mb(gpu: bool) -> int:
    """Host memory in MB of a job that has imported torch, Snakemake's own processes included."""
    return 5000 if gpu else 2000  # the CUDA context and its libraries are mapped into the host


def train_mb(compute: dict, threads: int, gpu: bool) -> int:
    """Host memory in MB of a training on one node: its processes, and those that decode."""
    processes = compute["gpus" if gpu else "processes"]
    return torch_mb(gpu) * processes + 600 + 300 * threads
