# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seas_aug.evaluate.mask_overlap import mask_overlap


def slow_iou(found, truth):
    both = either = 0
    for a, b in zip(found.flatten().tolist(), truth.flatten().tolist(), strict=True):
        both, either = both + (a and b), either + (a or b)
    return both / either if either else 0.0


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 5), st.integers(1, 7), st.integers(1, 7), st.floats(0.05, 0.95))
def test_overlap_is_what_counting_pixels_gives(seed, count, height, width, threshold):
    generator = torch.Generator().manual_seed(seed)
    probabilities = torch.rand(count, 1, height, width, generator=generator)
    masks = (torch.rand(count, 1, height, width, generator=generator) > 0.6).to(torch.uint8)
    found = probabilities > threshold
    overlap = mask_overlap(probabilities, masks, threshold)
    assert overlap.pooled == pytest.approx(slow_iou(found, masks > 0), abs=1e-6)
    single = [slow_iou(one, true > 0) for one, true in zip(found, masks, strict=True)]
    assert overlap.per_image == pytest.approx(sum(single) / count, abs=1e-6)


def test_a_large_image_outweighs_a_small_one_only_where_pixels_are_pooled():
    masks = torch.zeros(2, 1, 4, 4)
    masks[0, 0, 0, 0] = masks[1, 0] = 1
    probabilities = torch.stack([torch.zeros(1, 4, 4), torch.ones(1, 4, 4)])
    assert mask_overlap(probabilities, masks, 0.5) == pytest.approx((16 / 17, 0.5))
