"""A pass of one shape as a CUDA graph: one launch for all that happens to a batch.

A small ViT at 224 pixels waits for launches: some 300 kernels of ten microseconds each, and as much
time to ask for each of them. Recorded once, they are asked for together. The numbers stay those of
the pass without: what the first batch gives is compared with it, and where it is further off than
bfloat16 rounds, or nothing can be recorded, batches go on one kernel at a time and the log says so.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from tokenscope.jobs.job import log

Outputs = dict[str, Tensor]
Work = Callable[[Tensor, Tensor], Outputs]
# Records a work of two inputs: what repeats it, from and into the same memory, and its outputs.
Recorder = Callable[[Work, Tensor, Tensor], tuple[Callable[[], None], Outputs]]
WARM_UP = 3  # runs before recording, in which libraries choose their kernels and set up memory
ROUNDING = 2.0**-8  # of bfloat16, relative


def record(work: Work, pixels: Tensor, images: Tensor) -> tuple[Callable[[], None], Outputs]:
    """As a CUDA graph, whose memory is its own."""
    aside, now = torch.cuda.Stream(), torch.cuda.current_stream()
    aside.wait_stream(now)
    with torch.cuda.stream(aside):
        for _ in range(WARM_UP):
            work(pixels, images)
    now.wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    # Threads that read and write pin memory meanwhile: it is no part of what this one records.
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        outputs = work(pixels, images)
    return graph.replay, outputs


class GraphedPass:
    """Calls a work, recorded for batches that are whole; others go through it as they are.

    Args:
        work: of pixels (image, row, column, channel) and indices of some of the images; it may
            neither wait for the device nor choose by what it computed.
        batch: images of a whole batch.
        recorder: for tests, where there is no GPU.
    """

    def __init__(self, work: Work, batch: int, recorder: Recorder = record):
        self.work, self.batch, self.recorder = work, batch, recorder
        self.recorded: dict[int, tuple[Tensor, Tensor, Callable[[], None], Outputs]] = {}
        self.why_not = ""

    @property
    def outcome(self) -> str:
        """For a receipt."""
        return self.why_not or ("used" if self.recorded else "no whole batch")

    def __call__(self, pixels: Tensor, images: Tensor) -> Outputs:
        if self.why_not or len(pixels) != self.batch:
            return self.work(pixels, images)
        if len(images) not in self.recorded:
            return self._first(pixels, images)
        own_pixels, own_images, replay, outputs = self.recorded[len(images)]
        own_pixels.copy_(pixels)
        own_images.copy_(images)
        replay()
        # The next batch overwrites them, while these are still on their way to the host.
        return {name: value.clone() for name, value in outputs.items()}

    def _first(self, pixels: Tensor, images: Tensor) -> Outputs:
        """What the work gives without; recorded for the batches to come, if it gives the same."""
        expected = {name: value.clone() for name, value in self.work(pixels, images).items()}
        own_pixels, own_images = pixels.clone(), images.clone()
        try:
            replay, outputs = self.recorder(self.work, own_pixels, own_images)
            replay()
            apart = {name: distance(outputs[name], right) for name, right in expected.items()}
        except RuntimeError as error:  # also of memory: a graph holds its own beside the batch's
            return self._given_up(str(error).strip().partition("\n")[0], expected)
        worst = max(apart, key=lambda name: apart[name])
        if not apart[worst] <= ROUNDING:
            return self._given_up(f"{worst} would be {apart[worst]:.2g} off", expected)
        self.recorded[len(images)] = own_pixels, own_images, replay, outputs
        same = f"within {apart[worst]:.1g}" if apart[worst] else "equal to the bit"
        log.info("batches of %d as a CUDA graph: %s", self.batch, same)
        return expected

    def _given_up(self, why: str, expected: Outputs) -> Outputs:
        self.why_not = why
        self.recorded.clear()
        log.warning("no CUDA graph (%s): one kernel at a time", why)
        return expected


def distance(value: Tensor, right: Tensor) -> float:
    """Root mean square of the difference over that of the right values.

    What is NaN on both sides (a neighbour beyond the edge) says nothing; on one side, all is wrong.
    """
    if torch.equal(value, right):
        return 0.0
    value, right = value.double(), right.double()
    absent = right.isnan()
    if not torch.equal(absent, value.isnan()):
        return float("inf")
    value, right = value[~absent], right[~absent]
    if not len(right):
        return 0.0
    return float((value - right).square().mean().sqrt() / right.square().mean().sqrt())
