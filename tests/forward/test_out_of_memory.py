"""Batches are halved, and stay so, until they fit into the device's memory."""

from types import SimpleNamespace

import pytest
import torch

from tokenscope.errors import StudyError
from tokenscope.forward.out_of_memory import halving_batches


def device(room, owner, sizes):
    def run():
        sizes.append(owner.batch)
        if owner.batch > room:
            raise torch.OutOfMemoryError("out of memory")
        return "done"

    return run


def test_batches_are_halved_until_they_fit():
    owner, sizes = SimpleNamespace(batch=13), []
    assert halving_batches(owner, device(3, owner, sizes)) == "done"
    assert sizes == [13, 6, 3] and owner.batch == 3


@pytest.mark.parametrize(
    "message, room",
    [
        ("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`", True),
        ("CUDA error: out of memory", True),
        ("cuDNN error: CUDNN_STATUS_ALLOC_FAILED", True),
        ("mat1 and mat2 shapes cannot be multiplied", False),
    ],
)
def test_libraries_that_find_no_room_say_so_in_their_own_words(message, room):
    owner, tries = SimpleNamespace(batch=4), []

    def run():
        tries.append(owner.batch)
        if owner.batch > 2:
            raise RuntimeError(message)

    if room:
        halving_batches(owner, run)
        assert tries == [4, 2]
    else:
        with pytest.raises(RuntimeError, match="shapes"):
            halving_batches(owner, run)


def test_no_room_for_one_image_is_an_answer():
    owner, sizes = SimpleNamespace(batch=2), []
    with pytest.raises(StudyError, match="no memory for even one image"):
        halving_batches(owner, device(0, owner, sizes))
    assert sizes == [2, 1]
