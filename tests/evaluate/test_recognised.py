# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from seas_aug.evaluate.recognised import recognised
from tests.evaluate.test_follows_prompt import TYPES, real


def test_real_defects_of_other_parts_are_recognised_as_well_as_real_ones():
    features, names, groups = real()
    other, other_names, other_groups = real(9)
    found = recognised(features, names, groups, other, other_names, other_groups)
    assert found.value == pytest.approx(1, abs=0.1)
    assert found.low <= found.value <= found.high


def test_the_same_defect_for_every_type_is_not_recognised():
    features, names, groups = real()
    same = features[[row for row, name in enumerate(names) if name == "a"]][:10]
    labels = [name for name in TYPES for _ in range(10)]
    found = recognised(features, names, groups, np.concatenate([same] * 3), labels, [str(r) for r in range(30)])
    assert found.value == pytest.approx(0, abs=0.05)


def test_real_defects_that_nobody_recognises_carry_no_figure():
    features, names, groups = real()
    noise = np.random.default_rng(0).normal(size=features.shape).astype(np.float32)
    found = recognised(noise, names, groups, features, names, groups)
    assert found.value is None and "not evaluable" in found.reason
    assert "drawn_accuracy" in found.extra
    assert recognised(features, ["a"] * 90, groups, features, names, groups).reason == "one type only"
    single = ["one" if name == "a" else group for name, group in zip(names, groups, strict=True)]
    assert "single group" in recognised(features, names, single, features, names, groups).reason
