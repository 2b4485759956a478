# SPDX-License-Identifier: Apache-2.0
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seas_aug.losses import focal_loss, noise_loss


def focal_by_loops(logits, target, gamma):
    total, count = 0.0, 0
    for b in range(len(logits)):
        for y in range(logits.shape[2]):
            for x in range(logits.shape[3]):
                exps = [math.exp(float(logits[b, c, y, x])) for c in range(2)]
                label = int(target[b, 0, y, x])
                p_true = 1e-5
                for c in range(2):
                    weight = 1 - 1e-5 if c == label else 1e-5
                    p_true += weight * exps[c] / sum(exps)
                total -= (1 - p_true) ** gamma * math.log(p_true)
                count += 1
    return total / count


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 3), st.integers(1, 6), st.integers(1, 6), st.sampled_from([0.0, 1.0, 2.0]), st.integers(0, 999))
def test_focal_equals_loops(batch, height, width, gamma, seed):
    torch.manual_seed(seed)
    logits, target = 3 * torch.randn(batch, 2, height, width), torch.randint(0, 2, (batch, 1, height, width))
    loss = focal_loss(logits, target.float(), gamma)
    assert float(loss) == pytest.approx(focal_by_loops(logits, target, gamma), rel=1e-3, abs=1e-6)


def test_focal_is_finite_at_extreme_logits_and_in_half_precision():
    for sign in (1, -1):
        logits = torch.tensor([-sign * 1e4, sign * 1e4]).reshape(1, 2, 1, 1).requires_grad_(True)
        loss = focal_loss(logits, torch.ones(1, 1, 1, 1), gamma=1.5)
        loss.backward()
        assert torch.isfinite(loss)
        assert torch.isfinite(logits.grad).all()
    assert focal_loss(torch.zeros(1, 2, 2, 2).half(), torch.zeros(1, 1, 2, 2)).dtype == torch.float32


def test_focal_discounts_easy_pixels():
    easy, hard = torch.tensor([0.0, 3.0]).reshape(1, 2, 1, 1), torch.tensor([0.0, -3.0]).reshape(1, 2, 1, 1)
    target = torch.ones(1, 1, 1, 1)
    with_focus = focal_loss(hard, target) / focal_loss(easy, target)
    without = focal_loss(hard, target, gamma=0) / focal_loss(easy, target, gamma=0)
    assert with_focus > 100 * without


def test_focal_rejects_other_shapes():
    with pytest.raises(ValueError, match="2 channels"):
        focal_loss(torch.zeros(1, 3, 2, 2), torch.zeros(1, 1, 2, 2))
    with pytest.raises(ValueError, match="2 channels"):
        focal_loss(torch.zeros(1, 2, 2, 2), torch.zeros(1, 1, 4, 4))


def test_noise_loss_is_the_mean_square():
    prediction, target = torch.randn(2, 4, 3, 3), torch.randn(2, 4, 3, 3)
    pairs = zip(prediction.flatten().tolist(), target.flatten().tolist(), strict=True)
    expected = sum((p - t) ** 2 for p, t in pairs) / prediction.numel()
    assert float(noise_loss(prediction, target)) == pytest.approx(expected, rel=1e-5)
    assert noise_loss(prediction.half(), target).dtype == torch.float32
    with pytest.raises(ValueError, match="differ in shape"):
        noise_loss(prediction, target[:1])
