"""Probes on constructed banks: what is in the tokens is found, what is not is not."""

from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from banks import GRID, PIXELS, World
from sklearn.linear_model import LogisticRegression

from tokenscope.jobs.job import Interrupted
from tokenscope.probes.logistic_regression import fit_logistic
from tokenscope.probes.questions import TASKS, ask, confounding, masks_of
from tokenscope.probes.tasks import Classes, Pixels, Position
from tokenscope.probes.token_rows import Bank
from tokenscope.probes.trainer import Recipe, Window, fit
from tokenscope.stats.bootstrap import Bootstrap

SETTINGS = {
    "tokens_per_image": 1, "seed": 0, "split": [0.6, 0.2, 0.2], "seeds": 2,
    "learning_rates": [0.01, 0.1], "epochs": 20, "patience": 20, "batch": 40, "memory_gb": 1,
    "min_tokens": 30,
}  # fmt: skip
STATISTICS = {"resamples": 200, "seed": 0, "confidence": 0.95}


def interval(answer, name, group):
    """Mean and interval of a score."""
    bootstrap = answer.bootstrap(STATISTICS)
    return bootstrap.over_seeds(answer.per_image(name, group), answer.count())[:3]


@pytest.fixture(scope="module")
def world():
    return World()


@pytest.fixture(scope="module")
def banks(world, tmp_path_factory):
    """Outlier tokens global and normal ones local, as the paper has it, and the reverse."""
    local, image = world.local(), world.image_level()
    made = {"paper": (local, image), "reverse": (image, local)}
    folder = tmp_path_factory.mktemp("banks")
    return {name: world.bank(folder / name, *tokens) for name, tokens in made.items()}


@pytest.mark.parametrize(
    "bank, knows_place, knows_class",
    [("paper", "normal", "outlier"), ("reverse", "outlier", "normal")],
)
def test_probes_say_what_tokens_hold(banks, bank, knows_place, knows_class):
    other = {"normal": "outlier", "outlier": "normal"}
    position = ask(banks[bank], "position", SETTINGS, "cpu")
    assert interval(position, "top1", knows_place)[1] > 0.9
    value, low, high = interval(position, "top1", other[knows_place])
    assert low <= 1 / 16 <= high
    pixels = ask(banks[bank], "pixels", SETTINGS, "cpu")
    error = {g: interval(pixels, "l2_squared", g) for g in other}
    assert error[knows_place][0] < 0.02
    assert error[other[knows_place]][1] > 10
    classes = ask(banks[bank], "class", SETTINGS, "cpu")
    hits = {g: interval(classes, "top1", g) for g in classes.groups}
    assert hits[knows_class][1] > 0.8 and hits["cls"][1] > 0.8
    assert hits[knows_place][1] <= 0.25 <= hits[knows_place][2] < hits[knows_class][1]


def test_one_hot_places_and_pixels_are_read_without_error(world, tmp_path):
    place, pixels = world.local(), world.local()
    place[..., 16:], pixels[..., :16] = 0, 0
    bank = world.bank(tmp_path, place, pixels)
    position = ask(bank, "position", SETTINGS, "cpu")
    assert (position.scores["top1"][0] == 1).all() and (position.scores["distance"][0] == 0).all()
    settings = SETTINGS | {"epochs": 60, "patience": 60}
    error = ask(bank, "pixels", settings, "cpu").scores["l2_squared"]
    assert error[1].max() < 1e-3  # what float16 leaves of a token


@pytest.mark.parametrize(
    "task, name", [("position", "distance"), ("pixels", "l2"), ("class", "top1")]
)
def test_the_same_content_makes_no_difference(tmp_path, task, name):
    """One interval in twenty may miss zero; three of eight would be a wrong instrument."""
    misses = 0
    for seed in range(8):
        world = World(images=200, seed=seed)
        noisy = world.local() + world.rng.normal(0, 0.5, world.local().shape)
        answer = ask(world.bank(tmp_path / str(seed), noisy, noisy), task, SETTINGS, "cpu")
        difference = answer.per_image(name, "outlier") - answer.per_image(name, "normal")
        _, low, high, _ = answer.bootstrap(STATISTICS).over_seeds(difference, answer.count())
        misses += not low <= 0 <= high
    assert misses <= 2


