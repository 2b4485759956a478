# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from seas_aug.evaluate.realism import realism


def sides(shift, seed=0, kinds=("a", "b"), parts=12):
    """Features of two sets that differ by a shift; every part has its own place."""
    rng = np.random.default_rng(seed)
    found = []
    for side in range(2):
        types = [kinds[row % len(kinds)] for row in range(120)]
        groups = [f"{side}-{row % parts}" for row in range(120)]
        offset = np.asarray([5.0 * kinds.index(name) for name in types])[:, None]
        features = rng.normal(size=(120, 8)) + offset + shift * side
        found += [features.astype(np.float32), types, groups]
    return found


def test_equal_sets_cannot_be_told_and_different_ones_can():
    equal, different = realism(*sides(0.0)), realism(*sides(3.0))
    assert 0.35 < equal.value < 0.65
    assert different.value > 0.99
    assert different.low <= different.value <= different.high
    assert set(different.by_type) == {"a", "b"}


def test_types_weigh_equally_however_many_windows_they_have():
    drawn, types, groups, *real = sides(0.0)
    features = drawn.copy()
    rows = [row for row, name in enumerate(types) if name == "b"]
    features[rows] += 4.0  # b is drawn badly, a well
    kept = [row for row, name in enumerate(types) if name == "a" or row in rows[:8]]
    found = realism(features[kept], [types[r] for r in kept], [groups[r] for r in kept], *real)
    assert found.by_type["b"] > found.by_type["a"] + 0.2
    assert found.value == pytest.approx((found.by_type["a"] + found.by_type["b"]) / 2)


def test_one_group_is_not_measured():
    drawn, types, _, *real = sides(0.0)
    assert realism(drawn, types, ["one"] * 120, *real).reason
