"""The search for register neurons finds the one that was made to write outliers."""

import numpy as np
import pandas as pd
import pytest
import timm
import torch
from registers.compare import add_trials
from registers.fig_attached import number

from tokenscope.backbones.neuron_choice import Trial, Trials, choose, numbers, surely_more
from tokenscope.backbones.neuron_search import (
    SCORES_SHOWN,
    Outliers,
    Search,
    judge_unseen,
    score_table,
    search,
    transfer,
    trial_table,
)
from tokenscope.backbones.test_time_registers import (
    Scores,
    attach,
    published_rank,
    score,
    second_layer,
)
from tokenscope.errors import StudyError
from tokenscope.norms.outlier_rule import Judged
from tokenscope.tables.tidy import TidyRows

SETTINGS = {"contrast": 5, "max_neurons": 4, "seed": 0, "min_share": 0.1}


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
    assert Outliers.judged(norms, Judged("yes", 2, 2.0), 2.0).onset == 2


def fake(table):
    """Trials by a table: set of neurons -> (share left, kept of each of 50 images)."""
    noise = np.random.default_rng(0).normal(0, 0.01, 50)

    def trial(neurons, how):
        share, kept = table(set(neurons))
        return Trial(tuple(neurons), how, np.full(50, share), kept + noise)

    return trial


A, B, C, D = (8, 1), (7, 2), (6, 3), (7, 4)


def test_numbers_of_neurons():
    assert list(numbers(20)) == [1, 2, 3, 4, 6, 8, 12, 16] and list(numbers(1)) == [1]
    assert list(numbers(0)) == []


def test_outliers_gone_and_use_kept_both_choose():
    """A alone clears the outliers and costs use; B gives it back; C costs it again."""
    worth = {A: -0.1, B: 0.05, C: -0.03, D: 0.0}
    told = []
    chosen, tried = choose(
        fake(lambda moved: (0.0 if A in moved else 5.0, 1 + sum(worth[n] for n in moved))),
        [A, C, B, D], 4, 0.1, lambda *at: told.append(at),
    )  # fmt: skip
    assert chosen.neurons == (A, B)  # C, which the ranking has before B, is left out
    assert [len(t.neurons) for t in tried if t.how == "leading"] == [1, 2, 3, 4]
    assert told[-1][0] == told[-1][1]
    sets = [frozenset(t.neurons) for t in tried]
    assert len(sets) == len(set(sets))  # nothing is tried twice


def test_the_fewest_of_those_that_keep_as_much():
    same = fake(lambda moved: (0.0 if len(moved) > 1 else 5.0, 0.9))
    chosen, _ = choose(same, [A, B, C, D], 4, 0.1)
    assert chosen.neurons == (A, B)
    assert len(choose(same, [A, B, C, D], 1, 0.1)[0].neurons) == 1  # no more than is allowed


def test_a_block_that_costs_use_is_left_out_whole():
    cost = lambda moved: 1 - 0.1 * (C in moved) - 0.1 * (len({B, D} & moved) == 1)  # noqa: E731
    trial = fake(lambda moved: (0.0 if {A, B} <= moved or {A, D} <= moved else 5.0, cost(moved)))
    chosen, tried = choose(trial, [C, A, B, D], 4, 0.1)
    assert set(chosen.neurons) == {A, B, D} and any(t.how == "changed" for t in tried)


def test_where_nothing_clears_the_fewest_outliers_and_where_nothing_is_ranked_none():
    chosen, tried = choose(fake(lambda moved: (9.0 - len(moved), 1.0)), [A, B], 2, 0.1)
    assert len(chosen.neurons) == 2 and len(tried) == 2
    with pytest.raises(StudyError, match="no candidate"):
        choose(fake(lambda moved: (0, 1)), [], 4, 0.1)


def test_surely_more_is_paired():
    spread = np.linspace(0, 100, 50)
    assert surely_more(spread + 0.1, spread) and not surely_more(spread, spread)
    assert not surely_more(spread[::-1] + 0.1, spread)


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


@pytest.mark.parametrize("head", [True, False])
def test_the_neuron_that_writes_outliers_is_found(batches, head):
    outlier = np.zeros((6, 9), bool)
    outlier[:, 4] = True
    before = Outliers(np.array([np.inf, 30.0, 30.0]), 2, 100 / 9, 2, outlier)
    told = []
    result = search(
        writer, batches, outlier, before, SETTINGS, head, lambda *at: told.append(at)
    )  # fmt: skip
    assert result.neurons == [(2, 11)] and result.published[0] == (2, 11)
    assert result.overlap == 1 and len(result.random) == 1 and result.random[0] != (2, 11)
    assert told[-1][0] == told[-1][1] and len(result.scores) == 2
    trials = Trials(writer, lambda: batches(np.arange(6)), before.cutoffs, head)
    assert trials.before.share == pytest.approx(100 / 9)
    assert trials.before.kept == pytest.approx(1, abs=1e-5)
    labels = trials.before.classes
    table = judge_unseen(trials, result, labels).groupby("how", sort=False).mean(numeric_only=True)
    assert list(table.index) == ["before", "testtime", "random", "zeroed", "published"]
    assert table.loc["testtime", "over"] == table.loc["zeroed", "over"] == 0
    assert table.loc["random", "over"] == pytest.approx(100 / 9)  # they write none of it
    assert (table["kept"] <= 1 + 1e-6).all()
    assert table["right"].isna().all() if not head else table.loc["before", "right"] == 1
    # The same, attached as a study does it, and once more: what was tried leaves nothing behind.
    again = trials(result.neurons)
    moved = attach(writer(), result.neurons, 1)
    images = torch.cat([x for x, _ in batches(np.arange(6))])
    with torch.inference_mode():
        out = moved.forward_head(moved.forward_features(images), pre_logits=not head)
        old = writer().forward_head(writer().forward_features(images), pre_logits=not head)
    if head:
        kept = torch.minimum(out.softmax(-1), old.softmax(-1)).sum(-1)
    else:
        kept = torch.nn.functional.cosine_similarity(out, old)
    assert again.kept == pytest.approx(kept.numpy(), abs=1e-5)


