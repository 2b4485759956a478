# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from seas_aug.evaluate.prompt_copper import COPPER_ADDED, copper, prompt_copper, touches_edge


def boards(count=6, size=32):
    """Black copper left of the middle; masks over its edge, inside it and beside it."""
    images = np.full((count, size, size, 3), 255, np.uint8)
    images[:, :, : size // 2] = 0
    masks = np.zeros((count, size, size), np.uint8)
    masks[:, 8:16, size // 2 - 4 : size // 2 + 4] = 1
    masks[-2] = np.roll(masks[-2], -8, 1)  # copper only
    masks[-1] = np.roll(masks[-1], 8, 1)  # none
    return images, masks


def test_only_masks_with_both_inside_are_counted():
    images, masks = boards()
    assert touches_edge(images, masks, bright=False).tolist() == [True] * 4 + [False] * 2
    assert copper(images, bright=False)[0, 0].sum() == 16


@pytest.mark.parametrize("bright", [False, True])
def test_copper_is_added_or_taken_as_the_type_says(bright):
    images, masks = boards()
    metal, bare = (255, 0) if bright else (0, 255)
    for name, added in COPPER_ADDED.items():
        for level, right in ((metal, added), (bare, not added)):
            drawn = np.where(masks[..., None] > 0, np.uint8(level), images)
            found = prompt_copper(drawn, images, masks, [name] * 6, list("abcdef"), bright)
            assert found.value == right
            assert found.n == 4


def test_what_changes_nothing_fails_and_so_does_one_pixel():
    images, masks = boards()
    assert prompt_copper(images, images, masks, ["short"] * 6, list("abcdef")).value == 0
    drawn = images.copy()
    drawn[:, 10, 18] = 0
    assert prompt_copper(drawn, images, masks, ["short"] * 6, list("abcdef")).value == 0
    assert prompt_copper(images[4:], images[4:], masks[4:], ["short"] * 2, list("ef")).reason
