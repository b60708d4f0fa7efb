"""Batches recorded once: compared with the pass without, repeated in the same memory, given up."""

import pytest
import timm
import torch

from tokenscope.forward.cuda_graph import GraphedPass, distance
from tokenscope.forward.hooks import TokenHooks
from tokenscope.forward.inputs import normalise

HALF = torch.full((3,), 0.5)


def recorder(spoil=None, error=None):
    """Records as a graph does: repeats a work from the same inputs into the same outputs."""

    def record(work, pixels, images):
        if error:
            raise error
        outputs = {name: value.clone() for name, value in work(pixels, images).items()}

        def replay():
            record.replays += 1
            for name, value in work(pixels, images).items():
                outputs[name].copy_(value)
            if spoil:
                outputs[spoil].mul_(1.02)

        return replay, outputs

    record.replays = 0
    return record


@pytest.fixture(scope="module")
def observe():
    torch.manual_seed(0)
    model = timm.create_model(
        "vit_tiny_patch16_224", img_size=32, patch_size=8, embed_dim=48, depth=2, num_heads=2,
        num_classes=5,
    ).eval()  # fmt: skip
    with TokenHooks(model, qkv=True, block_attention=True) as hooks, torch.inference_mode():

        def work(pixels, images):
            return hooks(normalise(pixels, HALF, HALF), images)

        work.size = model.patch_embed.img_size[0]
        yield work


def pixels_of(work, seed, count=4):
    shape = (count, work.size, work.size, 3)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.manual_seed(seed))


def test_every_batch_gives_what_it_gives_without(observe):
    """Also when its inputs are overwritten by the next, and a batch is not whole."""
    record = recorder()
    graphed, given, expected = GraphedPass(observe, 4, record), [], []
    for seed, (count, images) in enumerate(
        [(4, [1]), (4, [3]), (4, [0, 2]), (4, [1, 3]), (3, [0])]
    ):
        pixels, images = pixels_of(observe, seed, count), torch.tensor(images)
        expected.append({n: v.clone() for n, v in observe(pixels, images).items()})
        given.append(graphed(pixels, images))
    assert record.replays == 4  # two recordings are tried, two batches repeated
    assert graphed.outcome == "used"
    for ours, right in zip(given, expected, strict=True):
        assert ours.keys() == right.keys()
        assert all(distance(ours[name], right[name]) == 0 for name in right)


def test_indices_are_the_same_images_as_a_slice(observe):
    pixels = pixels_of(observe, 9)
    by_slice = {n: v.clone() for n, v in observe(pixels, slice(1, None, 2)).items()}
    by_index = observe(pixels, torch.tensor([1, 3]))
    assert all(distance(by_index[name], value) == 0 for name, value in by_slice.items())


@pytest.mark.parametrize(
    ("record", "why"),
    [
        (recorder(spoil="norms"), "norms would be 0.02 off"),
        (recorder(error=RuntimeError("operation not permitted\nwhile capturing")), "not permitted"),
        (recorder(error=torch.OutOfMemoryError("out of memory")), "out of memory"),
    ],
)
def test_where_it_is_not_the_same_batches_go_on_without(observe, record, why):
    graphed, none = GraphedPass(observe, 4, record), torch.tensor([], dtype=torch.int64)
    for seed in range(3):
        pixels = pixels_of(observe, seed)
        right = {n: v.clone() for n, v in observe(pixels, none).items()}
        given = graphed(pixels, none)
        assert all(distance(given[name], right[name]) == 0 for name in right)
    assert why in graphed.outcome and record.replays <= 1


def test_distance():
    nan = float("nan")
    assert distance(torch.tensor([nan, 2.0]), torch.tensor([nan, 2.0])) == 0
    assert distance(torch.tensor([nan, 2.0]), torch.tensor([1.0, 2.0])) == float("inf")
    assert distance(torch.tensor([0.0, 2.2]), torch.tensor([0.0, 2.0])) == pytest.approx(0.1)
    assert not distance(torch.ones(2), torch.zeros(2)) <= 1
