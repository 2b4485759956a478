# SPDX-License-Identifier: Apache-2.0
"""What surrounds a defect, and whether it looks alike elsewhere: against a slow reference, and by what one sees."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seas_aug.data.surroundings import GRAIN, misfit, misfit_map, ring

LAMP = 0.08  # difference of brightness that counts as another lamp


def slow_misfit(own, other):
    """Number by number, ``[n, C]`` both."""
    difference = energy = 0.0
    mean, another = own.mean(axis=0), other.mean(axis=0)
    for pixel in range(own.shape[0]):
        for channel in range(own.shape[1]):
            a, b = own[pixel, channel] - mean[channel], other[pixel, channel] - another[channel]
            difference += (a - b) ** 2
            energy += a**2 + b**2 + GRAIN**2
    beyond = own.size * sum(max(0.0, abs(one - two) - LAMP) ** 2 for one, two in zip(mean, another, strict=True))
    return (difference + beyond) / (energy + beyond)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 30), st.integers(1, 3), st.floats(0, 1))
def test_misfit_is_that_of_a_slow_reference(seed, count, channels, alike):
    random = np.random.default_rng(seed)
    own = random.random((count, channels), dtype=np.float32)
    others = alike * own + (1 - alike) * random.random((4, count, channels), dtype=np.float32)
    found = misfit(own, others.astype(np.float32))
    assert found.dtype == np.float32
    expected = [slow_misfit(own.astype(float), other.astype(float)) for other in others]
    assert found == pytest.approx(expected, abs=1e-4)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10**6),
    st.tuples(st.integers(3, 12), st.integers(3, 12)),
    st.tuples(st.integers(0, 9), st.integers(0, 9)),
    st.integers(1, 3),
    st.floats(0.02, 1),
)
def test_the_map_has_the_misfit_of_every_place(seed, size, room, channels, contrast):
    random = np.random.default_rng(seed)
    shape = (size[0] + room[0], size[1] + room[1], channels)
    search = (0.5 + contrast * (random.random(shape) - 0.5)).astype(np.float32)
    template = (0.4 + contrast * (random.random((*size, channels)) - 0.5)).astype(np.float32)
    weight = (random.random(size) > 0.5).astype(np.float32)
    weight[0, 0] = 1
    found = misfit_map(search, template, weight)
    assert found.shape == (room[0] + 1, room[1] + 1) and found.dtype == np.float32
    inside = weight > 0
    places = np.stack(
        [
            search[top : top + size[0], left : left + size[1]][inside]
            for top in range(room[0] + 1)
            for left in range(room[1] + 1)
        ]
    )
    assert found.ravel() == pytest.approx(misfit(template[inside], places), abs=2e-3)


def test_the_same_fits_and_what_has_nothing_to_do_with_it_does_not():
    random = np.random.default_rng(0)
    own = random.random((500, 3), dtype=np.float32)
    other = random.random((500, 3), dtype=np.float32)
    darker, inverted = 0.97 * own - 0.02, 1 - own
    found = misfit(own, np.stack([own, darker, other, inverted]))
    assert found[0] == pytest.approx(0, abs=1e-6)
    assert found[1] < 0.02
    assert found[2] == pytest.approx(1, abs=0.1)
    assert found[3] > 1.5


def test_grain_is_the_same_everywhere_but_a_backdrop_is_not():
    random = np.random.default_rng(0)
    grain, other = (0.5 + 0.01 * random.standard_normal((2, 400, 3))).astype(np.float32)
    found = misfit(grain, np.stack([other, other + 0.05, other + 0.3]))
    assert found[0] < 0.1 and found[1] < 0.1
    assert found[2] > 0.8


def slow_ring(mask, reach):
    """Pixels within a circle around some of the defect, but not next to it."""
    height, width = mask.shape
    rows, columns = np.nonzero(mask)
    far = np.hypot(
        np.arange(height)[:, None, None] - rows[None, None], np.arange(width)[None, :, None] - columns[None, None]
    )
    touching = np.maximum(
        np.abs(np.arange(height)[:, None, None] - rows[None, None]),
        np.abs(np.arange(width)[None, :, None] - columns[None, None]),
    )
    return far.min(axis=-1), touching.min(axis=-1) <= 1


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 8), st.integers(5, 30), st.integers(5, 30))
def test_the_ring_lies_around_the_defect_and_leaves_out_what_touches_it(seed, reach, height, width):
    random = np.random.default_rng(seed)
    mask = np.zeros((height, width), np.uint8)
    for _ in range(3):
        mask[random.integers(height), random.integers(width)] = 1
    found = ring(mask, reach)
    assert found.dtype == np.uint8 and found.shape == mask.shape and set(np.unique(found)) <= {0, 1}
    far, touching = slow_ring(mask, reach)
    assert not found[touching].any()
    assert not found[far > reach + 1].any()
    assert found[(far <= reach - 1) & ~touching].all()
