"""LOST against its definition, its boxes against an established implementation, its data sets."""

from collections import Counter

import numpy as np
import pytest
import torch
from lost_reference import reference
from scipy import ndimage
from torch.utils._python_dispatch import TorchDispatchMode

from tokenscope.discovery.box_iou import iou, located
from tokenscope.discovery.lost import _at_once, _in_turn, components, expand, orders, to_pixels
from tokenscope.discovery.settings import every_setting as settings


@pytest.mark.parametrize("grid, candidates", [((7, 9), 100), ((12, 8), 20), ((1, 5), 3)])
def test_lost_equals_its_definition(grid, candidates, monkeypatch):
    torch.manual_seed(0)
    biases = [0.0, -0.1, 0.3, -0.6, -40.0]
    features = torch.randn(6, grid[0] * grid[1], 5, dtype=torch.float64)
    features += 0.6 * torch.randn(6, 1, 5, dtype=torch.float64)
    features[5] = features[5].abs()  # everything is alike
    ways = [(normalised, bias) for normalised in (False, True) for bias in biases]
    monkeypatch.setattr("tokenscope.discovery.lost.CACHED_ENTRIES", 4 * grid[0] ** 2 * grid[1] ** 2)
    out = expand(features, ways, candidates)
    unit = torch.nn.functional.normalize(features, dim=-1)
    for z, (normalised, bias) in enumerate(ways):
        component, box = components(
            out.mask[:, z].numpy().reshape(6, *grid), out.seed[:, z].numpy()
        )
        for i in range(6):
            given = (unit if normalised else features)[i].numpy()
            seed, degree, similar, expected = reference(given, grid, bias, candidates)
            assert out.seed[i, z] == seed
            assert out.degree[i, z].tolist() == degree
            assert sorted(similar) == out.similar[i, z].nonzero().flatten().tolist()
            assert box[i].tolist() == expected
            assert component[i].any() == (expected != [0, 0, 0, 0])


@pytest.mark.parametrize("count", [1, 4, 11])
def test_degrees_of_all_biases_at_once_are_those_counted_in_turn(count):
    """What a GPU counts in one pass, a CPU one bias after the other: the same whole numbers."""
    torch.manual_seed(0)
    features = torch.randn(3, 40, 4).round()  # many similarities lie on a limit exactly
    gram, limits = features @ features.transpose(1, 2), torch.randn(3, count).round()
    expected = [[(image > z).sum(1) for z in own] for image, own in zip(gram, limits, strict=True)]
    expected = torch.stack([torch.stack(rows) for rows in expected])
    assert torch.equal(_in_turn(gram, limits, torch.empty_like(gram)), expected)
    assert torch.equal(_at_once(gram, limits), expected)
    assert (gram[:, None] == limits[:, :, None, None]).any()


def test_orders_of_ties_share_degrees_and_no_number_is_copied_twice():
    """Ten orders cost one count; biases go to the device once, where each copy would wait for it.

    A second batch makes no tensor of Python numbers, and counts a batch of limits in two launches.
    """
    features, ties = torch.randn(2, 30, 8), orders(30, 10)
    with _Counted() as calls:
        expand(features, [(False, 0.0)] * 10, ties=ties)
    assert calls["aten::gt"] == 1 + 4  # of the matrix; of a patch with itself, three of few rows
    ways = [(False, 0.0123), (False, -0.1), (True, 0.0)]
    copied = []
    for _ in range(2):
        with _Counted() as calls:
            expand(features, ways)
        copied.append(calls["aten::lift_fresh"])
    assert copied[0] > copied[1] == 0
    with _Counted() as calls:
        _at_once(torch.randn(2, 9, 9), torch.zeros(2, 8))
    assert calls["aten::gt"] == calls["aten::sum"] == 1


class _Counted(TorchDispatchMode):
    """How often each operation is called."""

    def __enter__(self):
        self.calls = Counter()
        return super().__enter__()

    def __getitem__(self, name):
        return self.calls[name]

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.calls[function._schema.name] += 1
        return function(*args, **(kwargs or {}))


