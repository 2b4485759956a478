# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from seas_aug.evaluate.bootstrap import Comparison, Interval, draw_weights, paired_gain


def _mean_of(values: np.ndarray):
    return lambda weights: (weights * values).sum(1) / weights.sum(1)


def test_whole_groups_are_drawn() -> None:
    weights = draw_weights(["a", "b", "a", "c"], 200, np.random.default_rng(0))
    assert weights.shape == (200, 4)
    assert (weights[:, 0] == weights[:, 2]).all()
    assert (weights[:, [0, 1, 3]].sum(1) == 3).all()
    assert weights.std(0).min() > 0


def test_interval_of_a_mean_against_the_textbook() -> None:
    rng = np.random.default_rng(1)
    own, other = rng.normal(0.6, 0.1, 400), rng.normal(0.5, 0.1, 400)
    found = paired_gain({"tile": Comparison(range(400), [([_mean_of(own)], [_mean_of(other)])])}, draws=4000)
    difference = own - other
    half = 1.96 * difference.std() / np.sqrt(400)
    assert found.mean == pytest.approx(difference.mean())
    assert found.low == pytest.approx(difference.mean() - half, abs=0.15 * half)
    assert found.high == pytest.approx(difference.mean() + half, abs=0.15 * half)


def test_pairing_takes_the_images_own_difficulty_out() -> None:
    hard = np.random.default_rng(2).normal(0, 1, 100)
    found = paired_gain({"a": Comparison(range(100), [([_mean_of(hard + 0.1)], [_mean_of(hard)])])})
    assert found.high - found.low < 1e-9
    assert found.mean == pytest.approx(0.1)


def test_seeds_widen_and_categories_are_averaged() -> None:
    flat = np.zeros(10)
    seeds = [_mean_of(flat + value) for value in (0.1, 0.2, 0.3)]
    same = Comparison(range(10), [(seeds, [_mean_of(flat)])])
    one = paired_gain({"a": same})
    assert one.mean == pytest.approx(0.2)
    assert one.low < 0.15 and one.high > 0.25
    two = paired_gain({"a": same, "b": same})
    assert two.high - two.low < one.high - one.low


def test_points_and_mistakes() -> None:
    assert Interval(0.12345, -0.01, 0.2).as_points() == {"mean": 12.35, "low": -1.0, "high": 20.0}
    for wrong in ({}, {"a": Comparison([], [])}):
        with pytest.raises(ValueError, match="expected one or more"):
            paired_gain(wrong)


def test_networks_share_the_test_images() -> None:
    # The same network thrice says no more about the test images than once.
    rng = np.random.default_rng(3)
    pair = ([_mean_of(rng.normal(0.1, 0.5, 60))], [_mean_of(np.zeros(60))])
    one, three = (paired_gain({"a": Comparison(range(60), [pair] * count)}) for count in (1, 3))
    assert three.high - three.low == pytest.approx(one.high - one.low, rel=1e-6)