def test_shuffled_labels_give_chance(world, tmp_path):
    bank = world.bank(tmp_path, world.image_level(), world.image_level())
    bank.label = np.random.default_rng(1).permutation(bank.label)
    answer = ask(bank, "class", SETTINGS, "cpu")
    for group in ("normal", "outlier", "cls"):
        _, low, high = interval(answer, "top1", group)
        assert low <= 0.25 <= high


def test_images_are_never_on_two_sides(banks):
    tokens = ask(banks["reverse"], "class", SETTINGS | {"epochs": 1}, "cpu").tokens
    assert not (tokens.train & tokens.validation).any()
    assert not ((tokens.train | tokens.validation) & tokens.test).any()
    assert (tokens.train[0] != tokens.train[1]).any() and tokens.test.sum() == 80


def test_windows_read_anew_find_the_same(banks):
    """A budget that holds a fifth of the rows: other batches, the same answer."""
    settings = SETTINGS | {"memory_gb": 400 * 2 * (4 * 33 + 12) / 5 / 1e9}
    answer = ask(banks["paper"], "position", settings, "cpu")
    assert len(answer.tokens.spans) >= 5
    assert interval(answer, "top1", "normal")[0] > 0.95


@pytest.mark.parametrize("task", TASKS)
def test_an_interrupted_run_goes_on_to_the_same_numbers(banks, tmp_path, task):
    settings = SETTINGS | {"epochs": 5}
    whole = ask(banks["paper"], task, settings, "cpu")
    calls = iter(["", "", "SIGTERM"])
    state = str(tmp_path / "state.pt")
    with pytest.raises(Interrupted, match="ended after 3 of 5 epochs"):
        ask(banks["paper"], task, settings, "cpu", partial=state, stop=lambda: next(calls))
    resumed = ask(banks["paper"], task, settings, "cpu", partial=state)
    assert torch.equal(whole.trained.weights, resumed.trained.weights)
    for name in whole.scores:
        np.testing.assert_array_equal(whole.scores[name], resumed.scores[name])
    assert not (tmp_path / "state.pt").exists()


def test_unfinished_work_on_other_tokens_is_not_gone_on_with(banks, tmp_path):
    """As many rows, another backbone, other windows: the old state would spoil the numbers."""
    settings, state = SETTINGS | {"epochs": 4}, str(tmp_path / "state.pt")
    windows = settings | {"memory_gb": 1e-4}
    for bank, own in (("reverse", settings), ("paper", windows)):
        stop = iter(["", "SIGTERM"]).__next__
        with pytest.raises(Interrupted):
            ask(banks["paper"], "position", settings, "cpu", partial=state, stop=stop)
        fresh = ask(banks[bank], "position", own, "cpu")
        resumed = ask(banks[bank], "position", own, "cpu", partial=state)
        assert torch.equal(fresh.trained.weights, resumed.trained.weights)


def test_tested_on_images_of_another_data_set(tmp_path):
    """Those and no others; what is in both trains nothing; the rest is shared by 3 to 1."""
    first, second = World(images=200), World(images=90, seed=1)
    for name, world in (("first", first), ("second", second)):
        world.bank(tmp_path / name, world.local(), world.image_level())
    stores = [sorted((tmp_path / name).glob("[0-9]*")) for name in ("first", "second")]
    bank = Bank(*stores, dropped=["3", "149"])
    assert bank.test_images == 90 and bank.images == 290
    assert np.flatnonzero(bank.dropped).tolist() == [3, 149]
    train, validation, test = masks_of(bank, SETTINGS)
    assert np.flatnonzero(test).tolist() == list(range(200, 290))
    used = train | validation
    assert not used[:, [3, 149]].any() and (used.sum(1) == 198).all()
    assert validation.sum(1).tolist() == [50, 50]  # a quarter of 198
    assert not (used & test).any() and not (train & validation).any()
    answer = ask(bank, "position", SETTINGS, "cpu")
    assert answer.test.sum() == 90 and interval(answer, "top1", "normal")[1] > 0.9


