# SPDX-License-Identifier: Apache-2.0
"""Step 2: where a shape goes, by what surrounds it there, within what is allowed."""

from __future__ import annotations

import dataclasses
import time

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seas_aug.data.surroundings import misfit, ring
from seas_aug.draw.place import FITS, Place, Surface, find_place, fitted_to
from seas_aug.draw.shape import cut_shape, scaled
from tests.draw.made import defects, one_defect, plain

KNOWN = defects()
HOLE, CRACK = cut_shape(KNOWN, KNOWN.defects[0]), cut_shape(KNOWN, KNOWN.defects[-1])


def bar(column: int, height: int = 200, width: int = 240, seed: int = 0) -> np.ndarray:
    """A dark upright bar with lighter ends on a light ground, with a little grain."""
    image = plain(height, width, seed, 200)
    image[20 : height - 20, column : column + 24] -= 130
    image[20:40, column : column + 24] += 70
    return image


def bar_hole() -> np.ndarray:
    mask = np.zeros((200, 240), np.uint8)
    mask[90:98, 108:116] = 1
    return mask


ON_A_BAR = cut_shape(one_defect(bar(100), bar_hole()), one_defect(bar(100), bar_hole()).defects[0])


def slow_misfit(shape, image, place):
    """Pixel by pixel over what is known of the surroundings; the image is mirrored where it ends."""
    margin = shape.margin
    wide = cv2.copyMakeBorder(image, margin, margin, margin, margin, cv2.BORDER_REFLECT_101).astype(np.float32) / 255
    around = ring(shape.mask, max(2, margin - 2)) * shape.known > 0
    there = wide[place.top :, place.left :][: shape.mask.shape[0], : shape.mask.shape[1]]
    return float(misfit(shape.texture[around].astype(np.float32) / 255, there[around][None])[0])


@pytest.mark.parametrize("seed", range(3))
def test_in_a_small_image_the_place_is_the_best_one_of_all(seed):
    """Against every place of the image, one by one: what is chosen fits, or is about as good as the best."""
    random = np.random.default_rng(seed)
    image = cv2.blur(random.integers(0, 256, (60, 70, 3), dtype=np.uint8), (5, 5))
    place = find_place(HOLE, Surface(image), (0.5, 0.5))
    assert place.misfit == pytest.approx(slow_misfit(HOLE, image, place), abs=2e-3)
    every = [
        slow_misfit(HOLE, image, Place(0, top, left))
        for top in range(60 - HOLE.height + 1)
        for left in range(70 - HOLE.width + 1)
    ]
    assert place.misfit <= max(FITS, 1.2 * min(every)) + 2e-3


@pytest.mark.parametrize("column", [20, 60, 170])
@pytest.mark.parametrize("anchor", [(0.0, 0.0), (0.5, 0.9), (1.0, 0.2)])
def test_a_defect_of_a_part_follows_the_part(column, anchor):
    place = find_place(ON_A_BAR, Surface(bar(column, seed=1)), anchor)
    assert place.misfit < FITS
    assert abs(place.left - (column + 8)) <= 3
    assert 40 <= place.top <= 172
    darker = np.clip(bar(column, seed=1).astype(int) - 15, 0, 255).astype(np.uint8)
    assert abs(find_place(ON_A_BAR, Surface(darker), anchor).left - (column + 8)) <= 3


def test_where_there_is_no_such_part_nothing_fits():
    assert find_place(ON_A_BAR, Surface(plain(200, 240, level=200)), (0.5, 0.5)).misfit > FITS


