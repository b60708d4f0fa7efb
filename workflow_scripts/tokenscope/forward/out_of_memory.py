"""What a pass does when the device runs out of memory: the same again in batches half as large."""

from collections.abc import Callable
from typing import Protocol, TypeVar

import torch

from tokenscope.errors import StudyError
from tokenscope.jobs.job import log

Result = TypeVar("Result")


class HasBatch(Protocol):
    """Something that works in batches; ``batch`` is the number of images of one."""

    batch: int


def halving_batches(owner: HasBatch, run: Callable[[], Result]) -> Result:
    """The result of ``run``, repeated with ``owner.batch`` halved until the device has room for it.

    The smaller batch stays, so that what comes next does not fail again.

    Raises:
        StudyError: there is no room for even one image.
    """
    while True:
        try:
            return run()
        except torch.OutOfMemoryError:
            if owner.batch == 1:
                raise StudyError("the device has no memory for even one image") from None
        # Not before the exception is gone: it keeps the tensors of the batch that failed.
        owner.batch //= 2
        torch.cuda.empty_cache()
        log.info("device memory ran out: going on with batches of %d", owner.batch)
