# SPDX-License-Identifier: Apache-2.0
"""Step 1: shapes of few-shot defects, cut out, mirrored, scaled, turned, and filled into other outlines."""

from __future__ import annotations

import time

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seas_aug.config import DrawConfig
from seas_aug.draw.shape import SCALES, Shape, cut_shape, propose_shape, scaled, turned, with_mask
from tests.draw.made import HOLES, chance, defects, one_defect, plain

KNOWN = defects()


def inner(shape: Shape) -> np.ndarray:
    return shape.mask[shape.margin : -shape.margin, shape.margin : -shape.margin]


def check(shape: Shape) -> None:
    """The margin is as wide as it says, and everything of one size."""
    assert shape.mask.shape == shape.known.shape == shape.texture.shape[:2] and shape.texture.shape[2] == 3
    assert shape.mask.dtype == shape.texture.dtype == shape.known.dtype == np.uint8
    assert set(np.unique(shape.mask)) == {0, 1} and set(np.unique(shape.known)) <= {0, 1}
    marked = inner(shape)
    assert marked.shape == (shape.height, shape.width) and marked.sum() == shape.mask.sum()
    assert marked[[0, -1]].any(axis=1).all() and marked[:, [0, -1]].any(axis=0).all()
    assert shape.extent == max(marked.shape)


def test_a_shape_is_the_defect_as_it_is():
    for number, (top, left, tall, wide) in enumerate(HOLES):
        shape = cut_shape(KNOWN, KNOWN.defects[number])
        check(shape)
        assert (shape.height, shape.width) == (tall, wide) and inner(shape).all()
        assert (shape.texture[shape.mask > 0] == 15).all()
        assert shape.touches == (top == 0, False, False, False)
        assert (shape.anomaly_type, shape.source) == ("hole", f"hole/{number}.png")
        known = np.zeros((120 + 2 * 99, 160 + 2 * 99), np.uint8)
        known[99:-99, 99:-99] = 1  # what is beyond the image is not known
        margin = shape.margin
        expected = known[99 + top - margin :, 99 + left - margin :][: tall + 2 * margin, : wide + 2 * margin]
        assert np.array_equal(shape.known, expected)


def test_other_defects_of_the_image_are_no_part_of_it_and_not_known():
    mask = np.zeros((100, 100), np.uint8)
    mask[40:50, 30:40], mask[40:44, 47:51] = 1, 1  # near, but further than half their size
    two = one_defect(plain(100, 100), mask)
    large, small = two.defects
    shape = cut_shape(two, large)
    check(shape)
    assert inner(shape).shape == (10, 10)
    far = shape.margin + 17  # columns from the left of the mask
    assert shape.known[shape.margin : shape.margin + 4, far : far + 4].max() == 0
    assert shape.known[shape.margin, far - 2] == 1
    assert cut_shape(two, small).mask.sum() == 16


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 999), st.sampled_from(["hole", "crack"]), st.booleans(), st.booleans(), st.booleans())
def test_proposed_shapes_are_whole_and_vary_a_little(seed, name, turn, rotate, flip):
    known = defects(rotate=rotate, flip=flip)
    shape = propose_shape(known, name, DrawConfig(), chance(seed), turn)
    check(shape)
    assert shape.anomaly_type == name
    own = known.defects[known.names.index(shape.source)]
    assert sum(shape.touches) == (own.box.top == 0)
    diagonal = np.hypot(own.box.height, own.box.width)
    most = SCALES[1] * (diagonal + 3 if turn else own.box.extent) + 1
    assert SCALES[0] * min(own.box.height, own.box.width) - 2 <= shape.extent <= most
    again = propose_shape(known, name, DrawConfig(), chance(seed), turn)
    assert np.array_equal(again.mask, shape.mask) and np.array_equal(again.texture, shape.texture)


@pytest.mark.parametrize("turn", [False, True])
def test_shapes_come_from_every_defect_and_take_as_many_draws_whatever_they_are(turn):
    sources, after = set(), set()
    for seed in range(40):
        generator = chance(seed)
        sources.add(propose_shape(KNOWN, "hole", DrawConfig(), generator, turn).source)
        other = chance(seed)
        propose_shape(KNOWN, "crack", DrawConfig(size=(5, 9)), other, not turn)
        after.add(generator.get_state().equal(other.get_state()))
    assert sources == {f"hole/{number}.png" for number in range(3)}
    assert after == {True}


