"""Measurements carry their names, and their intervals are those of the bootstrap."""

import numpy as np
import pandas as pd
import pytest

from tokenscope.stats.bootstrap import Bootstrap
from tokenscope.stats.measurement import Measurement, of_difference
from tokenscope.stats.top_k import own_head


def test_a_list_of_measurements_is_a_table():
    bootstrap = Bootstrap(4, 50)
    mean = Measurement.mean("cls", "norm_mean", np.array([1.0, 2, 3, 4]), bootstrap)
    ratio = Measurement.ratio("a", "b", np.full(4, 6.0), np.full(4, 2.0), bootstrap, "ratio")
    table = pd.DataFrame([mean, ratio])
    assert list(table.columns) == ["group", "metric", "value", "low", "high", "unit"]
    assert mean.value == 2.5 and mean.low < 2.5 < mean.high and mean.unit == ""
    assert ratio == ("a", "b", 3, 3, 3, "ratio")
    assert of_difference("percent") == "points" and of_difference("m") == "m"


def test_an_interval_of_nothing_is_a_number():
    low, high = Bootstrap(4, 10).interval(np.full(10, np.nan))
    assert isinstance(low, float) and np.isnan([low, high]).all()
    assert Bootstrap(4, 10).interval(np.full((10, 3), np.nan))[0].shape == (3,)


def test_accuracy_of_the_own_head():
    top5 = np.array([[7, 1, 2, 3, 4], [1, 7, 2, 3, 4], [1, 2, 3, 4, 5], [7, 0, 0, 0, 0]])
    top1, five = own_head(top5, np.full(4, 7), Bootstrap(4, 20))
    assert (top1.metric, top1.value, top1.unit) == ("top1", 50, "percent")
    assert five.value == pytest.approx(75)
