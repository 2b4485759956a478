# SPDX-License-Identifier: Apache-2.0
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seas_aug.pipeline.background import keep_background


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 999), st.sampled_from([32, 64, 96]))
def test_generated_inside_reference_outside_and_between_them_elsewhere(seed: int, size: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    images, references = torch.rand(2, 2, 3, size, size, generator=generator).unbind(0)
    masks = torch.zeros(2, 1, size, size)
    top, left = torch.randint(0, size - 4, (2,), generator=generator).tolist()
    masks[0, :, top : top + 4, left : left + 4] = 1
    kept = keep_background(images, references, masks)
    assert torch.equal(kept[1], references[1])
    inside = masks[0, 0] > 0
    torch.testing.assert_close(kept[0][:, inside], images[0][:, inside])
    rows, columns = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    from_rows = (top - rows).clamp_min(0) + (rows - top - 3).clamp_min(0)
    from_columns = (left - columns).clamp_min(0) + (columns - left - 3).clamp_min(0)
    far = torch.maximum(from_rows, from_columns) > 2 * max(1, size // 32)
    assert torch.equal(kept[0][:, far], references[0][:, far])
    low, high = torch.minimum(images, references), torch.maximum(images, references)
    assert (kept >= low - 1e-6).all() and (kept <= high + 1e-6).all()


def test_goes_over_softly() -> None:
    masks = torch.zeros(1, 1, 128, 128)
    masks[..., 60:68, 60:68] = 1
    share = keep_background(torch.ones(1, 3, 128, 128), torch.zeros(1, 3, 128, 128), masks)[0, 0, 64, 67:80]
    assert share[0] == 1 and share[-1] == 0
    steps = -share.diff()
    assert (steps >= 0).all() and steps.max() < 0.2