def test_shapes_are_mirrored_and_turned_as_in_training():
    """A hole of the top border comes to the bottom by a flip, to the sides by a rotation only."""
    top = HOLES.index((0, 80, 6, 10))
    for rotate, flip, expected in (
        (False, False, {0}),
        (False, True, {0, 2}),
        (True, False, {0, 1, 2, 3}),
    ):
        known = defects(rotate=rotate, flip=flip)
        shapes = [propose_shape(known, "hole", DrawConfig(), chance(seed), False) for seed in range(60)]
        mine = [shape for shape in shapes if shape.source == f"hole/{top}.png"]
        assert {shape.touches.index(True) for shape in mine} == expected
        for shape in mine:  # what is not known is what lay beyond the border
            upright = np.rot90(shape.known, shape.touches.index(True))  # that border is on top now, or below
            first, last = upright[: shape.margin - 1].sum(), upright[1 - shape.margin :].sum()
            assert min(first, last) == 0 < max(first, last)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(["hole", "crack"]), st.floats(4, 200), st.floats(1, 2), st.integers(0, 99), st.booleans())
def test_a_size_that_is_asked_for_is_kept(name, low, times, seed, turn):
    shape = propose_shape(KNOWN, name, DrawConfig(size=(low, low * times)), chance(seed), turn)
    check(shape)
    assert round(low) - 1 <= shape.extent <= round(low * times) + 1


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 4), st.floats(0.1, 30), st.floats(0.1, 30))
def test_scaled_shapes_have_their_size_to_the_pixel(number, down, right):
    shape = cut_shape(KNOWN, KNOWN.defects[number])
    stretched = scaled(shape, down, right)
    check(stretched)
    height, width = max(1, round(shape.height * down)), max(1, round(shape.width * right))
    assert (stretched.height, stretched.width) == ((3, 3) if max(height, width) < 3 else (height, width))
    assert stretched.touches == shape.touches
    level = 15
    inside = stretched.texture[cv2.erode(stretched.mask, np.ones((5, 5), np.uint8)) > 0].astype(int)
    if number < len(HOLES) and inside.size:
        assert abs(np.median(inside) - level) < 20


def test_scaling_a_lot_costs_no_more_than_the_defect():
    """The surroundings that a place is chosen by stay a few pixels wide."""
    shape = cut_shape(KNOWN, KNOWN.defects[0])
    begin = time.process_time()
    large = scaled(shape, 100, 100)
    assert large.height == 900 and large.margin <= 60
    assert max(large.mask.shape) <= 1020
    assert time.process_time() - begin < 2


@settings(max_examples=30, deadline=None)
@given(st.sampled_from([0, 1, 3, 4]), st.floats(0, 360))
def test_turned_shapes_turn_their_texture_with_them(number, degrees):
    shape = cut_shape(KNOWN, KNOWN.defects[number])
    moved = turned(shape, degrees)
    check(moved)
    assert 0.75 * shape.mask.sum() <= moved.mask.sum() <= 1.6 * shape.mask.sum()
    dark = moved.texture[..., 0] < 100
    margin = moved.margin - 3
    shown = (slice(margin, -margin), slice(margin, -margin))
    assert (dark[shown] & (moved.mask[shown] > 0)).sum() >= 0.6 * moved.mask.sum()
    assert (dark[shown] & (cv2.dilate(moved.mask, np.ones((3, 3), np.uint8))[shown] == 0)).sum() == 0


def test_a_quarter_turn_is_exact():
    shape = cut_shape(KNOWN, KNOWN.defects[1])
    assert (inner(turned(shape, 90)) == np.rot90(inner(shape))).all()
    line = cut_shape(KNOWN, KNOWN.defects[len(HOLES)])
    for degrees in range(0, 360, 15):
        assert cv2.connectedComponents(turned(line, degrees).mask)[0] == 2  # it does not break


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 4), st.integers(1, 90), st.integers(1, 90), st.integers(0, 99))
def test_another_outline_is_filled_with_the_defect(number, height, width, seed):
    random = np.random.default_rng(seed)
    outline = (random.random((height, width)) > 0.5).astype(np.uint8)
    outline[[0, -1]] = 1
    outline[:, [0, -1]] = 1
    shape = cut_shape(KNOWN, KNOWN.defects[number])
    filled = with_mask(shape, outline)
    check(filled)
    assert np.array_equal(inner(filled), outline)
    assert not any(filled.touches) and not filled.known.any()
    level = 15 if number < len(HOLES) else 60
    values = filled.texture[filled.mask > 0]
    assert abs(np.median(values) - level) < 60 and values.max() < 150  # never what lies around the defect


def test_defects_as_large_as_their_image():
    known = one_defect(plain(64, 90), np.ones((64, 90), np.uint8))
    shape = cut_shape(known, known.defects[0])
    check(shape)
    assert shape.touches == (True,) * 4 and (shape.height, shape.width) == (64, 90)
    proposed = propose_shape(known, "hole", DrawConfig(), chance(), True)
    assert (proposed.height, proposed.width) == (64, 90)  # what fills its image is as large as the image
    small = propose_shape(known, "hole", DrawConfig(size=(20, 20)), chance(), True)
    assert small.extent == 20 and not any(small.touches)  # but for a size that is asked for
