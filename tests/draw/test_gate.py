# SPDX-License-Identifier: Apache-2.0
"""Step 5: what the gate lets pass, and each of its reasons."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seas_aug.config import DrawConfig
from seas_aug.draw.compose import Composer, put_copies
from seas_aug.draw.gate import Candidate, GateLimits, check_pair_looks_right, check_size_and_count
from seas_aug.draw.place import Surface
from tests.draw.made import defects, plain

KNOWN = defects()
LIMITS = GateLimits.of(KNOWN)


def good(seed: int = 0, name: str = "crack", size: tuple[int, int] = (128, 150)) -> Candidate:
    """A copied defect with its own mask."""
    reference = plain(*size, seed)
    (spot,) = Composer(KNOWN, (name,), (64,), DrawConfig()).spots(seed, Surface(reference))
    mask = spot.area(*size)
    return Candidate(put_copies(reference, spot, 1.0), reference, mask, (name,), int(mask.sum()))


def reasons(candidate: Candidate, limits: GateLimits | None = LIMITS, **changes) -> list[str]:
    return check_pair_looks_right(dataclasses.replace(candidate, **changes), limits)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 999), st.sampled_from(["crack", "hole"]), st.sampled_from([(128, 150), (64, 400), (900, 700)]))
def test_good_pairs_pass(seed, name, size):
    candidate = good(seed, name, size)
    assert reasons(candidate) == []
    assert reasons(candidate, wanted=None) == []
    assert reasons(candidate, None) == []
    a_bit_larger = cv2.dilate(candidate.mask, np.ones((3, 3), np.uint8))
    assert "mask too large" not in reasons(candidate, mask=a_bit_larger)


def test_every_few_shot_defect_passes_beside_its_own_ground():
    for number, (image, mask) in enumerate(zip(KNOWN.images, KNOWN.masks, strict=True)):
        ground = cv2.inpaint(image, cv2.dilate(mask, np.ones((5, 5), np.uint8)), 3, cv2.INPAINT_TELEA)
        ground[mask == 0] = image[mask == 0]
        assert reasons(Candidate(image, ground, mask, (KNOWN.anomaly_types[number],))) == []


def test_an_empty_mask():
    candidate = good()
    for limits in (LIMITS, None):
        assert reasons(candidate, limits, mask=np.zeros_like(candidate.mask)) == ["empty mask"]


def test_a_shifted_mask():
    candidate = good()
    found = reasons(candidate, mask=np.roll(candidate.mask, 30, axis=0))
    assert {"nothing to see", "change outside the mask"} <= set(found)


def test_an_inverted_mask():
    candidate = good()
    for wanted in (None, candidate.wanted):
        found = reasons(candidate, mask=1 - candidate.mask, wanted=wanted)
        assert {"mask too large", "nothing to see"} <= set(found)


def test_change_far_from_the_mask():
    candidate = good()
    image = candidate.image.copy()
    far = np.nonzero(cv2.dilate(candidate.mask, np.ones((31, 31), np.uint8)) == 0)
    image[far[0][:900], far[1][:900]] = 20
    assert reasons(candidate, image=image) == ["change outside the mask"]


def test_nothing_to_see():
    candidate = good()
    assert reasons(candidate, image=candidate.reference) == ["nothing to see"]
    faint = candidate.reference + candidate.mask[..., None]
    assert reasons(candidate, image=faint) == ["nothing to see"]


def test_a_mask_of_which_most_is_not_changed():
    candidate = good(name="hole")
    large = cv2.dilate(candidate.mask, np.ones((25, 25), np.uint8))
    assert "nothing to see" in reasons(candidate, mask=large, wanted=None)


@pytest.mark.parametrize("wanted", [None, 1])
def test_masks_of_another_size(wanted):
    """By what was asked for, else by what the few-shot defects of the type cover."""
    mask = np.zeros((400, 400), np.uint8)
    mask[50:350, 50:350] = 1
    reference = plain(400, 400)
    image = np.where(mask[..., None] > 0, np.uint8(20), reference)
    candidate = Candidate(image, reference, mask, ("hole",), wanted and 9000)
    assert reasons(candidate) == ["mask too large"]
    small = np.zeros((400, 400), np.uint8)
    small[50:53, 50:53] = 1
    image = np.where(small[..., None] > 0, np.uint8(20), reference)
    assert reasons(Candidate(image, reference, small, ("hole",), wanted and 81)) == ["mask too small"]


def test_off_the_part():
    """On a black backdrop, which surrounds no few-shot defect."""
    candidate = good()
    backdrop = plain(*candidate.mask.shape, level=20)
    image = np.where(candidate.mask[..., None] > 0, np.uint8(200), backdrop)
    assert reasons(candidate, image=image, reference=backdrop) == ["off the part"]
    assert reasons(candidate, None, image=image, reference=backdrop) == []


def test_a_seam():
    assert reasons(good(), cut_off=0.9) == ["seam"]
    assert reasons(good(), cut_off=0.3) == []


def test_limits_are_those_of_the_few_shot_defects():
    assert LIMITS.areas["hole"] == (60, 81)
    assert set(LIMITS.surroundings) == {"hole", "crack"} and len(LIMITS.surroundings["hole"]) == 3
    assert all(0.5 < value < 0.65 for colours in LIMITS.surroundings.values() for colour in colours for value in colour)
    assert all(0 <= value < 0.05 for value in LIMITS.spread.values())


def test_types_without_few_shot_defects_have_no_limits():
    candidate = good()
    assert reasons(candidate, anomaly_types=("unseen",), wanted=None) == []


def squares(*places: tuple[int, int, int]) -> np.ndarray:
    mask = np.zeros((200, 200), np.uint8)
    for top, left, side in places:
        mask[top : top + side, left : left + side] = 1
    return mask


@pytest.mark.parametrize(
    ("side", "size", "fine"),
    [(20, (20, 30), True), (18, (20, 30), True), (17, (20, 30), False), (33, (20, 30), True), (34, (20, 30), False)],
)
def test_the_size_that_was_asked_for_is_held_to_within_a_tenth(side, size, fine):
    found = check_size_and_count(squares((10, 10, side)), DrawConfig(size=size), 1)
    assert found == ([] if fine else ["other size"])
    assert check_size_and_count(squares((10, 10, side)), DrawConfig(), 1) == []
    speck = squares((10, 10, 25), (150, 150, 2))
    assert check_size_and_count(speck, DrawConfig(size=size), 1) == ["other size"]


def test_several_types_may_lie_together_so_that_they_are_held_to_the_least_size_alone():
    together = squares((10, 10, 14), (10, 28, 14))
    assert check_size_and_count(together, DrawConfig(size=(10, 14)), 2) == []
    assert check_size_and_count(together, DrawConfig(size=(10, 14)), 1) == ["other size"]
    assert check_size_and_count(squares((10, 10, 5)), DrawConfig(size=(10, 14)), 2) == ["other size"]


def test_as_many_defects_as_were_asked_for():
    apart = squares((10, 10, 20), (100, 10, 20), (10, 120, 20))
    together = squares((10, 10, 20), (10, 34, 20), (10, 120, 20))
    assert check_size_and_count(apart, DrawConfig(count=3), 1) == []
    assert check_size_and_count(together, DrawConfig(count=3), 1) == ["other count"]
    assert check_size_and_count(together, DrawConfig(count=(2, 3)), 1) == []
    assert check_size_and_count(apart, DrawConfig(count=2), 1) == ["other count"]
    assert check_size_and_count(apart, DrawConfig(count=2), 2) == []
    assert check_size_and_count(apart, DrawConfig(), 1) == []
