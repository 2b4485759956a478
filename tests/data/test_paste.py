# SPDX-License-Identifier: Apache-2.0
"""Copying a defect onto a normal image: contrast, reach, and nothing else."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seas_aug.data.paste import paste_defect, without_defect


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_pasted_defect_keeps_its_contrast():
    """A spot half as bright as its surroundings, copied from a light onto a dark surface, is half as bright there."""
    defect, mask = torch.full((3, 32, 32), 0.8), torch.zeros(1, 32, 32)
    mask[:, 12:20, 12:20] = 1
    defect = defect * (1 - 0.5 * mask)
    pasted = paste_defect(defect, mask, torch.full((3, 32, 32), 0.3))
    assert float(pasted[:, 14:18, 14:18].mean()) == pytest.approx(0.15, abs=0.01)
    assert torch.allclose(pasted[:, :7], torch.tensor(0.3))


def test_pasted_defect_does_not_glow_where_no_surroundings_are_near():
    """A mask that covers nearly all of the image: the middle is far from everything outside."""
    mask = torch.ones(1, 96, 96)
    mask[:, :4] = 0
    pasted = paste_defect(torch.full((3, 96, 96), 0.4), mask, torch.full((3, 96, 96), 0.4))
    torch.testing.assert_close(pasted, torch.full((3, 96, 96), 0.4), atol=0.02, rtol=0)


@settings(max_examples=20, deadline=None)
@given(st.integers(9, 24), st.integers(0, 999))
def test_paste_changes_nothing_far_from_the_mask(size, seed):
    normal, defect = torch.rand(2, 3, size, size, generator=generator(seed)).unbind(0)
    mask = torch.zeros(1, size, size)
    mask[:, 0, 0] = 1
    pasted = paste_defect(defect, mask, normal)
    assert pasted.min() >= 0 and pasted.max() <= 1
    assert torch.equal(pasted[:, 6:], normal[:, 6:])


def test_a_defect_is_taken_out_and_nothing_else_changes():
    generator = torch.Generator().manual_seed(0)
    normal = 0.5 + 0.1 * torch.rand(3, 64, 64, generator=generator)
    image, mask = 0.8 * normal, torch.zeros(1, 64, 64)  # darker as a whole
    mask[:, 20:30, 24:40] = 1
    image = torch.where(mask > 0, torch.zeros_like(image), image)
    twin = without_defect(image, mask, normal)
    inside = mask[0] > 0
    torch.testing.assert_close(twin[:, inside], 0.8 * normal[:, inside], rtol=0.05, atol=0.01)
    far = torch.nn.functional.max_pool2d(mask, 17, 1, 8)[0] == 0
    assert torch.equal(twin[:, far], image[:, far])
