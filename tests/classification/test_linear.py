"""Claim 5: heads trained together are heads trained alone; ranks, neighbours, gains."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from tables.gather import verdicts
from torch.utils._python_dispatch import TorchDispatchMode

from tokenscope.classification.features import Features
from tokenscope.classification.knn import knn_ranks
from tokenscope.classification.linear import Recipe, _Training, rank_of, ranks, train
from tokenscope.datasets.overlap import check_classes, shared
from tokenscope.errors import StudyError
from tokenscope.jobs.job import Interrupted
from tokenscope.probes.tasks import Classes
from tokenscope.stats.bootstrap import Bootstrap
from tokenscope.stats.top_k import Accuracy, Ranks, compare
from tokenscope.tables.published import Published
from tokenscope.tables.register_gains import as_ours, gains, published_gains

STATISTICS = {"resamples": 400, "seed": 0, "confidence": 0.95}


def clouds(images, seed=0, classes=5, spread=1.0, registers=True):
    """Gaussian clouds around one centre a class; CLS and registers see different directions."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(9).normal(size=(3, classes, 8))
    labels = rng.integers(0, classes, images)
    names = ("cls", "patch_mean", "registers")[: 3 if registers else 2]
    parts = {
        name: torch.tensor(c[labels] + spread * rng.normal(size=(images, 8)), dtype=torch.float32)
        for name, c in zip(names, centres, strict=False)
    }
    ids = np.array([f"{seed}-{i:04d}" for i in range(images)])
    return Features(parts, torch.from_numpy(labels), ids)


RECIPE = Recipe(("cls", "cls+patch_mean"), (0.01, 0.1), epochs=3, batch=32, seeds=2, validation=0.1)


def test_heads_in_a_stack_are_torch_heads_alone():
    """Every head equals a torch.nn.Linear trained by torch.optim.SGD on the same batches."""
    features = clouds(150)
    heads = train(features, 5, RECIPE)
    untrained = _Training(features, 5, RECIPE, "cpu")
    for name, head in heads.items():
        for seed in range(2):
            linear = torch.nn.Linear(head.weights.shape[1] - 1, 5)
            begin = untrained.weights[name][seed, :, :5]
            linear.weight.data, linear.bias.data = begin[:-1].T.clone(), begin[-1].clone()
            rate = RECIPE.learning_rates[head.rate] * 32 / 256
            optimizer = torch.optim.SGD(linear.parameters(), rate, momentum=0.9)
            total = 3 * untrained.steps
            for epoch in range(3):
                order = untrained.order(seed, epoch)
                for step in range(untrained.steps):
                    rows = order[32 * step : 32 * (step + 1)]
                    done = (epoch * untrained.steps + step) / total
                    optimizer.param_groups[0]["lr"] = rate * 0.5 * (1 + math.cos(math.pi * done))
                    x = features.rows(name, rows, "cpu")[:, :-1]
                    loss = torch.nn.functional.cross_entropy(linear(x), features.labels[rows])
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
            assert torch.allclose(head.weights[seed, :-1].T, linear.weight, atol=1e-5)
            assert torch.allclose(head.weights[seed, -1], linear.bias, atol=1e-5)


def test_an_interrupted_training_goes_on_to_the_same_heads(tmp_path):
    features, file = clouds(120), tmp_path / "state.pt"
    whole = train(features, 5, RECIPE)
    with pytest.raises(Interrupted, match="after 1 of 3"):
        train(features, 5, RECIPE, partial=file, stop=lambda: "SIGTERM")
    resumed = train(features, 5, RECIPE, partial=file)
    for name, head in whole.items():
        assert torch.equal(head.weights, resumed[name].weights)
    assert not file.exists()


