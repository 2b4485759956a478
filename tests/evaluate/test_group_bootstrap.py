# SPDX-License-Identifier: Apache-2.0
import math

import numpy as np

from seas_aug.evaluate.group_bootstrap import bootstrap, mean_interval
from seas_aug.evaluate.measured import Measured, not_measured, of_types


def test_interval_of_independent_values_is_that_of_the_normal_approximation():
    values = np.random.default_rng(0).normal(3, 2, 400)
    found = mean_interval(values, [str(row) for row in range(400)], draws=2000)
    assert found.value == values.mean()
    half = 1.96 * values.std() / 20
    assert abs((found.high - found.low) / 2 - half) < 0.15 * half


def test_windows_of_one_group_count_as_one():
    values = np.repeat(np.random.default_rng(0).normal(size=20), 50)
    alone = mean_interval(values, [str(row) for row in range(1000)])
    together = mean_interval(values, [str(row // 50) for row in range(1000)])
    assert together.high - together.low > 4 * (alone.high - alone.low)


def test_a_group_in_two_sets_is_drawn_alike():
    values, groups = np.arange(10.0), [str(row) for row in range(10)]
    found = bootstrap([groups, groups], lambda i, j: float(values[i].mean() - values[j].mean()))
    assert found == (0, 0, 0)


def test_nothing_has_no_interval():
    assert all(math.isnan(part) for part in mean_interval(np.zeros(0), []))


def test_the_worst_type_brings_its_own_interval():
    intervals = {"a": mean_interval(np.ones(4), list("wxyz")), "b": mean_interval(np.zeros(4), list("wxyz"))}
    worst = of_types(intervals, 8)
    assert (worst.value, worst.low, worst.high, worst.extra["worst_type"]) == (0, 0, 0, "b")
    assert of_types(intervals, 8, max).value == 1
    assert of_types({}, 0).reason


def test_json_has_no_nan_and_says_why_there_is_no_value():
    told = Measured(0.123456, float("nan"), None, 3, {"a": np.float32(0.5)}, {"more": {"x": (1, 2.0)}}).to_dict()
    assert told == {"value": 0.1235, "low": None, "high": None, "n": 3, "by_type": {"a": 0.5}, "more": {"x": [1, 2.0]}}
    assert not_measured("too few", 2, beside=1.0).to_dict()["reason"] == "too few"