def test_ties_go_to_the_patch_that_an_order_puts_first():
    """Of two patches alike the first is the seed, or the other by another order; the rest stays."""
    features = torch.zeros(1, 6, 3)
    features[0, :2, 0] = 1  # two alike, of degree 1
    features[0, 2:, 1] = 1  # four alike, of degree 3
    ties = torch.tensor([[1, 0, 2, 3, 4, 5], [0, 1, 2, 3, 4, 5]])
    out = expand(features, [(False, 0.0)] * 2, ties=ties)
    assert out.seed[0].tolist() == [1, 0]
    assert torch.equal(out.degree[:, 0], out.degree[:, 1])
    assert torch.equal(out.mask[:, 0], out.mask[:, 1])
    drawn = orders(6, 50)
    seeds = expand(features, [(False, 0.0)] * 50, ties=drawn).seed[0]
    assert 10 < (seeds == 0).sum() < 40 and set(seeds.tolist()) == {0, 1}
    rows = torch.arange(6).expand(2, -1)
    again = expand(features, [(False, 0.0)] * 2, ties=rows)
    assert torch.equal(again.seed[:, :1], expand(features, [(False, 0.0)]).seed)


def test_one_bright_rectangle_is_the_box():
    grid = np.zeros((2, 12, 16))
    grid[0, 3:7, 5:11], grid[1, 8:12, 0:4] = 1, 1
    features = torch.zeros(2, 192, 2)
    features[..., 0] = torch.tensor(grid.reshape(2, -1))
    features[..., 1] = 1 - features[..., 0]
    out = expand(features - torch.tensor([0.1, 0.2]), [(False, 0.0)])
    component, box = components(out.mask[:, 0].numpy().reshape(2, 12, 16), out.seed[:, 0].numpy())
    assert (component == grid).all()
    pixels = to_pixels(box, 16, np.array([[256, 192], [60, 190]]))
    assert pixels.tolist() == [[80, 48, 176, 112], [0, 128, 60, 190]]  # the second one is clipped


def test_components_touch_by_edges_within_one_image_only():
    mask = np.array([[[1, 0], [0, 1]], [[1, 1], [0, 1]]], bool)
    component, box = components(mask, np.array([0, 0]))
    assert component.tolist() == [[[1, 0], [0, 0]], [[1, 1], [0, 1]]]
    assert box.tolist() == [[0, 0, 1, 1], [0, 0, 2, 2]]
    rng = np.random.default_rng(0)
    mask, seed = rng.random((20, 9, 7)) < 0.6, rng.integers(0, 63, 20)
    component, _ = components(mask, seed)
    for i in range(20):
        labels, _ = ndimage.label(mask[i])
        number = labels.flat[seed[i]]
        assert (component[i] == ((labels == number) & (number > 0))).all()


def test_published_setting_wins_ties():
    listed = settings(12, 4, ["k", "v"], [False, True], [0, -0.1])
    assert len(listed) == 32 and listed[0] == (12, "k", False, 0.0)
    assert str(listed[-1]) == "block 9, values normalised, bias -0.1"


def test_iou_and_corloc_equal_torchvision():
    boxes = pytest.importorskip("torchvision.ops")
    rng = np.random.default_rng(0)
    corners = np.sort(rng.integers(0, 60, (40, 2, 2)), 1)
    a = corners.reshape(40, 4).astype(float)
    a = a[(a[:, 2] > a[:, 0]) & (a[:, 3] > a[:, 1])]
    expected = boxes.box_iou(torch.tensor(a), torch.tensor(a[:7])).numpy()
    np.testing.assert_allclose(iou(a, a[:7]), expected, atol=1e-12)
    predicted, truth = a[:20].reshape(10, 2, 4), [a[i : i + 3] for i in range(10)]
    hits = located(predicted, truth)
    by_hand = [
        [max(boxes.box_iou(torch.tensor(p[None]), torch.tensor(t))[0]) >= 0.5 for p in pair]
        for pair, t in zip(predicted, truth, strict=True)
    ]
    assert hits.tolist() == by_hand
    assert hits[0, 0] and not located(np.zeros((1, 4)), [a[:2]])[0]
    half = np.array([[0, 0, 10, 5]])
    assert located(half, [np.array([[0, 0, 10, 10]])])[0]  # exactly one half counts
