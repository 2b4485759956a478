# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from seas_aug.evaluate.follows_prompt import followed_by_real, follows_prompt

TYPES = ("a", "b", "c")


def real(seed=0):
    rng = np.random.default_rng(seed)
    names = [TYPES[row % 3] for row in range(90)]
    features = rng.normal(size=(90, 6))
    features[np.arange(90), [TYPES.index(name) for name in names]] += 4
    return features.astype(np.float32), names, [f"part {row // 9}" for row in range(90)]


def drawn_as(shown, count=20):
    """Features of drawings, one per prompt, of which each shows the type that a function says."""
    rng = np.random.default_rng(5)
    found = {}
    for prompt in TYPES:
        features = rng.normal(size=(count, 6))
        for row in range(count):
            features[row, TYPES.index(shown(prompt, row))] += 4
        found[prompt] = features.astype(np.float32)
    return found


GROUPS = [f"mask {row}" for row in range(20)]


def test_drawings_that_follow_their_prompt_do_so():
    features, names, groups = real()
    assert follows_prompt(features, names, drawn_as(lambda prompt, row: prompt), GROUPS).value > 0.95
    assert followed_by_real(features, names, groups) > 0.95


def test_a_type_told_by_the_mask_alone_is_chance():
    features, names, _ = real()
    found = follows_prompt(
        features, names, drawn_as(lambda prompt, row: TYPES[row % 3], 200), [str(r) for r in range(200)]
    )
    assert found.value == pytest.approx(0.5, abs=0.08)
    same = drawn_as(lambda prompt, row: "a")["a"]
    assert follows_prompt(features, names, dict.fromkeys(TYPES, same), GROUPS).value == 0.5


def test_pairs_are_counted_one_by_one():
    features, names, _ = real()
    found = follows_prompt(features, names, drawn_as(lambda prompt, row: "a" if prompt == "b" else prompt), GROUPS)
    assert found.extra["pairs"]["a/c"] > 0.95
    assert found.extra["pairs"]["a/b"] == pytest.approx(0.5, abs=0.3)
    assert found.value == pytest.approx(np.mean(list(found.extra["pairs"].values())))
    assert found.n == 60


def test_one_type_is_not_measured():
    features, _, _ = real()
    assert follows_prompt(features, ["a"] * 90, {"a": features}, ["x"] * 90).reason
