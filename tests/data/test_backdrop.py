# SPDX-License-Identifier: Apache-2.0
"""Parts on a plain backdrop are told from surfaces that fill their image."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seas_aug.data.backdrop import find_backdrop, is_surrounded, share_on


def part(height: int = 200, width: int = 300, ground: int = 180, grain: float = 1.5, seed: int = 0) -> np.ndarray:
    """A grained part on a ground that is lit from one side."""
    random = np.random.default_rng(seed)
    image = np.full((height, width, 3), float(ground)) + np.linspace(-15, 15, width)[None, :, None]
    rows, columns = slice(height // 4, 3 * height // 4), slice(width // 4, 3 * width // 4)
    image[rows, columns] = 90 + 25 * random.standard_normal((height // 4 * 2, width // 4 * 2, 1))
    return np.clip(image + grain * random.standard_normal(image.shape), 0, 255).astype(np.uint8)


def box(shape: tuple[int, ...], rows: slice, columns: slice) -> np.ndarray:
    mask = np.zeros(shape[:2], np.uint8)
    mask[rows, columns] = 1
    return mask


@pytest.mark.parametrize("size", [(200, 300), (800, 1200)])
def test_the_ground_around_a_part_is_found(size: tuple[int, int]) -> None:
    image = part(*size)
    found = find_backdrop(image)
    assert found is not None and max(found.shape) == min(320, size[1])
    height, width = size
    middle = box(image.shape, slice(height // 3, 2 * height // 3), slice(width // 3, 2 * width // 3))
    corner = box(image.shape, slice(0, height // 6), slice(0, width // 6))
    assert share_on(found, middle) < 0.02
    assert share_on(found, corner) > 0.98
    half = box(
        image.shape, slice(height // 3, 2 * height // 3), slice(width // 4 - width // 12, width // 4 + width // 12)
    )
    assert share_on(found, half) == pytest.approx(0.5, abs=0.1)


def test_a_surface_that_fills_its_image_has_none() -> None:
    random = np.random.default_rng(1)
    assert find_backdrop(np.full((128, 128, 3), 120, np.uint8)) is None
    assert find_backdrop(random.integers(0, 256, (128, 128, 3), dtype=np.uint8)) is None
    grain = np.clip(120 + 12 * random.standard_normal((200, 260, 1)), 0, 255).astype(np.uint8).repeat(3, axis=2)
    assert find_backdrop(grain) is None
    road = cv2.GaussianBlur(random.integers(0, 256, (200, 200, 3), dtype=np.uint8), (0, 0), 1.2)
    assert find_backdrop(road) is None


def test_a_part_of_another_colour_does_not_leak_through_a_soft_corner() -> None:
    image = part(grain=0)
    ramp = np.linspace(180, 90, 75).astype(np.uint8)
    image[100:104, :75] = ramp[None, :, None]
    image[50:150, 75:225] = 90
    found = find_backdrop(image)
    assert found is not None
    assert share_on(found, box(image.shape, slice(70, 130), slice(100, 200))) < 0.02


def test_defects_surrounded_by_it_say_that_it_is_none() -> None:
    found = find_backdrop(part())
    assert found is not None
    assert is_surrounded(found, box((200, 300), slice(15, 25), slice(20, 40)))
    assert not is_surrounded(found, box((200, 300), slice(90, 100), slice(100, 120)))
    assert not is_surrounded(found, box((200, 300), slice(90, 100), slice(65, 85)))


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(0, 2**31), st.sampled_from([0, 2, 60]))
def test_any_image_gives_none_or_a_map_of_noughts_and_ones(height: int, width: int, seed: int, spread: int) -> None:
    random = np.random.default_rng(seed)
    image = (100 + spread * random.random((height, width, 3))).astype(np.uint8)
    found = find_backdrop(image)
    if found is not None:
        assert found.dtype == np.uint8 and found.shape == (height, width)
        assert set(np.unique(found)) <= {0, 1}
        assert 0.0 <= share_on(found, np.ones((height, width), np.uint8)) <= 1.0 + 1e-6
