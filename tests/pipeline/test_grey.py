# SPDX-License-Identifier: Apache-2.0
import torch

from seas_aug.pipeline.grey import is_grey, to_grey


def test_one_coloured_pixel_is_no_grey() -> None:
    images = torch.randint(0, 256, (3, 1, 8, 8), dtype=torch.uint8).expand(-1, 3, -1, -1).clone()
    assert is_grey(images)
    images[2, 1, 4, 4] ^= 1
    assert not is_grey(images)


def test_grey_is_the_mean_of_the_channels() -> None:
    torch.manual_seed(0)
    images = torch.rand(2, 3, 5, 4)
    grey = to_grey(images)
    assert is_grey(grey)
    assert torch.allclose(grey[:, 2], (images[:, 0] + images[:, 1] + images[:, 2]) / 3)