def test_registers_that_know_more_help_and_noise_does_not():
    recipe = Recipe(("cls", "cls+patch_mean", "cls+patch_mean+registers"), (0.05, 0.5), 8, 64)
    features, test = clouds(800, spread=3), clouds(600, seed=1, spread=3)
    heads = train(features, 5, recipe)
    by_head = {name: ranks(test, name, head.weights, "cpu").numpy() for name, head in heads.items()}
    rows = gains({("f", "s", "r4"): Ranks(test.ids, by_head)}, "d", STATISTICS)
    rows = rows.set_index(["group", "metric"])
    gain = rows.loc[("cls+patch_mean+registers", "top1_gain_over_cls+patch_mean")]
    assert gain["low"] > 0 and gain["unit"] == "points"
    assert rows.loc[("cls+patch_mean+registers", "registers_help"), "value"] == 1
    assert rows.loc[("cls", "top1_gain_over_cls+patch_mean"), "high"] < 0
    same = {g: r for g, r in by_head.items() if g == "cls"}
    pair = {("f", "s", r): Ranks(test.ids, same) for r in ("r0", "r4")}
    rows = gains(pair, "d", STATISTICS).set_index("metric")
    assert rows.loc["top1_gain_over_r0", "value"] == 0
    assert np.isnan(rows.loc["registers_help", "value"])


def test_a_linear_head_is_as_good_as_logistic_regression():
    features, test = clouds(1000, spread=2), clouds(800, seed=1, spread=2)
    head = train(features, 5, Recipe(("cls",), (0.01, 0.1, 1.0), 20, 64))["cls"]
    accuracy = Accuracy(
        ranks(test, "cls", head.weights, "cpu").numpy(), 1, Bootstrap.of(800, STATISTICS)
    )
    low, high = Bootstrap.of(800, STATISTICS).interval(accuracy.resampled)
    theirs = LogisticRegression(max_iter=500).fit(features.parts["cls"], features.labels)
    assert low <= 100 * theirs.score(test.parts["cls"], test.labels) <= high


def test_neighbours_vote_as_scikit_learn_counts():
    features, test = clouds(400, spread=2), clouds(100, seed=1, spread=2)
    ranked = knn_ranks(features, test, "cls", 5, k=7, temperature=0.1)[0]
    theirs = KNeighborsClassifier(
        7, weights=lambda d: np.exp((1 - d) / 0.1), metric="cosine", algorithm="brute"
    ).fit(features.parts["cls"], features.labels)
    assert np.array_equal(ranked == 1, theirs.predict(test.parts["cls"]) == test.labels.numpy())


def test_neighbours_in_blocks_are_the_same(monkeypatch):
    features, test = clouds(400, spread=2), clouds(50, seed=1, spread=2)
    whole = knn_ranks(features, test, "cls", 5)
    monkeypatch.setattr("tokenscope.classification.features.BLOCK", 37)
    monkeypatch.setattr("tokenscope.classification.features.SLICE", 11)
    assert torch.equal(knn_ranks(features, test, "cls", 5), whole)


def test_ranks_never_flatter():
    labels = torch.tensor([1, 1, 1, 1])
    nan = float("nan")
    scores = torch.tensor([[0.0, 2, 1], [3, 2, 1], [5, 5, 5], [nan, nan, nan]])
    assert rank_of(scores, labels).tolist() == [1, 2, 3, 3]


def test_diverging_heads_are_never_chosen():
    features = clouds(200)
    head = train(features, 5, Recipe(("cls",), (0.1, 1e38), 20, 64))["cls"]
    assert head.rate == 0 and torch.isfinite(head.weights).all()
    with pytest.raises(StudyError, match="diverge at every"):
        train(features, 5, Recipe(("cls",), (1e38,), 20, 64))


def test_backbones_without_registers_or_cls_use_what_they_have():
    features = clouds(100, registers=False)
    wanted = ("cls", "registers", "cls+patch_mean+registers", "cls+patch_mean")
    assert features.sets(wanted) == ["cls", "cls+patch_mean"]
    first = features.parts["cls"][:3].clone()
    kept = features.without({"0-0003", "0-0004"})
    assert len(kept) == 98 and torch.equal(kept.parts["cls"][:3], first)
    assert set(kept.parts) == {"cls", "patch_mean"} and not features.parts  # none is held twice