def test_a_choice_is_judged_at_another_size(batches):
    """The neuron writes there too: moved, its outliers are gone, with others they stay."""
    found = Search([], [], [(2, 11)], [(2, 3)], [], 1.0)
    rules = {"confidence": 0.95, "times_median": 3, "min_share": 0.1}
    every = np.arange(6)
    summary, table = transfer(writer, lambda: batches(every), found, rules, True, np.zeros(6))
    assert summary["share_before"] == summary["share_random"] == pytest.approx(100 / 9)
    assert summary["share"] == 0 and 0 < summary["kept"] <= 1
    assert summary["verdict"] == "cannot tell"  # six images
    assert list(table.groupby("how", sort=False).groups) == ["before", "testtime", "random"]
    rows = TidyRows(dict.fromkeys(("family", "size", "registers", "kind", "dataset"), "x"), 9, 0)
    statistics = {"resamples": 20, "confidence": 0.95, "seed": 0}
    add_trials(rows, table.assign(pixels=24), statistics)
    said = rows.frame().set_index(["group", "metric"])["value"]
    assert said["testtime-at_24_pixels", "transfer_share"] == 0
    assert said["before-at_24_pixels", "transfer_share"] == pytest.approx(100 / 9)
    assert said["before-at_24_pixels", "transfer_top1_minus_r0"] == 0


def test_the_published_score_is_a_mean_over_images_of_means_over_outliers(batches):
    """Equal to a plain loop; a neuron that is on at most tokens counts for nothing."""
    outlier = np.random.default_rng(0).random((6, 9)) < 0.3
    outlier[2] = False
    model, kept = writer(), []
    hook = second_layer(model, 2).register_forward_pre_hook(lambda _m, args: kept.append(args[0]))
    half = np.arange(6) % 2
    scores = score(model, ((x, outlier[at], half[at]) for x, at in batches(np.arange(6))), 3)
    hook.remove()
    activations, by_image = torch.cat(kept).numpy(), []
    for a, mask in zip(activations, outlier, strict=True):
        if mask.any():
            quiet = (a < 0.5).mean(0) >= 0.5
            by_image.append(np.abs(a[-9:][mask]).mean(0) * quiet)
    assert scores[2].published == pytest.approx(np.mean(by_image, 0), rel=1e-4, abs=1e-6)
    assert {block for block, _ in published_rank(scores, 2)} <= {1, 2}


def test_tries_in_the_table_of_registers_and_their_figure(tmp_path):
    over, right = np.array([0.0, 2.0]), np.array([3, 4])
    tried = [Trial([A], "leading", over, np.array([0.5, 0.7]))]
    judged = [
        Trial([], "before", over + 1, np.ones(2), right),
        Trial([A], "testtime", over, np.array([0.8, 0.9]), np.array([3, 5])),
    ]
    table = pd.concat([trial_table(tried, "search"), trial_table(judged, "unseen", right)])
    rows = TidyRows(dict.fromkeys(("family", "size", "registers", "kind", "dataset"), "x"), 9, 0)
    add_trials(rows, table, {"resamples": 20, "confidence": 0.95, "seed": 0})
    said = rows.frame().set_index(["group", "metric"])["value"]
    assert said["leading 1 neurons, try 1", "search_kept"] == pytest.approx(0.6)
    assert said["testtime", "unseen_share"] == 1 and said["before", "unseen_top1"] == 100
    assert said["testtime", "unseen_top1_minus_r0"] == -50
    assert "search_top1" not in said.index.get_level_values("metric")
    assert set(rows.frame()["n"]) == {2}
    number(table, "x", [tmp_path / "tries.png"])
    number(trial_table([], ""), "x", [tmp_path / "none.png"])
    assert (tmp_path / "tries.png").exists() and (tmp_path / "none.png").exists()


def test_without_candidates_nothing_is_tried(batches):
    outlier = np.zeros((6, 9), bool)
    outlier[:, 4] = True
    before = Outliers(np.full(3, 30.0), 2, 100 / 9, 2, outlier)
    result = search(writer, batches, outlier, before, {**SETTINGS, "contrast": 1e9})
    assert (result.tried, result.neurons, result.overlap) == ([], [], None)
