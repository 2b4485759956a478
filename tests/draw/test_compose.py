# SPDX-License-Identifier: Apache-2.0
"""From a seed to shapes, places and windows; and the copies that drawing starts from."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seas_aug.config import DrawConfig
from seas_aug.data.windows import defect_boxes
from seas_aug.draw.compose import Composer, Spot, put_copies
from seas_aug.draw.place import Surface
from tests.draw.helpers import grown, same_pixels
from tests.draw.made import defects, one_defect, plain

KNOWN = defects()
SIDES = (32, 45, 64)
SIZES = st.sampled_from([(64, 64), (90, 700), (1200, 300), (160, 160), (1600, 2000)])


def composer(types=("hole",), known=KNOWN, sides=SIDES, **asked):
    return Composer(known, tuple(types), sides, DrawConfig(**asked))


def area(spot: Spot, shape) -> np.ndarray:
    return spot.area(shape[0], shape[1])


def covered(windows, shape) -> np.ndarray:
    inside = np.zeros(shape[:2], np.uint8)
    for place in windows:
        assert place.top >= 0 and place.left >= 0
        assert place.top + place.side <= shape[0] and place.left + place.side <= shape[1]
        place.cut(inside)[:] = 1
    return inside


@settings(max_examples=12, deadline=None)
@given(SIZES, st.integers(0, 999), st.sampled_from(["hole", "crack"]))
def test_a_defect_lies_in_its_window_whatever_the_image(size, seed, name):
    surface = Surface(plain(*size))
    (spot,) = composer([name]).spots(seed, surface)
    marked = area(spot, size)
    assert marked.any() and not (marked > covered(spot.windows, size)).any()
    assert len(spot.windows) == 1 and spot.windows[0].side in (*SIDES, min(size))
    (again,) = composer([name]).spots(seed, surface)
    assert again.places == spot.places and again.windows == spot.windows
    assert np.array_equal(area(again, size), marked)


def test_seeds_put_defects_all_over_the_image():
    surface = Surface(plain(300, 400))
    middles = []
    for seed in range(24):
        (spot,) = composer(["crack"]).spots(seed, surface)
        rows, columns = np.nonzero(area(spot, (300, 400)))
        middles.append((rows.mean() / 300, columns.mean() / 400))
    assert all(np.ptp(values) > 0.5 for values in zip(*middles, strict=True))


@settings(max_examples=12, deadline=None)
@given(st.integers(1, 4), st.integers(0, 2), st.integers(0, 99))
def test_as_many_defects_as_are_asked_for_and_none_touches_another(least, more, seed):
    surface = Surface(plain(260, 300))
    asked = composer(["hole", "crack"][seed % 2 :][:1], count=(least, least + more), size=(8, 12))
    spots = asked.spots(seed, surface)
    assert least <= len(spots) <= least + more
    total = sum(area(spot, (260, 300)).astype(int) for spot in spots)
    assert total.max() == 1
    assert len(defect_boxes(total.astype(np.uint8))) == len(spots)


def test_where_there_is_no_room_for_so_many_there_are_none():
    assert composer(["crack"], count=9, size=(60, 70)).spots(0, Surface(plain(128, 128))) == []


def test_the_number_of_defects_varies_over_what_is_asked_for():
    surface = Surface(plain(260, 300))
    assert {len(composer(count=(1, 3)).spots(seed, surface)) for seed in range(16)} == {1, 2, 3}


@settings(max_examples=15, deadline=None)
@given(st.floats(4, 60), st.floats(1, 1.5), st.integers(0, 99), st.sampled_from(["hole", "crack"]))
def test_defects_have_the_size_that_is_asked_for(low, times, seed, name):
    surface = Surface(plain(200, 220))
    (spot,) = composer([name], size=(low, low * times)).spots(seed, surface)
    rows, columns = np.nonzero(area(spot, (200, 220)))
    extent = 1 + max(np.ptp(rows), np.ptp(columns))
    assert round(low) - 1 <= extent <= round(low * times) + 1


@pytest.mark.parametrize("length", [10, 50])
def test_a_size_goes_before_reaching_from_border_to_border(length):
    mask = np.zeros((80, 100), np.uint8)
    mask[40:43] = 1  # from the left border to the right one
    across = one_defect(plain(80, 100), mask)
    surface = Surface(plain(120, 150))
    (spot,) = composer(known=across).spots(0, surface)
    assert area(spot, (120, 150)).any(axis=0).all()  # as it was
    (spot,) = composer(known=across, size=(length, length)).spots(0, surface)
    assert area(spot, (120, 150)).any(axis=0).sum() == length


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 999))
def test_a_defect_of_the_border_stays_there(seed):
    mask = np.zeros((80, 100), np.uint8)
    mask[:6, 30:38] = 1
    known = one_defect(plain(80, 100), mask, flip=False)
    (spot,) = composer(known=known).spots(seed, Surface(plain(150, 170)))
    assert area(spot, (150, 170))[0].any()
    mirrored = one_defect(plain(80, 100), mask)
    (spot,) = composer(known=mirrored).spots(seed, Surface(plain(150, 170)))
    assert area(spot, (150, 170))[[0, -1]].any()


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 999), st.integers(60, 150), st.integers(60, 150))
def test_defects_lie_in_the_region(seed, tall, wide):
    allowed = np.zeros((200, 260), np.uint8)
    allowed[-tall - 20 : -20, 10 : 10 + wide] = 1
    for spot in composer(["crack"], count=2, size=(8, 20)).spots(seed, Surface(plain(200, 260), allowed)):
        assert not (area(spot, (200, 260)) > allowed).any()


def test_without_room_there_are_no_spots():
    allowed = np.zeros((200, 260), np.uint8)
    allowed[50:53, 50:53] = 1
    assert composer(["crack"]).spots(0, Surface(plain(200, 260), allowed)) == []
    assert composer(count=60).spots(0, Surface(plain(64, 64))) == []


def test_several_types_share_a_window():
    """Each with a shape of its own, side by side."""
    surface, good = Surface(plain(300, 320)), 0
    for seed in range(8):
        for spot in composer(["crack", "hole"], size=(6, 14)).spots(seed, surface):
            good += 1
            assert [shape.anomaly_type for shape in spot.shapes] == ["crack", "hole"]
            assert len(spot.places) == 2 and len(spot.windows) == 1
            marked = area(spot, (300, 320))
            assert not (marked > covered(spot.windows, (300, 320))).any()
            assert marked.sum() == sum(int(shape.mask.sum()) for shape in spot.shapes)  # none over the other
    assert good >= 4  # a hole of the border finds no room beside a crack of the middle


def test_what_is_longer_than_the_largest_window_takes_several():
    mask = np.zeros((80, 400), np.uint8)
    mask[40:43, 20:380] = 1
    known, surface = one_defect(plain(80, 400), mask), Surface(plain(100, 500))
    for seed in range(4):
        (spot,) = composer(known=known, sides=(32, 64)).spots(seed, surface)
        assert len(spot.windows) > 4 and {place.side for place in spot.windows} == {64}
        assert not (area(spot, (100, 500)) > covered(spot.windows, (100, 500))).any()


def test_a_defect_as_large_as_its_image():
    known = one_defect(plain(64, 90), np.ones((64, 90), np.uint8))
    for size in ((64, 90), (200, 130), (50, 60)):
        (spot,) = composer(known=known).spots(3, Surface(plain(*size)))
        assert area(spot, size).all() and covered(spot.windows, size).all()


def test_without_windows_the_whole_image_is_one():
    (spot,) = composer(sides=()).spots(0, Surface(plain(160, 160)))
    assert covered(spot.windows, (160, 160)).all() and len(spot.windows) == 1
    (spot,) = composer(known=None, sides=()).spots(0, Surface(plain(160, 160)))
    assert spot.shapes == () and not area(spot, (160, 160)).any()


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 999), st.sampled_from([KNOWN, None]))
def test_the_users_mask_is_taken_as_it_is(seed, known):
    random, mask = np.random.default_rng(seed), np.zeros((200, 300), np.uint8)
    cv2.line(mask, (int(random.integers(40, 80)), 10), (int(random.integers(100)), 60), 1, 2)
    mask[150:156, 200:206], mask[150:156, 20:26] = 1, random.integers(0, 2)
    surface = Surface(plain(200, 300))
    spots = composer(["crack", "hole"], known=known).spots_of_mask(seed, surface, mask)
    assert np.array_equal(sum(area(spot, (200, 300)) for spot in spots), mask)
    assert {spot.shapes[0].anomaly_type for spot in spots} == {"crack", "hole"}
    for spot in spots:
        assert not (area(spot, (200, 300)) > covered(spot.windows, (200, 300))).any()


@settings(max_examples=15, deadline=None)
@given(SIZES, st.integers(0, 99))
def test_windows_of_a_normal_image(size, seed):
    windows = [place for spot in composer([]).normal_windows(seed, Surface(plain(*size))) for place in spot.windows]
    assert 1 <= len(windows) <= 9 and len(set(windows)) == len(windows)
    inside = covered(windows, size)
    assert {place.side for place in windows} == {min(64, *size)}
    if max(size) <= 160:
        assert inside.all()


@settings(max_examples=15, deadline=None)
@given(SIZES, st.integers(0, 999), st.sampled_from([("hole",), ("crack",), ("crack", "hole")]))
def test_copies_show_the_defects_and_change_nothing_else(size, seed, types):
    image = plain(*size, seed)
    for spot in composer(types).spots(seed, Surface(image)):
        copied = put_copies(image, spot, 1.0)
        marked = area(spot, size)
        assert same_pixels(copied[~grown(marked, 4)], image[~grown(marked, 4)])
        assert (copied[marked > 0] < 110).mean() > 0.6
        assert same_pixels(put_copies(image, spot, 0.0), image)


def test_severity_is_how_much_they_stand_out():
    image = plain(160, 160)
    (spot,) = composer(["crack"]).spots(1, Surface(image))
    inside = area(spot, (160, 160)) > 0
    change = [
        (image.astype(int) - put_copies(image, spot, severity))[inside].mean() for severity in (0.3, 0.6, 1.0, 1.5)
    ]
    assert change[0] == pytest.approx(0.3 * change[2], rel=0.05) and change[1] == pytest.approx(
        0.6 * change[2], rel=0.05
    )
    assert change[3] > 1.2 * change[2]


def test_a_defect_is_copied_where_it_fits():
    """A hole of an upright bar, on bars elsewhere: always on the bar, though most places lie beside it."""

    def bar(column):
        image = plain(128, 128, column, 200)
        image[12:116, column : column + 16] -= 110
        return image

    mask = np.zeros((128, 128), np.uint8)
    mask[40:48, 28:36] = 1
    known = one_defect(np.where(mask[..., None] > 0, np.uint8(10), bar(24)), mask)
    for seed in range(9):
        column = (28, 52, 88)[seed % 3]
        (spot,) = composer(known=known).spots(seed, Surface(bar(column)))
        columns = np.nonzero(area(spot, (128, 128)).any(axis=0))[0]
        assert column - 2 <= columns.min() and columns.max() < column + 18