def test_no_more_images_with_an_outlier_than_are_wanted(world, tmp_path):
    bank = world.bank(tmp_path, world.local(), world.local(), absent=range(0, 400, 2))
    train, validation, test = masks_of(bank, SETTINGS | {"images_with_outlier": 100})
    used = train | validation
    assert (used.sum(1) == 100).all() and bank.with_outlier[used.any(0)].all()
    plain = masks_of(bank, SETTINGS)
    more = masks_of(bank, SETTINGS | {"images_with_outlier": 200})  # as many as there are
    assert all((a == b).all() for a, b in zip(plain, more, strict=True))
    assert (test == plain[2]).all() and test.sum() == 80


def test_places_without_normal_tokens_leave_that_group_out_alone(tmp_path):
    world = World(same_places=True)
    bank = world.bank(tmp_path, world.local(), world.local())
    bank.patch_index[100:, 3] = -1
    answer, refused = refusals(bank, "position")
    assert refused == {"normal_same_places": ("no normal tokens at the places of outliers", 100)}
    assert answer.groups == ["normal", "outlier"] and answer.rows["test"] == 80


def refusals(bank, task, **settings):
    answer = ask(bank, task, SETTINGS | {"epochs": 1} | settings, "cpu")
    return answer, answer.refused


def test_what_cannot_be_answered_is_said(world, tmp_path):
    local = world.local()
    bank = world.bank(tmp_path / "few", local, local, absent=range(10, 400))
    answer, refused = refusals(bank, "position")
    assert refused == {"outlier": ("too few tokens", 10)} and answer.groups == ["normal"]
    bank = world.bank(tmp_path / "none", local, local, absent=range(400))
    assert refusals(bank, "class")[1] == {"outlier": ("too few tokens", 0)}
    broken = world.image_level()
    broken[7, 1, 3] = np.inf
    bank = world.bank(tmp_path / "broken", local, broken)
    answer, refused = refusals(bank, "pixels")
    assert refused == {"outlier": ("tokens are not finite", 400)} and answer.groups == ["normal"]
    bank.label = np.zeros(400, int)
    answer, refused = refusals(bank, "class")
    assert not answer.groups and {why for why, _ in refused.values()} == {"only one class"}
    bank.label = np.full(400, -1)
    assert refusals(bank, "class")[1]["cls"][0] == "images without labels"
    single = World(images=1)
    answer, refused = refusals(
        single.bank(tmp_path / "one", single.local(), single.local()), "position"
    )
    assert not answer.groups and refused["normal"] == ("too few tokens", 1)


def test_a_window_is_read_once_for_all_seeds():
    """A turn reads each window to train and to judge; a logistic regression judges all at once."""
    data = Plain(classes, 3, seeds=2)
    calls = []
    data.windows = lambda: calls.append(None) or iter([data.window])
    fitted = fit(data, Classes(3), Recipe((0.1,), epochs=4, patience=4, batch=20))
    assert len(calls) == 2 * 4 and fitted.validation.shape == (2, 2, 1)
    calls.clear()
    fit_logistic(data, Classes(3), None, [1.0, 2.0])
    assert len(calls) == 2 * 2 * 2 + 1  # groups, seeds, penalties


