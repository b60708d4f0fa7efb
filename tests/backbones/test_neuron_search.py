"""The search for register neurons finds the one that was made to write outliers."""

import numpy as np
import pytest
import timm
import torch

from tokenscope.backbones.neuron_search import (
    SCORES_SHOWN,
    Outliers,
    best,
    score_table,
    search,
    worst_share,
)
from tokenscope.backbones.test_time_registers import Scores, second_layer
from tokenscope.norms.outlier_rule import Judged

SETTINGS = {"contrast": 5, "max_neurons": 4, "seed": 0}


def test_where_outliers_are_most():
    norms = np.ones((4, 3, 10))
    norms[:, 1, :2] = 9
    norms[:, 2, :1] = 9
    outliers = Outliers.of(norms, 3, 0.1)
    assert (outliers.peak, outliers.onset, outliers.share) == (2, 2, 20)
    assert outliers.at_peak.sum(1).tolist() == [2] * 4 and outliers.cutoffs.tolist() == [3] * 3
    assert Outliers.of(np.ones((4, 3, 10)), 3, 0.1).onset is None


def test_outliers_by_the_backbones_own_decision():
    """Blocks before the one that was judged count for nothing; the cutoff is its own."""
    norms = np.ones((4, 3, 10))
    norms[:, 0, :5] = 9
    norms[:, 1, :1] = 2.5
    outliers = Outliers.judged(norms, Judged("yes", 2, 2.0))
    assert (outliers.peak, outliers.share, outliers.onset) == (2, 10, None)
    assert outliers.at_peak.sum(1).tolist() == [1] * 4
    assert outliers.cutoffs.tolist() == [np.inf, 2, 2]


def test_the_best_try():
    tried = [{"neurons": n, "share": s} for n, s in ((1, 5.0), (2, 0.05))]
    assert best(tried, 0.1)["neurons"] == 2
    tried = [{"neurons": n, "share": s} for n, s in ((1, 5.0), (2, 4.0), (4, 4.0))]
    assert best(tried, 0.1)["neurons"] == 2


def test_table_of_the_leading_neurons():
    outlier = np.tile(np.arange(SCORES_SHOWN + 5.0), (2, 1))
    scores = [Scores(3, outlier, np.zeros_like(outlier), np.ones(outlier.shape[1]))]
    table = score_table(scores, [(3, SCORES_SHOWN + 4)])
    assert len(table) == SCORES_SHOWN and table["contribution"].is_monotonic_decreasing
    assert table[table["chosen"]]["neuron"].tolist() == [SCORES_SHOWN + 4]
    assert list(score_table([], []).columns) == list(table.columns)


def writer():
    """A small ViT whose neuron 11 of block 2 fires at patch 4 alone and writes a long vector."""
    torch.manual_seed(0)
    model = timm.create_model(
        "vit_tiny_patch16_224", img_size=48, depth=3, embed_dim=32, num_heads=2, num_classes=5
    ).eval()

    def fire(_module, args):
        x = args[0].clone()
        x[:, -9:, 11] = 0.01
        x[:, -9 + 4, 11] = 5000.0
        return (x,)

    second_layer(model, 1).register_forward_pre_hook(fire)
    return model


@pytest.fixture
def batches():
    images = torch.randn(6, 3, 48, 48, generator=torch.Generator().manual_seed(1))
    return lambda which: ((images[which[i : i + 4]], which[i : i + 4]) for i in (0, 4) if i < len(
        which))  # fmt: skip


def test_the_neuron_that_writes_outliers_is_found(batches):
    outlier = np.zeros((6, 9), bool)
    outlier[:, 4] = True
    before = Outliers(np.array([np.inf, 30.0, 30.0]), 2, 100 / 9, 2, outlier)
    assert worst_share(writer(), batches(np.arange(6)), before.cutoffs) == pytest.approx(100 / 9)
    told = []
    result = search(writer, batches, outlier, before, SETTINGS, 0.1, lambda *at: told.append(at))
    assert result.neurons == [(2, 11)] and result.tried == [{"neurons": 1, "share": 0.0}]
    assert result.overlap == 1 and len(result.random) == 1 and result.random[0] != (2, 11)
    assert told == [(1, 1)] and len(result.scores) == 2


def test_without_candidates_nothing_is_tried(batches):
    outlier = np.zeros((6, 9), bool)
    outlier[:, 4] = True
    before = Outliers(np.full(3, 30.0), 2, 100 / 9, 2, outlier)
    result = search(writer, batches, outlier, before, {**SETTINGS, "contrast": 1e9}, 0.1)
    assert (result.tried, result.neurons, result.overlap) == ([], [], None)