def test_ranks_survive_their_file(tmp_path):
    ids = np.array(["a/1", "NA", "b"])
    before = Ranks(ids, {"cls@resize256": np.array([[1, 2, 6], [1, 1, 3]])})
    before.write(tmp_path / "r.csv.gz")
    after = Ranks.read(tmp_path / "r.csv.gz")
    assert after.ids.tolist() == ids.tolist()
    assert np.array_equal(after.groups["cls@resize256"], before.groups["cls@resize256"])


def test_gains_pair_the_official_view_with_its_twin():
    ids = np.arange(200).astype(str)
    good, bad = np.ones((1, 200), int), np.tile([1, 2], 100)[None]
    by_backbone = {
        ("dinov2", "small", "r0"): Ranks(ids, {"published_head@resize256-official": bad}),
        ("dinov2", "small", "r4"): Ranks(ids, {"published_head@resize256": good}),
    }
    rows = gains(by_backbone, "d", STATISTICS).set_index("metric")
    assert rows.loc["top1_gain_over_r0", "value"] == 50
    assert rows.loc["top1_gain_over_r0", "group"] == "published_head@resize256-official"
    assert rows.loc["registers_help", "value"] == 1
    by_backbone["dinov2", "small", "r4"] = Ranks(ids[::-1], {"published_head@resize256": good})
    with pytest.raises(StudyError, match="not tested on the same images"):
        gains(by_backbone, "d", STATISTICS)


def test_a_retrained_head_is_compared_with_the_released_one():
    ids = np.arange(200).astype(str)
    good, bad = np.ones((3, 200), int), np.tile([1, 2], 100)[None]
    own = {"published_head": bad, "cls+patch_mean": good, "cls": good}
    rows = gains({("dinov2", "small", "r4"): Ranks(ids, own)}, "d", STATISTICS)
    over = rows[rows["metric"] == "top1_gain_over_published_head"].set_index("group")
    assert over["value"].to_dict() == {"cls+patch_mean": 50}  # of the same features alone
    assert over["low"].iloc[0] > 0


def test_published_gains_are_those_of_the_papers():
    published = published_gains(pd.read_csv("config/published.csv"))
    retrained = published[published["metric"] == "top1_gain_over_published_head"]
    assert retrained.set_index("size")["value"].to_dict() == pytest.approx(
        {"small": 0.63, "base": 0.36, "large": -0.18}
    )
    table4 = published[(published["item"] == "table4")].set_index("size")
    assert table4.loc["small", "value"] == 0.5 and table4.loc["giant", "value"] == 0.39
    assert (table4["metric"] == "top1_gain_over_r0").all()
    assert table4.loc["giant", "note"] == "86.9 to 87.29"
    readme = published[published["source"] == "dinov2-readme"].set_index(["size", "group"])["value"]
    assert readme["small", "published_head@resize256-official"] == -0.2
    assert readme["large", "knn_cls@resize256-official"] == 0.3
    table5 = published[
        (published["item"] == "table5") & (published["group"] == "cls+patch_mean+registers")
    ]
    assert table5.set_index("size")["value"].to_dict() == pytest.approx(
        {"small": -0.16, "base": -0.15, "large": 0.12}
    )


def test_published_figures_stand_beside_the_view_they_were_taken_with():
    rows = as_ours(pd.read_csv("config/published.csv").query("source == 'dinov2-readme'"))
    top1 = rows[rows["metric"] == "top1"].set_index(["size", "registers", "group"])["value"]
    assert top1["small", "r0", "published_head@resize256-official"] == 81.1
    assert top1["small", "r4", "published_head@resize256"] == 80.9
    assert top1["giant", "r4", "knn_cls@resize256"] == 83.7


def test_a_difference_of_nothing_is_no_gain():
    """Two heads with the same hits: rounding of the sums must not decide."""
    hits = np.random.default_rng(0).integers(1, 3, (3, 333))
    pair = [Ranks(np.arange(333).astype(str), {"a": hits[order]}) for order in ([0], [0])]
    assert compare(*pair, "a", "a", 1, STATISTICS) == (0, 0, 0)
    swapped = Ranks(pair[0].ids, {"a": hits}), Ranks(pair[0].ids, {"b": hits[::-1]})
    assert compare(*swapped, "a", "b", 1, STATISTICS)[0] == 0


