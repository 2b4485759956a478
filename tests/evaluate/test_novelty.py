# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from seas_aug.evaluate.novelty import nearest_distances, novelty, texture_patches
from seas_aug.evaluate.window_set import WindowSet
from tests.evaluate.drawing_windows import SIZE, boxes


def coarse(count, seed, types=("crack", "hole")):
    """Windows of textures coarse enough to survive scaling."""
    import cv2

    rng = np.random.default_rng(seed)
    images = np.stack(
        [cv2.GaussianBlur(rng.normal(0, 1, (SIZE, SIZE)).astype(np.float32), (0, 0), 2) for _ in range(count)]
    )
    grey = (127 + 200 * images).clip(0, 255).astype(np.uint8)
    names = [types[row % len(types)] for row in range(count)]
    return WindowSet(
        np.repeat(grey[..., None], 3, 3), boxes(count, seed), names, [f"{seed}-{row}" for row in range(count)]
    )


def slow_distance(patch, templates):
    best = -1.0
    for template in templates:
        for face in (template, template[:, ::-1]):
            for turn in range(4):
                view = np.rot90(face, turn)
                for down in range(-4, 5):
                    for right in range(-4, 5):
                        moved = np.zeros_like(view)
                        rows, columns = slice(max(0, down), 64 + min(0, down)), slice(max(0, right), 64 + min(0, right))
                        back = slice(max(0, -down), 64 + min(0, -down)), slice(max(0, -right), 64 + min(0, -right))
                        moved[rows, columns] = view[back]
                        best = max(best, float((moved * patch).sum()))
    return 1 - best


def test_distance_is_the_best_of_all_orientations_and_shifts():
    patches, templates = texture_patches(coarse(2, 0)), texture_patches(coarse(2, 1))
    found = nearest_distances(patches, templates)
    assert found == pytest.approx([slow_distance(patch, templates) for patch in patches], abs=1e-4)


def test_patches_have_no_mean_and_length_1():
    patches = texture_patches(coarse(3, 0))
    assert np.linalg.norm(patches, axis=(1, 2)) == pytest.approx(np.ones(3), abs=1e-4)
    assert patches.sum((1, 2)) == pytest.approx(np.zeros(3), abs=1e-2)


def test_copies_turned_and_relit_are_not_new_and_other_defects_are():
    few, real = coarse(8, 0), coarse(80, 1)
    turned = np.rot90(few.images, axes=(1, 2))
    relit = np.ascontiguousarray((turned * 0.8 + 20).astype(np.uint8))
    copies = WindowSet(relit, np.ascontiguousarray(np.rot90(few.masks, axes=(1, 2))), few.types, few.groups)
    copied, new = novelty(copies, few, real), novelty(coarse(80, 2), few, real)
    assert copied.value < 0.1 and copied.extra["below_p5"]["value"] == 1
    assert new.value > 0.8 and new.extra["below_p5"]["value"] < 0.2
    assert novelty(coarse(4, 2, ("stain",)), few, real).reason
