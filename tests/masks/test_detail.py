# SPDX-License-Identifier: Apache-2.0
"""The detail branch: shapes of any base, the start at zero, and that it learns what coarse features cannot show."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seas_aug.errors import SeasError
from seas_aug.losses import cross_entropy_dice_loss
from seas_aug.masks import MaskPredictor
from seas_aug.masks.detail import DetailBranch


@settings(max_examples=12, deadline=None)
@given(st.integers(1, 3), st.integers(2, 9), st.integers(2, 9), st.integers(1, 2))
def test_shape_follows_the_fine_feature(doublings, height, width, batch):
    branch = DetailBranch(3, 8, doublings, 8)
    factor = 2**doublings
    fine, coarse = torch.randn(batch, 3, height * factor, width * factor), torch.randn(batch, 8, height, width)
    with torch.no_grad():
        assert branch(fine, coarse).shape == (batch, 8, height * factor, width * factor)


def test_adds_nothing_at_first_and_then_depends_on_both_inputs():
    torch.manual_seed(0)
    branch = DetailBranch(3, 8, 2, 8)
    fine, coarse = torch.randn(1, 3, 32, 32), torch.randn(1, 8, 8, 8)
    assert not branch(fine, coarse).any()
    torch.nn.init.normal_(branch.result.weight)
    with torch.no_grad():
        first, other_fine, other_coarse = branch(fine, coarse), branch(fine + 1, coarse), branch(fine, -coarse)
    assert not torch.allclose(first, other_fine)
    assert not torch.allclose(first, other_coarse)


def test_masks_do_not_depend_on_batch_mates():
    torch.manual_seed(0)
    predictor = MaskPredictor(6, 5, (4, 3), width=16, attention_blocks=1, detail_channels=8)
    torch.nn.init.normal_(predictor.detail.result.weight)
    unet = [torch.randn(3, 6, 4, 4), torch.randn(3, 5, 8, 8)]
    vae = [torch.randn(3, 4, 16, 16), torch.randn(3, 3, 32, 32)]
    with torch.no_grad():
        together = predictor(unet, vae).refined
        alone = [predictor([f[i : i + 1] for f in unet], [f[i : i + 1] for f in vae]).refined for i in range(3)]
    torch.testing.assert_close(torch.cat(alone), together, rtol=1e-4, atol=1e-5)


def test_finds_a_line_that_coarse_features_do_not_show():
    """A column slightly brighter than its neighbours, on strong shading; the coarse features are pure noise.

    What stands out from its neighbours only cannot be told by 1 x 1 convolutions.
    """

    def train(detail_channels):
        torch.manual_seed(0)
        predictor = MaskPredictor(2, 2, (2, 2), width=8, attention_blocks=1, detail_channels=detail_channels)
        optimiser = torch.optim.AdamW(predictor.parameters(), lr=1e-2)
        for _ in range(80):
            target = torch.zeros(4, 1, 16, 16)
            for row, column in enumerate(torch.randint(0, 16, (4,)).tolist()):
                target[row, :, :, column] = 1
            shading = torch.nn.functional.interpolate(4 * torch.randn(4, 2, 3, 3), size=(16, 16), mode="bilinear")
            fine = shading + target
            noise = [torch.randn(4, 2, 2, 2), torch.randn(4, 2, 4, 4)]
            loss = cross_entropy_dice_loss(predictor(noise, [torch.randn(4, 2, 8, 8), fine]).refined, target)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        return float(loss.detach())

    assert train(8) < 0.7 * train(0)


@pytest.mark.parametrize("channels", [-8, 4, 12])
def test_width_out_of_range(channels):
    with pytest.raises(SeasError, match=r"masks\.detail_channels"):
        MaskPredictor(4, 4, (4,), width=8, attention_blocks=1, detail_channels=channels)