def test_on_a_plain_surface_it_goes_where_it_is_wanted():
    surface = Surface(plain(200, 300, 5))
    places = {}
    for anchor in [(0.0, 0.0), (1.0, 1.0), (0.5, 0.25), (0.1, 0.9)]:
        place = places[anchor] = find_place(HOLE, surface, anchor)
        assert place.misfit <= FITS
    assert len(set(places.values())) == 4
    assert places[0.0, 0.0].top < 100 < places[1.0, 1.0].top
    assert places[0.0, 0.0].left < 150 < places[1.0, 1.0].left
    assert places[0.1, 0.9].left > 150 > places[0.5, 0.25].left


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from([(64, 64), (64, 900), (500, 70), (1200, 1600), (4000, 3000)]),
    st.sets(st.integers(0, 3), max_size=2),
    st.tuples(st.floats(0, 1), st.floats(0, 1)),
    st.floats(0.5, 3),
)
def test_places_lie_inside_images_of_any_size_and_borders_are_kept(size, borders, anchor, factor):
    touches = tuple(side in borders for side in range(4))
    shape = dataclasses.replace(scaled(CRACK, factor, factor), touches=touches)
    shape = fitted_to(shape, *size)
    assert shape.height <= size[0] and shape.width <= size[1]
    place = find_place(shape, Surface(plain(*size)), anchor)
    assert place.top >= 0 and place.left >= 0
    below, right = size[0] - place.top - shape.height, size[1] - place.left - shape.width
    assert below >= 0 and right >= 0
    for side, distance in enumerate((place.top, place.left, below, right)):
        assert not touches[side] or distance == 0


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from([(120, 160), (700, 300), (2000, 2500)]),
    st.integers(0, 999),
    st.tuples(st.floats(0, 1), st.floats(0, 1)),
    st.floats(0.4, 4),
)
def test_all_of_a_defect_lies_where_it_is_allowed(size, seed, anchor, factor):
    """A region that the shape fits into somewhere, at least at one place, is found."""
    random, shape = np.random.default_rng(seed), fitted_to(scaled(HOLE, factor, factor), *size)
    allowed = np.zeros(size, np.uint8)
    top = int(random.integers(0, size[0] - shape.height + 1))
    left = int(random.integers(0, size[1] - shape.width + 1))
    spare = int(random.integers(0, 60))
    allowed[top : top + shape.height + spare, left : left + shape.width + spare] = 1
    place = find_place(shape, Surface(plain(*size), allowed), anchor)
    assert place is not None
    marked = shape.mask[shape.margin : -shape.margin, shape.margin : -shape.margin]
    under = allowed[place.top : place.top + shape.height, place.left : place.left + shape.width]
    assert not (marked > under).any()


def test_where_nothing_is_allowed_there_is_no_place():
    surface = Surface(plain(100, 100), np.zeros((100, 100), np.uint8))
    assert find_place(HOLE, surface, (0.5, 0.5)) is None
    surface.allowed[:, 40:43] = 1
    assert find_place(HOLE, surface, (0.5, 0.5)) is None  # too narrow
    assert find_place(dataclasses.replace(HOLE, touches=(True, False, False, False)), surface, (0.5, 0.5)) is None


@pytest.mark.parametrize("factor", [1, 10, 40])
def test_in_half_of_a_large_image_there_is_room_wherever_it_is_wanted(factor):
    allowed = np.zeros((3000, 4000), np.uint8)
    allowed[:, 2000:] = 1
    surface, shape = Surface(plain(3000, 4000), allowed), scaled(HOLE, factor, factor)
    begin = time.process_time()
    place = find_place(shape, surface, (0.5, 0.0))
    assert place is not None and place.left >= 2000
    assert time.process_time() - begin < 5


def test_shapes_become_no_larger_than_the_image():
    large = scaled(HOLE, 30, 30)
    assert (large.height, large.width) == (270, 270)
    fitted = fitted_to(large, 100, 400)
    assert (fitted.height, fitted.width) == (100, 270)
    assert fitted_to(HOLE, 100, 100) is HOLE
    across = dataclasses.replace(HOLE, touches=(False, True, False, True))
    assert (fitted_to(across, 100, 77).height, fitted_to(across, 100, 77).width) == (HOLE.height, 77)


def test_a_defect_as_large_as_its_image_fills_any_other():
    known = one_defect(plain(64, 90), np.ones((64, 90), np.uint8))
    shape = fitted_to(cut_shape(known, known.defects[0]), 300, 100)
    assert (shape.height, shape.width) == (300, 100)
    assert find_place(shape, Surface(plain(300, 100)), (0.7, 0.7))[1:] == (0, 0)


