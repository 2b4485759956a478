# SPDX-License-Identifier: Apache-2.0
"""The noise loss in holes."""

from __future__ import annotations

import pytest
import torch

from seas_aug.losses.hole import hole_noise_loss


def test_every_hole_counts_the_same_whatever_its_size():
    target = torch.zeros(3, 2, 4, 4)
    prediction = torch.full((3, 2, 4, 4), 2.0)
    inside = torch.zeros(3, 1, 4, 4)
    inside[0, 0, 0, 0] = 1
    inside[1] = 1
    loss = hole_noise_loss(prediction, target, inside)
    torch.testing.assert_close(loss, torch.tensor([4.4, 4.4, 0.4]))


def test_against_a_slow_reference():
    generator = torch.Generator().manual_seed(0)
    prediction, target = (torch.randn(2, 3, 4, 5, generator=generator) for _ in range(2))
    inside = (torch.rand(2, 1, 4, 5, generator=generator) < 0.4).float()
    for row, value in enumerate(hole_noise_loss(prediction, target, inside)):
        errors = [
            float((prediction[row, :, y, x] - target[row, :, y, x]).square().mean())
            for y in range(4)
            for x in range(5)
            if inside[row, 0, y, x]
        ]
        whole = float((prediction[row] - target[row]).square().mean())
        assert float(value) == pytest.approx(sum(errors) / len(errors) + 0.1 * whole, rel=1e-5)


def test_what_does_not_belong_together():
    with pytest.raises(ValueError, match="do not belong together"):
        hole_noise_loss(torch.zeros(1, 2, 4, 4), torch.zeros(1, 2, 4, 4), torch.zeros(1, 1, 8, 8))
