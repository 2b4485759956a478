# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from seas_aug.evaluate.recombined import both_found, recombined

TYPES = ("a", "b", "c")


def shown(kinds, seed):
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(len(kinds), 6))
    for row, types in enumerate(kinds):
        for name in types:
            features[row, TYPES.index(name)] += 5
    return features.astype(np.float32)


SINGLE = [(TYPES[row % 3],) for row in range(60)]
BOTH = [(("a", "b"), ("a", "c"), ("b", "c"))[row % 3] for row in range(60)]
REAL = [*SINGLE, *BOTH]
GROUPS = [f"part {row // 3 % 10}" for row in range(120)]


def test_two_types_drawn_are_found_and_one_of_two_is_not():
    features = shown(REAL, 0)
    drawn_groups = [str(row) for row in range(60)]
    good = recombined(features, REAL, GROUPS, shown(BOTH, 1), BOTH, drawn_groups)
    assert good.value == pytest.approx(1, abs=0.15)
    one = recombined(features, REAL, GROUPS, shown([pair[:1] for pair in BOTH], 1), BOTH, drawn_groups)
    assert one.value < 0.2
    assert set(one.by_type) == {"a+b", "a+c", "b+c"}


def test_every_type_that_is_asked_for_has_to_be_found():
    found = both_found(shown(REAL, 0), REAL, shown([("a", "b"), ("a",), ()], 2), [("a", "b")] * 3)
    assert found.tolist() == [True, False, False]


def test_what_nobody_finds_in_composites_carries_no_figure():
    noise = np.random.default_rng(0).normal(size=(120, 6)).astype(np.float32)
    kinds = [*SINGLE, *SINGLE[:40], *BOTH[:20]]
    found = recombined(noise, kinds, GROUPS, shown(BOTH, 1), BOTH, ["x"] * 60)
    assert found.value is None or found.extra["composite_share"] >= 0.2
    assert recombined(shown(SINGLE, 0), SINGLE, GROUPS[:60], shown(BOTH, 1), BOTH, ["x"] * 60).reason
