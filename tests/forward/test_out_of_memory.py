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


def test_no_room_for_one_image_is_an_answer():
    owner, sizes = SimpleNamespace(batch=2), []
    with pytest.raises(StudyError, match="no memory for even one image"):
        halving_batches(owner, device(0, owner, sizes))
    assert sizes == [2, 1]