class Plain:
    """Random rows in memory."""

    def __init__(self, target, outputs, groups=2, seeds=2, rows=60, width=6):
        generator = torch.Generator().manual_seed(0)
        self.groups = [str(i) for i in range(groups)]
        self.features, self.device, self.spans = width, "cpu", [slice(0, rows)]
        tokens = torch.randn(groups, rows, width, generator=generator)
        self.window = Window(tokens, target(generator, groups, rows, outputs), 0)
        self.test = torch.arange(rows) < 10
        self.validation = torch.stack([torch.arange(rows) // 10 == s + 1 for s in range(seeds)])
        self.train = ~self.test & ~self.validation

    def windows(self):
        yield self.window


def classes(generator, groups, rows, outputs):
    return torch.randint(outputs, (groups, rows), generator=generator)


def pixels(generator, groups, rows, outputs):
    target = torch.randint(256, (groups, rows, outputs), generator=generator)
    return target.to(torch.uint8)


def reference(data, task, loss, recipe, group, seed, rate, decay=0.0):
    """The same probe as anyone would write it: autograd, torch's optimiser, torch's schedule."""
    layer = torch.zeros(data.features, task.outputs, requires_grad=True)
    adam = torch.optim.AdamW([layer], lr=rate, weight_decay=decay)
    rows = data.train[seed].nonzero().flatten()
    steps = recipe.epochs
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps)
    for _ in range(recipe.epochs):
        adam.zero_grad()
        target = data.window.target[group, rows]
        loss(data.window.tokens[group, rows] @ layer, target).backward()
        adam.step()
        cosine.step()
    return layer.detach()


def place_loss(z, target):
    place = Position(GRID).place
    expected = z.softmax(-1) @ place
    return F.cross_entropy(z, target) + 0.5 * F.mse_loss(expected, place[target])


def pixel_loss(z, target):
    return 0.5 * (z - Pixels(z.shape[1]).scaled(target)).square().sum(1).mean()


@pytest.mark.parametrize(
    "task, loss, target, decay",
    [
        (Classes(5), F.cross_entropy, classes, 0.0),
        (Classes(20), F.cross_entropy, classes, 0.0),
        (Position(GRID), place_loss, classes, 0.0),
        (Pixels(PIXELS), pixel_loss, pixels, 0.01),
    ],
)
def test_probes_together_are_what_each_is_alone(task, loss, target, decay):
    data = Plain(target, task.outputs)
    # One batch is all training rows, so that order does not matter; validation never gets worse
    # than at the start, and the last weights are compared.
    recipe = Recipe((0.003, 0.03), epochs=6, patience=6, batch=40)
    together = _last(data, task, recipe)
    for group in range(2):
        for seed in range(2):
            for r, rate in enumerate(recipe.learning_rates):
                alone = reference(data, task, loss, recipe, group, seed, rate, decay)
                torch.testing.assert_close(together[group, seed, :, r], alone, rtol=2e-4, atol=2e-6)


def _last(data, task, recipe):
    from tokenscope.probes.trainer import _Training

    training = _Training(data, task, recipe)
    for _ in range(recipe.epochs):
        training.one_epoch()
    return training.weights.view(2, 2, data.features, 2, task.outputs)


def test_patience_stops_a_probe_and_keeps_its_best():
    data = Plain(classes, 5)  # nothing to learn: validation soon gets no better
    first = fit(data, Classes(5), Recipe((0.3,), epochs=30, patience=2, batch=10))
    assert (first.epoch < 30).all() and (first.epoch >= 1).all()
    second = fit(data, Classes(5), Recipe((0.3,), epochs=30, patience=2, batch=10))
    assert torch.equal(first.weights, second.weights)


def test_logistic_regression_agrees_with_scikit_learn():
    data = Plain(classes, 3, groups=1, seeds=1)
    data.window.tokens[..., -1] = 1
    fitted = fit_logistic(data, Classes(3), Recipe((1.0,)), penalties=[0.05, 2.0])
    rows = data.train[0]
    for c, penalty in enumerate((0.05, 2.0)):
        theirs = LogisticRegression(C=penalty, tol=1e-8, max_iter=1000)
        theirs.fit(data.window.tokens[0, rows, :-1], data.window.target[0, rows])
        np.testing.assert_allclose(fitted.weights[0, 0, c, :-1].T, theirs.coef_, atol=2e-3)


def test_logistic_recipe_answers_like_the_others(banks):
    trainer = partial(fit_logistic, penalties=[0.1, 10])
    answer = ask(banks["paper"], "class", SETTINGS, "cpu", trainer=trainer, final_norm=True)
    assert interval(answer, "top1", "outlier")[1] > 0.9


def test_crowded_positions_are_told_from_spread_ones():
    rng = np.random.default_rng(0)
    bootstrap, image = Bootstrap(100, 100), np.repeat(np.arange(100), 3)
    value, low, high = confounding(rng.integers(0, 196, 300), 196, image, bootstrap)
    assert value == pytest.approx(1, abs=0.02) and low < value < high
    value, low, high = confounding(rng.choice([0, 13, 182, 195], 300), 196, image, bootstrap)
    assert high < 0.4
