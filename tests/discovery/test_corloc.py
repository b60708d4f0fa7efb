"""CorLoc over a data set: which images choose the setting, which report, and what is counted."""

import numpy as np
import pytest
import xarray as xr

from tokenscope.discovery.corloc import (
    CorLoc,
    pick,
    restrictions,
    seed_in_box,
    settings_of,
    split,
)
from tokenscope.discovery.settings import Setting, as_published
from tokenscope.discovery.settings import every_setting as settings
from tokenscope.errors import StudyError

WHO = {"family": "f", "size": "s", "registers": "r0", "kind": "released", "dataset": "voc"}
STATISTICS = {"resamples": 100, "seed": 0, "confidence": 0.95}
SETTINGS = settings(12, 1, ["k", "v"], [False], [0.0, -0.1])
KEYS = ("block", "facet", "normalised", "bias")
RIGHT, WRONG = (16, 16, 48, 48), (0, 0, 4, 4)


def discovered(hits, names):
    """A store in which LOST finds the one true box where ``hits`` (image, setting) says so."""
    box = np.where(np.array(hits)[..., None], RIGHT, WRONG).astype(np.float32)
    columns = dict(zip(KEYS, zip(*SETTINGS, strict=True), strict=True))
    return xr.Dataset(
        {
            "box": (("image", "setting", "corner"), box),
            "seed": (("image", "setting"), np.full(box.shape[:2], 5, np.int32)),
        },
        {
            "image_id": (("image",), np.array(names)),
            **{name: (("image",), np.full(len(names), 64)) for name in ("width", "height")},
            **{name: (("setting",), np.array(values)) for name, values in columns.items()},
        },
        {"patch": 16},
    )


def test_the_best_on_held_out_images_reports_on_the_others():
    names = [f"{i:02d}" for i in range(20)][::-1]  # a store is not in the order of names
    hits = np.zeros((20, 4), bool)
    hits[:, 2] = True  # v, without bias
    truth = {name: np.array([RIGHT]) for name in names[:-1]}  # the last one has no box
    corloc = CorLoc(discovered(hits, names), truth, WHO, 0.25, 0, STATISTICS)
    assert corloc.chosen == (12, "v", False, 0.0)
    assert len(corloc.held) == 5 and len(corloc.rest) == 14
    assert not set(corloc.held) & set(corloc.rest) and "00" not in corloc.names
    rows = corloc.rows({"crowds": 3}).set_index(["group", "metric"])
    assert rows.loc[("lost", "corloc"), ["value", "low", "high", "n"]].tolist() == [100] * 3 + [14]
    assert rows.loc[("lost_held_out", "corloc"), "n"] == 5
    assert rows.loc[("lost", "seed_in_box"), "value"] == 100  # patch 5: the middle is 24, 24
    assert rows.loc[("lost_k_unbiased", "corloc"), "value"] == 0
    assert rows.loc[("only_v", "corloc"), "value"] == 100
    assert rows.loc[("all_settings", "corloc_max"), "value"] == 100
    assert rows.loc[("left_out", "crowds"), "value"] == 3
    table = corloc.by_setting()
    assert table["corloc"].tolist() == [0, 0, 100, 0] and table["chosen"].tolist().index(True) == 2
    assert len(corloc.shown(3)) == 3 and set(corloc.by_image()) == {
        ("lost", "corloc"), ("lost", "seed_in_box"), ("lost_k_unbiased", "corloc"),
        ("lost_v_unbiased", "corloc"),
    }  # fmt: skip


def test_how_much_ties_of_the_degree_matter():
    """Of two orders one finds every object, the other none; the first patch found those of half."""
    names = [f"{i:02d}" for i in range(20)]
    hits = np.zeros((20, 4), bool)
    hits[::2, 0] = True
    store = discovered(hits, names)
    setting = as_published(settings_of(store))[0]
    number = settings_of(store).index(setting)
    hits[:] = False
    hits[::2, number] = True
    store = discovered(hits, names)
    count = len(as_published(settings_of(store)))
    boxes = np.zeros((20, count, 2, 4))
    boxes[:, 0, 0] = RIGHT
    store["box_random_ties"] = ("image", "published", "order", "corner"), boxes
    store["tied"] = ("image", "setting"), np.full((20, 4), 3)
    corloc = CorLoc(store, {n: np.array([RIGHT]) for n in names}, WHO, 0.2, 0, STATISTICS)
    rows = {(m.group, m.metric): m for m in corloc.ties()}
    group = f"lost_{setting.facet}_unbiased: random ties"
    first = 100 * corloc.hits[corloc.rest, number].mean()
    assert rows[group, "corloc"].value == 50
    assert rows[group, "corloc_minus_first_tie"].value == pytest.approx(50 - first)
    assert rows[group, "corloc_lowest_order"].value == 0
    assert rows[group, "corloc_highest_order"].value == 100
    assert rows[group, "seed_tied"].value == 100
    assert group in set(corloc.rows({})["group"])


def test_too_few_images_with_boxes_are_refused():
    names = ["a", "b", "c"]
    store = discovered(np.zeros((3, 4), bool), names)
    with pytest.raises(StudyError, match="voc: 3 images with boxes: too few to split"):
        CorLoc(store, {n: np.array([RIGHT]) for n in names}, WHO, 0.25, 0, STATISTICS)


def test_the_published_setting_wins_ties_and_restrictions_hold():
    hits = np.ones((5, 4), bool)
    assert pick(hits, SETTINGS, lambda s: True) == 0
    allowed = restrictions(SETTINGS)
    assert list(allowed) == [
        "only_k", "only_v", "only_block_12", "only_as_they_are", "only_unbiased"
    ]  # fmt: skip
    assert pick(hits, SETTINGS, allowed["only_v"]) == 2
    assert not allowed["only_unbiased"](Setting(12, "k", False, -0.1))


def test_images_choose_or_report():
    held, rest = split(10, 0.3, 0)
    assert len(held) == 3 and sorted([*held, *rest]) == list(range(10))
    assert np.array_equal(split(10, 0.3, 0)[0], held)
    assert len(split(5, 0.99, 0)[1]) == 2 and len(split(5, 0.01, 0)[0]) == 1


def test_the_middle_of_the_seed_decides():
    store = discovered(np.ones((2, 4), bool), ["a", "b"]).isel(setting=0)
    edges = [np.array([[24, 24, 30, 30]]), np.array([[0, 0, 24, 24]])]  # half-open
    assert seed_in_box(store, edges).tolist() == [True, False]
