# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from seas_aug.evaluate.pixel_distance import jpeg_difference, mean_difference, nearest_difference


def _pictures(n: int, seed: int) -> torch.Tensor:
    return torch.randint(0, 256, (n, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def test_mean_difference_outside_the_mask_against_loops() -> None:
    a, b = _pictures(2, 0), _pictures(2, 1)
    mask = (_pictures(2, 2)[:, :1] > 180).to(torch.uint8)
    for n in range(2):
        values = [
            abs(int(a[n, c, i, j]) - int(b[n, c, i, j]))
            for c in range(3)
            for i in range(16)
            for j in range(16)
            if mask[n, 0, i, j] == 0
        ]
        assert mean_difference(a, b, mask)[n].item() == pytest.approx(sum(values) / len(values), rel=1e-5)
    assert mean_difference(a, a).tolist() == [0, 0]
    assert mean_difference(a, b, torch.ones(2, 1, 16, 16)).isnan().all()


def test_jpeg_loses_more_at_lower_quality() -> None:
    picture = _pictures(1, 0)[0]
    assert 0 < jpeg_difference(picture, 95) < jpeg_difference(picture, 30)
    assert jpeg_difference(torch.full((3, 16, 16), 128, dtype=torch.uint8)) < 2


def test_nearest_finds_mirrored_copies() -> None:
    few_shot = _pictures(4, 0)
    images = torch.stack([few_shot[2].flip(-1), few_shot[1].flip(-1, -2), few_shot[3]])
    distance, index = nearest_difference(images, few_shot)
    assert distance.tolist() == [0, 0, 0]
    assert index.tolist() == [2, 1, 3]
    assert nearest_difference(_pictures(1, 9), few_shot)[0].item() > 10
