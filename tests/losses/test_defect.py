# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seas_aug.losses import defect_noise_loss, noise_loss


def by_loops(prediction, target, mask):
    """Latent pixel by latent pixel; it counts where any pixel of the mask in its cell is set."""
    cell, total = mask.shape[-1] // target.shape[-1], 0.0
    square = (prediction - target) ** 2
    for b in range(len(target)):
        for y in range(target.shape[2]):
            for x in range(target.shape[3]):
                if mask[b, 0, y * cell : (y + 1) * cell, x * cell : (x + 1) * cell].max() > 0.5:
                    total += sum(square[b, :, y, x].tolist())
    return total / target.numel()


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 3), st.integers(1, 4), st.sampled_from([2, 4]), st.floats(0, 0.5), st.integers(0, 999))
def test_equals_loops(batch, channels, cell, share, seed):
    torch.manual_seed(seed)
    prediction, target = torch.randn(2, batch, channels, 4, 4).unbind(0)
    mask = (torch.rand(batch, 1, 4 * cell, 4 * cell) < share).float()
    expected = by_loops(prediction, target, mask)
    assert float(defect_noise_loss(prediction, target, mask)) == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_gradient_stays_inside_and_empty_masks_give_zero():
    prediction = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)).requires_grad_(True)
    mask = torch.zeros(2, 1, 32, 32)
    mask[0, 0, 5, 9] = 1  # one pixel: latent pixel (1, 2) of the first image
    loss = defect_noise_loss(prediction, torch.zeros(2, 3, 8, 8), mask)
    loss.backward()
    touched = prediction.grad.abs().sum(dim=1).nonzero().tolist()
    assert touched == [[0, 1, 2]]
    assert float(defect_noise_loss(prediction.detach(), torch.zeros(2, 3, 8, 8), torch.zeros(2, 1, 32, 32))) == 0


def test_weighs_the_elements_of_a_defect():
    """noise loss + k x this = the mean of squared errors that count 1 + k times inside."""
    prediction, target = torch.randn(2, 3, 8, 8), torch.randn(2, 3, 8, 8)
    mask = torch.zeros(2, 1, 8, 8)
    mask[0, :, 2:5, 3:4] = 1
    weighted = ((1 + 3 * mask) * (prediction - target) ** 2).mean()
    found = noise_loss(prediction, target) + 3 * defect_noise_loss(prediction, target, mask)
    assert float(found) == pytest.approx(float(weighted), rel=1e-5)


def test_rejects_other_shapes():
    with pytest.raises(ValueError, match="belong together"):
        defect_noise_loss(torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 4, 4), torch.zeros(1, 1, 8, 8))
    with pytest.raises(ValueError, match="belong together"):
        defect_noise_loss(torch.zeros(2, 3, 8, 8), torch.zeros(2, 3, 8, 8), torch.zeros(1, 1, 8, 8))