def test_the_page_gives_a_verdict_to_differences_that_registers_make_and_no_other():
    """r0 with r4 under one head, and register tokens in a head; not [mean] with [CLS; mean]."""
    ids, good, bad = np.arange(200).astype(str), np.ones((1, 200), int), np.full((1, 200), 7)
    sets = {"cls+patch_mean": good, "patch_mean": bad}
    by_backbone = {
        ("f", "s", "r0"): Ranks(ids, sets),
        ("f", "s", "r4"): Ranks(ids, {**sets, "cls+patch_mean+registers": good}),
    }
    lines = verdicts(gains(by_backbone, "d", STATISTICS), Published("config/published.csv"))[4:-1]
    by_head = {tuple(line.split(" | ")[2:4]): line.split(" | ")[-1] for line in lines}
    assert by_head == {
        ("CLS + patch mean", "that without registers"): "cannot tell |",
        ("patch mean", "that without registers"): "cannot tell |",
        ("CLS + patch mean + registers", "CLS + patch mean"): "cannot tell |",
    }  # fmt: skip


def test_shared_images_and_other_classes_are_refused():
    def table(digests, labels, names):
        ids = [f"{d}.png" for d in digests]
        columns = {"image_id": ids, "sha256": list(digests), "label": labels}
        return pd.DataFrame({**columns, "label_name": list(names)})

    train_, test = table("abc", [0, 1, 1], "xyy"), table("cd", [1, 0], "yx")
    with pytest.raises(StudyError, match="1 images of 'a' are also in 'b': c.png is c.png"):
        shared(train_, test, "a", "b", "fail")
    assert shared(train_, test, "a", "b", "drop") == ["c.png"]
    check_classes(train_, test, "a", "b")
    with pytest.raises(StudyError, match="class 1 is 'y' in 'a' and 'z' in 'b'"):
        check_classes(train_, table("e", [1], "z"), "a", "b")
    with pytest.raises(StudyError, match="class 2 .'z'. of 'b' has no image in 'a'"):
        check_classes(train_, table("e", [2], "z"), "a", "b")
    with pytest.raises(StudyError, match="'b' has no labels"):
        check_classes(train_, table("e", [-1], "-"), "a", "b")


def test_a_momentum_takes_a_gradient_in_the_product_that_makes_it(monkeypatch):
    """``kept`` of what is there and the gradient, also where a CPU takes a batch in parts."""
    torch.manual_seed(0)
    x, w, target = torch.randn(2, 80, 7), torch.randn(2, 7, 10), torch.randint(5, (2, 80))
    alone, momentum = torch.full_like(w, torch.nan), torch.randn_like(w)
    Classes(5).gradient(x, w, target, 2, alone)
    expected = 0.9 * momentum + alone
    monkeypatch.setattr("tokenscope.probes.tasks.CACHE", 1)
    Classes(5).gradient(x, w, target, 2, momentum, kept=0.9)
    torch.testing.assert_close(momentum, expected)


def test_a_step_passes_over_the_weights_twice():
    """Of operations on tensors of the weights' size a step has one product, which is the momentum's
    update too, and one update of the weights; a GPU pays for each by reading all of them."""
    training = _Training(clouds(150), 5, RECIPE, "cpu")
    sizes, wide = {w.shape for w in training.weights.values()}, []

    class Wide(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            out = function(*args, **(kwargs or {}))
            if isinstance(out, torch.Tensor) and out.shape in sizes:
                wide.append(function._schema.name)
            return out

    with torch.no_grad(), Wide():
        training._step(torch.stack([training.order(seed, 0)[:32] for seed in range(2)]), 1.0)
    assert wide == ["aten::baddbmm_", "aten::addcmul_"] * len(training.weights)
