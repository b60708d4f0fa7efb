"""Maps of registers: how alike they are, in numbers that are known."""

import numpy as np
import pytest
from registers.fig_register_maps import alike, said

from tokenscope.tables import tidy


def test_equal_maps_are_alike_and_turned_ones_opposite():
    rng = np.random.default_rng(0)
    first = rng.uniform(1, 2, (5, 4, 4))
    maps = {"cls": first, "reg0": 3 * first, "reg1": 3 - first}  # a factor changes no cosine
    found = alike(maps)
    assert found == pytest.approx(np.array([[1, 1, -1], [1, 1, -1], [-1, -1, 1]]))


def test_the_numbers_beside_are_those_of_the_table():
    who = {"family": "a", "size": "b", "registers": "r2", "kind": "trained", "dataset": "set"}
    rows = tidy.TidyRows(who, 5000, 0)
    rows.add("registers", "registers", "map_cosine_between", 0.25, 0.2, 0.3)
    for register, value in (("reg0", 0.1), ("reg1", 0.7)):
        rows.add("registers", register, "map_cosine_with_cls", value, 0, 1)
    assert list(said(rows.frame())) == [
        "cosine between registers' maps 0.25 [0.20, 0.30]", "cosine with CLS's map 0.10 to 0.70",
        "over 5,000 images (tables/registers.csv)",
    ]  # fmt: skip
    assert list(said(rows.frame().iloc[:2]))[1] == "cosine with CLS's map 0.10"  # and no range
    assert not list(said(rows.frame().iloc[:0]))
