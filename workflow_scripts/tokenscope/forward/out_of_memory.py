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


# Of the libraries under torch, which raise no error of its own kind when they find no room.
NO_ROOM = ("out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED",
           "CUSOLVER_STATUS_ALLOC_FAILED", "unable to find an engine to execute")  # fmt: skip


def no_room(error: RuntimeError) -> bool:
    """Whether an error says that memory ran out, of the device or of pinned pages."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    text = str(error)
    return any(words.lower() in text.lower() for words in NO_ROOM)


def halving_batches(owner: HasBatch, run: Callable[[], Result]) -> Result:
    """The result of ``run``, repeated with ``owner.batch`` halved until the device has room for it.

    The smaller batch stays, so that what comes next does not fail again.

    Raises:
        StudyError: there is no room for even one image.
    """
    while True:
        try:
            return run()
        except RuntimeError as error:
            if not no_room(error):
                raise
            if owner.batch == 1:
                raise StudyError("the device has no memory for even one image") from None
        # Not before the exception is gone: it keeps the tensors of the batch that failed.
        owner.batch //= 2
        torch.cuda.empty_cache()
        log.info("device memory ran out: going on with batches of %d", owner.batch)
