# SPDX-License-Identifier: Apache-2.0
"""Where a copied defect fits: checked against a slow reference, and by what one sees."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from seas_aug.pipeline.placement import _GRAIN, find_place, shifted, turned

SIZE = 64
REACH = SIZE // 16


def bar(column: int, seed: int = 0) -> torch.Tensor:
    """A dark upright bar with bright ends on a bright ground, with a little noise."""
    image = torch.full((3, SIZE, SIZE), 0.8)
    image[:, 8:56, column : column + 6] = 0.3
    image[:, 8:14, column : column + 6] = 0.6
    noise = torch.randn((3, SIZE, SIZE), generator=torch.Generator().manual_seed(seed))
    return (image + 0.01 * noise).clamp(0, 1)


def spot(row: int, column: int, side: int = 4) -> torch.Tensor:
    mask = torch.zeros(1, SIZE, SIZE)
    mask[:, row : row + side, column : column + side] = 1
    return mask


def slow_misfit(defect: torch.Tensor, mask: torch.Tensor, reference: torch.Tensor, down: int, right: int) -> float:
    """Pixel by pixel over the ring, shifted."""
    marked = mask[0].numpy().astype(np.uint8)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * REACH + 1, 2 * REACH + 1))
    ring = cv2.dilate(marked, kernel) - cv2.dilate(marked, np.ones((3, 3), np.uint8))
    own, other = [], []
    for row, column in zip(*np.nonzero(ring), strict=True):
        for channel in range(3):
            own.append(float(defect[channel, row, column]))
            other.append(float(reference[channel, row + down, column + right]))
    first, second = (np.array(values) - np.mean(values) for values in (own, other))
    energy = (first**2).sum() + (second**2).sum() + len(own) * _GRAIN**2
    return float(((first - second) ** 2).sum() / energy)


@pytest.mark.parametrize("column", [27, 30, 40])
def test_misfit_is_that_of_a_slow_reference(column: int) -> None:
    defect, mask, reference = bar(30), spot(20, 31), bar(column, seed=1)
    found = find_place(defect, mask, reference)
    every = {
        (down, right): slow_misfit(defect, mask, reference, down, right)
        for down in range(-REACH, REACH + 1)
        for right in range(-REACH, REACH + 1)
    }
    best = min(every, key=every.__getitem__)
    place = best if every[best] < every[0, 0] - 0.05 else (0, 0)
    assert (found.down, found.right) == place
    assert found.misfit == pytest.approx(every[place], abs=1e-4)


def test_a_defect_of_a_part_follows_the_part_and_does_not_fit_beside_it() -> None:
    defect, mask = bar(30), spot(20, 31)
    near = find_place(defect, mask, bar(33, seed=1))
    assert near.right == 3 and near.misfit < 0.1
    assert find_place(defect, mask, bar(10, seed=1)).misfit > 0.8
    brighter = (0.7 * bar(33, seed=1) + 0.25).clamp(0, 1)
    assert find_place(defect, mask, brighter).misfit < 0.15


def test_on_a_plain_surface_every_place_fits_and_nothing_is_shifted() -> None:
    plain = [
        0.5 + 0.01 * torch.randn((3, SIZE, SIZE), generator=torch.Generator().manual_seed(seed)) for seed in (1, 2)
    ]
    found = find_place(plain[0], spot(20, 20), plain[1] - 0.2)
    assert (found.down, found.right) == (0, 0) and found.misfit < 0.15


def test_a_defect_at_a_border_stays_there() -> None:
    defect, mask = bar(30), torch.zeros(1, SIZE, SIZE)
    mask[:, :3, 31:35] = 1
    defect[:, :8, 30:36] = 0.3
    reference = bar(33, seed=1)
    reference[:, :8, 33:39] = 0.3
    found = find_place(defect, mask, reference)
    assert (found.down, found.right) == (0, 3)
    corner = spot(0, 0)
    assert find_place(defect, corner, reference)[1:] == (0, 0)


def test_nothing_around_it() -> None:
    image = bar(30)
    assert find_place(image, torch.ones(1, SIZE, SIZE), image) == (0, 0, 0)
    assert find_place(image, torch.zeros(1, SIZE, SIZE), image) == (0, 0, 0)


def test_shifted_repeats_the_border() -> None:
    image = torch.arange(12.0).reshape(1, 3, 4)
    assert torch.equal(shifted(image, 1, 0)[0, :, 0], torch.tensor([0.0, 0.0, 4.0]))
    assert torch.equal(shifted(image, 0, -2)[0, 0], torch.tensor([2.0, 3.0, 3.0, 3.0]))
    assert torch.equal(shifted(image, 0, 0), image)


def test_turned_moves_image_and_mask_alike() -> None:
    mask = spot(10, 40, 6)
    image = 0.2 + 0.6 * mask.repeat(3, 1, 1)
    moved, marked = turned(image, mask, 20)
    assert moved.shape == image.shape and set(marked.unique().tolist()) == {0.0, 1.0}
    assert ((moved[0] > 0.5).float() - marked[0]).abs().sum() <= 0.3 * marked.sum()
    quarter = turned(image, mask, 90)
    assert torch.allclose(quarter[0], torch.rot90(image, 1, (-2, -1)), atol=0.02)
    assert torch.equal(quarter[1], torch.rot90(mask, 1, (-2, -1)))
    corner = spot(0, 0, 1)
    assert torch.equal(turned(image, corner, 45)[1], corner)  # it would leave the image
