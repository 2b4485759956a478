# SPDX-License-Identifier: Apache-2.0
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seas_aug.pipeline.background import keep_background


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 999), st.sampled_from([32, 96, 256]))
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
    far = torch.maximum(from_rows, from_columns) > max(1, size // 128)
    assert torch.equal(kept[0][:, far], references[0][:, far])
    low, high = torch.minimum(images, references), torch.maximum(images, references)
    assert (kept >= low - 1e-6).all() and (kept <= high + 1e-6).all()


def test_the_rim_fades_and_is_narrow() -> None:
    masks = torch.zeros(1, 1, 512, 512)
    masks[..., 240:272, 240:272] = 1
    share = keep_background(torch.ones(1, 3, 512, 512), torch.zeros(1, 3, 512, 512), masks)[0, 0, 256, 271:280]
    assert share.tolist()[:1] == [1] and share.tolist()[5:] == [0] * 4  # a rim of 512 / 128 pixels
    assert (share[:6].diff() < 0).all() and -share[1:].diff().min() < 0.2


def test_most_of_a_cracks_change_lies_in_its_mask() -> None:
    masks = torch.zeros(1, 1, 128, 128)
    masks[..., 62:65, :] = 1  # as thin as a crack is
    changed = keep_background(torch.ones(1, 3, 128, 128), torch.zeros(1, 3, 128, 128), masks)[:, :1]
    assert float((changed * masks).sum() / changed.sum()) > 0.8
