# SPDX-License-Identifier: Apache-2.0
"""Step 4: windows go back into images of any kind, and nothing else changes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seas_aug.data.decode import as_rgb
from seas_aug.data.windows import view, window
from seas_aug.draw.paste_back import carried_over, fade, in_own_format, paste_back, rim
from tests.draw.helpers import grown, same_pixels


def square(size: int, top: int, left: int, side: int = 4) -> np.ndarray:
    mask = np.zeros((size, size), np.uint8)
    mask[top : top + side, left : left + side] = 1
    return mask


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 999), st.sampled_from([32, 96, 256, 700]))
def test_drawn_inside_reference_outside_and_between_them_elsewhere(seed, size):
    random = np.random.default_rng(seed)
    image = random.integers(0, 256, (size + 20, size + 31, 3), dtype=np.uint8)
    drawn = random.integers(0, 256, (size, size, 3)).astype(np.float32)
    top, left = random.integers(0, size - 3, 2)
    mask, place = square(size, top, left), window(11, 13, size, image.shape)
    kept = image.copy()
    paste_back(kept, place, drawn, rim(mask))
    outside = np.ones(image.shape[:2], bool)
    place.cut(outside)[:] = False
    assert same_pixels(kept[outside], image[outside])
    inner, before = place.cut(kept), place.cut(image)
    assert np.array_equal(inner[mask > 0], drawn[mask > 0])
    far = ~grown(mask, max(1, size // 128))
    assert same_pixels(inner[far], before[far])
    assert (inner >= np.minimum(before, drawn)).all() and (inner <= np.maximum(before, drawn)).all()
    paste_back(kept, place, drawn, None)
    assert np.array_equal(place.cut(kept), drawn)


def test_the_rim_fades_and_is_narrow():
    share = rim(square(512, 240, 240, 32))[256, 271:280]
    assert share.tolist()[:1] == [1] and share.tolist()[5:] == [0] * 4  # a rim of 512 / 128 pixels
    assert (np.diff(share[:6]) < 0).all() and -np.diff(share[1:]).min() < 0.2


def test_most_of_a_cracks_change_lies_in_its_mask():
    mask = np.zeros((128, 128), np.uint8)
    mask[62:65] = 1  # as thin as a crack is
    share = rim(mask)
    assert share[mask > 0].sum() / share.sum() > 0.75


def test_a_defect_at_the_border_of_a_window_is_not_faded_there():
    mask = square(64, 0, 0, 20)
    assert (rim(mask)[:20, :20] == 1).all()
    assert not rim(np.zeros((64, 64), np.uint8)).any()
    assert (rim(np.ones((64, 64), np.uint8)) == 1).all()


def test_in_a_window_of_the_models_size_the_result_is_what_was_drawn():
    random = np.random.default_rng(0)
    start, drawn = random.integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    assert np.array_equal(carried_over(start, start, drawn), drawn)


@settings(max_examples=20, deadline=None)
@given(st.integers(8, 300), st.integers(0, 999))
def test_what_the_model_did_not_change_keeps_its_finest_detail(side, seed):
    random = np.random.default_rng(seed)
    start = random.integers(100, 150, (side, side, 3), dtype=np.uint8)
    place = window(0, 0, side, start.shape)
    seen = view(start, place, 32)
    assert np.array_equal(carried_over(start, seen, seen), start)
    lighter = carried_over(start, seen, seen + np.uint8(20))
    assert lighter.dtype == np.float32
    assert np.allclose(lighter - start, 20, atol=1e-2)  # as much everywhere, whatever the grain


KINDS = {
    "grey": (np.uint8, ()),
    "one channel": (np.uint8, (1,)),
    "colour": (np.uint8, (3,)),
    "alpha": (np.uint8, (4,)),
    "grey 16": (np.uint16, ()),
    "colour 16": (np.uint16, (3,)),
    "alpha 16": (np.uint16, (4,)),
}


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(sorted(KINDS)), st.tuples(st.integers(1, 90), st.integers(1, 90)), st.integers(0, 999))
def test_images_keep_their_kind_and_where_nothing_was_drawn_their_bits(kind, size, seed):
    dtype, channels = KINDS[kind]
    random = np.random.default_rng(seed)
    native = random.integers(0, np.iinfo(dtype).max, (*size, *channels), dtype=dtype, endpoint=True)
    before = as_rgb(native)
    drawn = random.random(size) > 0.5
    after = np.where(drawn[..., None], random.integers(0, 256, (*size, 3)), before).astype(np.uint8)
    if kind.startswith(("grey", "one")):
        after = np.where(drawn[..., None], after[..., :1], before).astype(np.uint8)
    result = in_own_format(native, before, after)
    assert result.dtype == native.dtype and result.shape == native.shape
    assert same_pixels(result[~drawn], native[~drawn])
    if kind.startswith("alpha"):
        assert same_pixels(result[..., 3], native[..., 3])
    assert np.array_equal(as_rgb(result), after) or np.abs(as_rgb(result).astype(int) - after).max() <= 1
    assert same_pixels(in_own_format(native, before, before), native)


@pytest.mark.parametrize("size", [(4000, 70), (64, 3000)])
def test_large_images_of_16_bits(size):
    native = np.random.default_rng(0).integers(0, 65536, size, dtype=np.uint16)
    before = as_rgb(native)
    after = before.copy()
    after[10:20, 10:20] = 255 - after[10:20, 10:20]
    result = in_own_format(native, before, after)
    changed = result != native
    assert changed[10:20, 10:20].all() and changed.sum() == 100


def test_a_normal_window_fades_where_the_image_goes_on_and_nowhere_else():
    inside = fade(window(10, 20, 32, (100, 100)), 100, 100)
    assert inside.max() == 1 and inside[0].max() < 0.3 and inside[:, -1].max() < 0.3
    assert (np.diff(inside[:4, 16]) > 0).all()
    corner = fade(window(0, 0, 32, (100, 100)), 100, 100)
    assert corner[0, 0] == 1 and corner[-1, 0] < 0.3 and corner[0, -1] < 0.3
    assert (fade(window(0, 0, 64, (64, 64)), 64, 64) == 1).all()
