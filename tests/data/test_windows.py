# SPDX-License-Identifier: Apache-2.0
"""Windows: always inside, at the scale of the defect, and what is seen of an image in them."""

from __future__ import annotations

import itertools
import time

import cv2
import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seas_aug.data.windows import (
    Box,
    Window,
    choose_sides,
    defect_boxes,
    fitting_side,
    scale_pixels,
    view,
    view_mask,
    window,
    window_around,
)

LENGTH = st.integers(64, 4000)
SHARE = 0.4


def chance(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@given(st.integers(-5000, 5000), st.integers(-5000, 5000), st.integers(-3, 5000), LENGTH, LENGTH)
def test_a_window_is_a_square_inside_its_image_and_nearest_to_where_it_is_wanted(top, left, side, height, width):
    place = window(top, left, side, (height, width, 3))
    assert place.height == place.width == place.side == max(1, min(side, height, width))
    for wanted, start, length in ((top, place.top, height), (left, place.left, width)):
        assert 0 <= start <= length - place.side
        assert start == wanted or start == (0 if wanted < 0 else length - place.side)


@settings(deadline=None)
@given(st.data(), LENGTH, LENGTH)
def test_a_window_around_a_defect_shows_all_of_it_or_is_full_of_it(data, height, width):
    tall, wide = data.draw(st.integers(1, height)), data.draw(st.integers(1, width))
    box = Box(data.draw(st.integers(0, height - tall)), data.draw(st.integers(0, width - wide)), tall, wide)
    side, seed = data.draw(st.integers(8, 4000)), data.draw(st.integers(0, 99))
    place = window_around(box, side, (height, width), chance(seed))
    assert place.side == min(side, height, width)
    for first, length, start in ((box.top, tall, place.top), (box.left, wide, place.left)):
        shown = min(first + length, start + place.side) - max(first, start)
        assert shown == min(length, place.side)
    assert place == window_around(box, side, (height, width), chance(seed))


def test_windows_around_a_defect_differ_and_draw_twice_whatever_they_are():
    box = Box(50, 60, 10, 12)
    places = {window_around(box, 40, (200, 300), chance(seed)) for seed in range(50)}
    assert len(places) > 40
    assert {place.top for place in places} <= set(range(20, 51))
    tracked = chance(0)
    window_around(box, 40, (40, 40), tracked)
    expected = chance(0)
    torch.rand(2, generator=expected)
    assert torch.equal(torch.rand(3, generator=tracked), torch.rand(3, generator=expected))


@given(st.lists(st.integers(1, 4000), min_size=1, max_size=6), st.data(), st.sampled_from([32, 128, 512]))
def test_chosen_sizes_are_enough_and_no_more(extents, data, size):
    shapes = data.draw(st.lists(st.tuples(LENGTH, LENGTH), min_size=1, max_size=4))
    largest = max(min(shape) for shape in shapes)
    sides = choose_sides(extents, shapes, size)
    assert sides[0] == min(size, largest)
    assert list(sides) == sorted(set(sides))
    assert sides[-1] <= largest
    assert sides[-1] == largest or max(extents) <= SHARE * sides[-1]
    for number, (small, large) in enumerate(itertools.pairwise(sides), start=2):
        assert large / small <= 2**0.5 * 1.05
        assert number == len(sides) or large / small >= 2**0.5 * 0.95
    if len(sides) > 1:  # the last one is needed
        assert max(extents) > SHARE * sides[-2] - 0.5


@given(st.integers(1, 4000), st.lists(st.integers(8, 4000), min_size=1, max_size=6), LENGTH, LENGTH)
def test_the_fitting_size_is_the_smallest_that_fits(extent, sides, height, width):
    sides = sorted(set(sides))
    side = fitting_side(extent, sides, (height, width))
    enough = [one for one in sides if extent <= SHARE * one]
    assert side == min(height, width, enough[0] if enough else sides[-1])


def test_parts_of_a_defect_are_one_and_other_defects_are_not():
    mask = np.zeros((200, 300), np.uint8)
    mask[20:24, 20:60] = 1  # a dashed line ...
    mask[20:24, 70:110] = 1
    mask[20:24, 120:140] = 1
    mask[150:160, 200:215] = 1  # ... a hole ...
    mask[199, 299] = 1  # ... and a speck in the corner
    assert defect_boxes(mask) == [Box(20, 20, 4, 120), Box(150, 200, 10, 15), Box(199, 299, 1, 1)]
    assert defect_boxes(np.zeros((5, 5), np.uint8)) == []
    assert defect_boxes(np.ones((5, 7), np.uint8)) == [Box(0, 0, 5, 7)]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 6))
