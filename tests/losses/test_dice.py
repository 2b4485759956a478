# SPDX-License-Identifier: Apache-2.0
"""Cross-entropy with Dice against loops over pixels."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seas_aug.losses import cross_entropy_dice_loss


def by_loops(logits, target):
    entropy, dice = [], []
    for image, true in zip(logits.tolist(), target.tolist(), strict=True):
        both = sum_p = sum_t = 0.0
        for y, row in enumerate(true[0]):
            for x, inside in enumerate(row):
                normal, anomaly = image[0][y][x], image[1][y][x]
                p = 1 / (1 + math.exp(normal - anomaly))
                entropy.append(-math.log(p if inside else 1 - p))
                both, sum_p, sum_t = both + p * inside, sum_p + p, sum_t + inside
        if sum_t:
            dice.append(1 - (2 * both + 1) / (sum_p + sum_t + 1))
    return sum(entropy) / len(entropy) + 0.5 * (sum(dice) / len(dice) if dice else 0)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 3), st.integers(1, 5), st.integers(1, 5), st.floats(0, 1), st.integers(0, 999))
def test_equals_loops(batch, height, width, share, seed):
    torch.manual_seed(seed)
    logits = torch.randn(batch, 2, height, width)
    target = (torch.rand(batch, 1, height, width) < share).float()
    assert float(cross_entropy_dice_loss(logits, target)) == pytest.approx(by_loops(logits, target), rel=1e-4)


def test_normal_images_have_no_dice_and_finite_gradients():
    logits = torch.zeros(2, 2, 4, 4, requires_grad=True)
    loss = cross_entropy_dice_loss(logits, torch.zeros(2, 1, 4, 4))
    loss.backward()
    assert float(loss.detach()) == pytest.approx(math.log(2))
    assert torch.isfinite(logits.grad).all()


def test_a_small_defect_counts_like_a_large_one():
    """Missing a spot of 4 pixels costs nearly as much as missing a whole half; the cross-entropy does not care."""

    def missed(pixels):
        target = torch.zeros(1, 1, 32, 32)
        target.view(-1)[:pixels] = 1
        logits = torch.zeros(1, 2, 32, 32)
        logits[:, 0], logits[:, 1] = 2, -2
        dice_only = cross_entropy_dice_loss(logits, target) - torch.nn.functional.cross_entropy(
            logits, target[:, 0].long()
        )
        return float(dice_only)

    assert missed(4) == pytest.approx(missed(512), rel=0.15)


@pytest.mark.parametrize(
    "shapes", [((1, 3, 4, 4), (1, 1, 4, 4)), ((1, 2, 4, 4), (1, 1, 4, 5)), ((1, 2, 4, 4), (2, 1, 4, 4))]
)
def test_rejects_other_shapes(shapes):
    with pytest.raises(ValueError, match="2 channels"):
        cross_entropy_dice_loss(*(torch.zeros(shape) for shape in shapes))
