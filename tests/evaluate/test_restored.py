# SPDX-License-Identifier: Apache-2.0
import cv2
import numpy as np
import pytest

from seas_aug.evaluate.restored import detail_energy, restored, restored_pattern
from seas_aug.evaluate.window_set import WindowSet
from tests.evaluate.drawing_windows import boxes, filled, texture

GROUPS = [f"part {row % 8}" for row in range(40)]


def plain(images, masks):
    """A few statistics of the inside in place of a network's features."""
    inside = [image[mask > 0].astype(np.float32) for image, mask in zip(images, masks, strict=True)]
    return np.asarray([[part.mean(), part.std(), np.abs(np.diff(part[:, 0])).mean()] for part in inside], np.float32)


def measured(null, normal, masks, groups=GROUPS):
    types = ["crack"] * len(masks)
    sets = (WindowSet(images, masks, types, groups) for images in (null, normal))
    return restored(*sets, plain(null, masks), plain(normal, masks))


def test_energy_is_the_mean_square_of_what_a_blur_takes_away():
    images, masks = texture(2), boxes(2)
    for row in range(2):
        pixels = images[row].astype(np.float32)
        detail = (pixels - cv2.GaussianBlur(pixels, (0, 0), 2))[masks[row] > 0]
        assert detail_energy(images, masks)[row] == pytest.approx((detail**2).mean(), rel=1e-4)


def test_another_texture_of_the_same_kind_passes_and_noise_does_not():
    masks, normal = boxes(40), texture(40, 1)
    same = np.where(masks[..., None] > 0, texture(40, 2), normal)
    passed = measured(same, normal, masks)
    assert passed.value < 0.7
    assert passed.extra["energy"]["value"] == pytest.approx(1, abs=0.1)
    rough = np.where(
        masks[..., None] > 0, np.random.default_rng(0).integers(0, 255, normal.shape).astype(np.uint8), normal
    )
    failed = measured(rough, normal, masks)
    assert failed.value > 0.95 and failed.extra["energy"]["value"] > 10


def test_a_blurred_hole_has_too_little_energy():
    masks, normal = boxes(40), texture(40, 1)
    blurred = np.stack([cv2.GaussianBlur(image, (0, 0), 2) for image in normal])
    dull = np.where(masks[..., None] > 0, blurred, normal)
    assert measured(dull, normal, masks).extra["energy"]["value"] < 0.5
    assert measured(dull, normal, masks, ["one"] * 40).reason


def test_each_window_is_looked_at_in_its_own_mask():
    masks, normal = boxes(40), texture(40, 1)
    elsewhere = np.roll(masks, 9, axis=1)
    flat = np.where(masks[..., None] > 0, normal, 90).astype(np.uint8)  # as beside a part
    fills = WindowSet(flat, masks, ["crack"] * 40, GROUPS)
    for holes, energy in ((masks, 1.0), (elsewhere, 0.9)):
        other = WindowSet(np.where(holes[..., None] > 0, normal, 90).astype(np.uint8), holes, ["crack"] * 40, GROUPS)
        found = restored(fills, other, plain(flat, masks), plain(other.images, holes))
        assert energy - 0.1 < found.extra["energy"]["value"] < 1.2


def test_pattern_counts_pixels_on_the_wrong_side():
    masks = boxes(6)
    template = np.where(np.arange(32)[None, None, :, None] < 16, 0, 255) * np.ones((6, 32, 1, 3))
    template = template.astype(np.uint8)
    assert restored_pattern(template, template, masks, list("abcdef")).value == 0
    wrong = filled(template, masks, 255)
    by_hand = sum(int(((template[..., 0] == 0) & (masks > 0))[row].sum()) for row in range(6)) / masks.sum()
    assert restored_pattern(wrong, template, masks, list("abcdef")).value == pytest.approx(by_hand)
    assert restored_pattern(wrong, template, masks * 0, list("abcdef")).reason