def test_boxes_cover_every_marked_pixel_once_and_lie_apart(seed, count):
    random, mask = np.random.default_rng(seed), np.zeros((90, 120), np.uint8)
    for _ in range(count):
        top, left, tall, wide = (int(value) for value in random.integers((0, 0, 1, 1), (80, 110, 30, 30)))
        mask[top : top + tall, left : left + wide] = 1
    boxes = defect_boxes(mask)
    covered = np.zeros_like(mask)
    for box in boxes:
        inside = box.cut(mask)
        assert inside.any(0)[[0, -1]].all() and inside.any(1)[[0, -1]].all()  # no larger than needed
        box.cut(covered)[:] += 1
    assert covered.max() == 1 and (covered >= mask).all()
    assert [box.height * box.width for box in boxes] == sorted((b.height * b.width for b in boxes), reverse=True)


@settings(max_examples=30, deadline=None)
@given(
    st.tuples(st.integers(1, 70), st.integers(1, 70)),
    st.tuples(st.integers(1, 70), st.integers(1, 70)),
    st.sampled_from([(), (1,), (3,)]),
    st.sampled_from([np.uint8, np.float32]),
)
def test_scaling_keeps_kind_and_colour(before, after, channels, kind):
    pixels = np.full((*before, *channels), 77, kind)
    scaled = scale_pixels(pixels, after[1], after[0])
    assert scaled.shape == (*after, *channels) and scaled.dtype == kind
    assert np.allclose(scaled, 77, atol=1e-3)
    assert (scaled is pixels) == (before == after)


@settings(max_examples=15, deadline=None)
@given(st.data(), st.sampled_from([64, 300, 1200, 4000]), st.sampled_from([64, 90, 2000]))
def test_views_show_the_window(data, height, width):
    """A gradient seen in a window runs from the window's first row to its last; a line of a pixel is not lost."""
    side = data.draw(st.integers(8, min(height, width)))
    place = window(data.draw(st.integers(0, height)), data.draw(st.integers(0, width)), side, (height, width))
    rows = np.linspace(0, 255, height)[:, None, None]
    image = np.broadcast_to(rows, (height, width, 3)).astype(np.uint8)
    seen = view(image, place, 32)
    assert seen.shape == (32, 32, 3) and seen.dtype == np.uint8 and seen.flags.c_contiguous
    inside = image[place.top : place.top + side, 0, 0].astype(float)
    reach = 255 / height * side / 32 + 3
    assert abs(seen[0].mean() - inside[0]) <= reach and abs(seen[-1].mean() - inside[-1]) <= reach
    mask = np.zeros((height, width), np.uint8)
    column = data.draw(st.integers(place.left, place.left + side - 1))
    mask[:, column] = 1
    marked = view_mask(mask, place, 32)
    assert marked.shape == (32, 32) and set(np.unique(marked)) <= {0, 1}
    assert marked.any(axis=1).all()
    assert abs(int(np.nonzero(marked[0])[0].mean()) - (column - place.left) * 32 / side) <= 2 + 32 / side


def test_a_window_of_the_models_size_is_seen_as_it_is():
    image = np.random.default_rng(0).integers(0, 256, (100, 90, 3), dtype=np.uint8)
    place = Window(7, 9, 32, 32)
    assert np.array_equal(view(image, place, 32), image[7:39, 9:41])
    mask = (image[..., 0] > 200).astype(np.uint8)
    assert np.array_equal(view_mask(mask, place, 32), mask[7:39, 9:41])


def slow_boxes(mask: np.ndarray) -> list[Box]:
    """Join any two that lie close, one pair at a time, the largest first."""
    count, _, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    joined: list[Box] = []

    def order(box: Box) -> tuple[int, int, int]:
        return -box.height * box.width, box.top, box.left

    for box in sorted((Box(int(y), int(x), int(h), int(w)) for x, y, w, h, _ in stats[1:count]), key=order):
        grown, search = box, True
        while search:
            search = False
            for other in joined:
                down = max(grown.top - other.top - other.height, other.top - grown.top - grown.height, 0)
                right = max(grown.left - other.left - other.width, other.left - grown.left - grown.width, 0)
                if max(down, right) <= 0.5 * max(grown.extent, other.extent):
                    top, left = min(grown.top, other.top), min(grown.left, other.left)
                    bottom = max(grown.top + grown.height, other.top + other.height)
                    end = max(grown.left + grown.width, other.left + other.width)
                    joined.remove(other)
                    grown, search = Box(top, left, bottom - top, end - left), True
                    break
        joined.append(grown)
    return sorted(joined, key=order)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.001, 0.03), st.integers(1, 4))
def test_boxes_are_those_of_a_slow_reference(seed, share, size):
    mask = (np.random.default_rng(seed).random((70, 90)) < share / size).astype(np.uint8)
    mask = cv2.dilate(mask, np.ones((size, size), np.uint8))
    assert defect_boxes(mask) == slow_boxes(mask)


def test_a_mask_of_thousands_of_specks_takes_no_time():
    mask = (np.random.default_rng(0).random((1000, 1000)) > 0.995).astype(np.uint8)
    begin = time.process_time()
    assert len(defect_boxes(mask)) > 1000
    assert time.process_time() - begin < 5