def edge_part(seed: int = 0) -> np.ndarray:
    """A grained dark part that ends in the middle of a plain ground."""
    image = plain(200, 240, seed, 190)
    grain = np.random.default_rng(seed + 50).normal(0, 12, (120, 100, 1))
    image[40:160, 70:170] = np.clip(100 + grain, 0, 255).astype(np.uint8)
    return image


def on_edge_part(rows: slice, columns: slice, level: int = 30):
    """One defect of a grey level on such a part, or beside it."""
    image, mask = edge_part(), np.zeros((200, 240), np.uint8)
    mask[rows, columns] = 1
    image[mask > 0] = level
    return one_defect(image, mask)


def test_a_defect_of_a_part_stays_on_the_part_where_surroundings_do_not_tell():
    few_shot = on_edge_part(slice(41, 49), slice(110, 122), 190)
    shape = cut_shape(few_shot, few_shot.defects[0])
    assert shape.on_backdrop < 0.2
    unknown = dataclasses.replace(shape, known=np.zeros_like(shape.known))
    part = np.zeros((200, 240), np.uint8)
    part[40:160, 70:170] = 1
    for on_backdrop, least, most in ((shape.on_backdrop, 0.5, 1.0), (1.0, 0.0, 0.0)):
        one = dataclasses.replace(unknown, on_backdrop=on_backdrop)
        place = find_place(one, Surface(edge_part(3)), (0.0, 0.0))
        marked = part[place.top : place.top + one.height, place.left : place.left + one.width]
        assert least <= marked.mean() <= most


def test_defects_on_the_ground_make_it_part_of_the_product():
    assert on_edge_part(slice(100, 106), slice(25, 33)).on_backdrop == {}
    assert defects().on_backdrop == {}
    assert cut_shape(KNOWN, KNOWN.defects[0]).on_backdrop == 1.0


def test_the_users_region_says_where_defects_lie_beside_a_part_too():
    few_shot = on_edge_part(slice(60, 68), slice(110, 122))
    allowed = np.zeros((200, 240), np.uint8)
    allowed[5:30, 5:230] = 1
    place = find_place(cut_shape(few_shot, few_shot.defects[0]), Surface(edge_part(3), allowed), (0.5, 0.5))
    assert place.top + 8 <= 30


@pytest.mark.parametrize("strength", [12, 60])
def test_where_the_surroundings_fit_beside_the_part_alone_it_stays_on_the_part(strength):
    """A defect of a smooth part, and a part with a grain: its surroundings look like the ground, but it is none."""
    image, mask = plain(200, 240, 0, 190), np.zeros((200, 240), np.uint8)
    image[40:160, 70:170] = 172
    mask[90:98, 110:122] = 1
    image[mask > 0] = 30
    few_shot = one_defect(image, mask)
    shape = cut_shape(few_shot, few_shot.defects[0])
    assert shape.on_backdrop == 0
    other, part = plain(200, 240, 1, 190), np.zeros((200, 240), np.uint8)
    grain = np.random.default_rng(2).normal(0, strength, (120, 100, 1))
    other[40:160, 70:170] = np.clip(100 + grain, 0, 255).astype(np.uint8)
    part[40:160, 70:170] = 1
    for anchor in ((0.0, 0.0), (0.9, 0.9), (0.5, 0.1)):
        surface = Surface(other)
        for _ in range(3):  # as the second and the third defect of an image too
            place = find_place(shape, surface, anchor)
            box = slice(place.top, place.top + shape.height), slice(place.left, place.left + shape.width)
            assert part[box].mean() > 0.6  # a sixth may leave it, and edges are soft
            free = np.ones((200, 240), np.uint8)
            free[place.top - 6 : box[0].stop + 6, place.left - 6 : box[1].stop + 6] = 0
            surface = surface.only_in(free)


def test_where_there_is_no_room_on_the_part_the_place_is_no_good_one():
    few_shot = on_edge_part(slice(60, 110), slice(80, 140))
    shape = cut_shape(few_shot, few_shot.defects[0])
    small = plain(200, 240, 4, 190)
    small[90:110, 100:125] = 100
    assert Surface(small).backdrop is not None
    place = find_place(shape, Surface(small), (0.5, 0.5))
    assert place is None or place.misfit > 0.5
