# SPDX-License-Identifier: Apache-2.0
"""Variations of a defect image: light, zoom, bends, and the defect copied onto a normal image.

Not part of the paper. A few dozen images are soon learnt by heart, and a mask predictor that has done so finds little
on the images it is needed for.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as transforms

from seas_aug.data.images import resize_mask

_GAIN, _OFFSET, _GAMMA, _SHADING = (0.6, 1.5), (-0.08, 0.08), (0.75, 1.35), (0.75, 1.3)
_ATTEMPTS = 8
_TURN, _SHEAR, _SCALE = 0.12, 0.08, (0.85, 1.2)  # radians, share, factor
_BEND, _KNOTS = 0.01, 5  # share of the side by which a grid of points is displaced
_KEPT = 0.35  # coverage above which a bent mask's pixel counts; at half, lines of one pixel would break


def _uniform(low: float, high: float, generator: torch.Generator) -> float:
    return low + (high - low) * float(torch.rand((), generator=generator))


def vary_light(image: Tensor, generator: torch.Generator) -> Tensor:
    """Return an image as another lamp and exposure would show it: gamma, gain, offset and, half of the time, shading.

    Args:
        image: float ``[C, H, W]`` in [0, 1].
        generator: source of randomness; always the same number of draws.

    Returns:
        float ``[C, H, W]`` in [0, 1]; all channels change alike, so that colours stay what they are.
    """
    gamma, gain, offset = (_uniform(*limits, generator) for limits in (_GAMMA, _GAIN, _OFFSET))
    shaded = float(torch.rand((), generator=generator)) < 0.5
    corners = torch.rand((1, 1, 3, 3), generator=generator) * (_SHADING[1] - _SHADING[0]) + _SHADING[0]
    changed = image.clamp(0, 1) ** gamma * gain + offset
    if shaded:
        size = (image.shape[-2], image.shape[-1])
        field = torch.nn.functional.interpolate(corners, size=size, mode="bicubic", align_corners=True)
        changed = changed * field[0]
    return changed.clamp(0, 1)


def zoom(image: Tensor, mask: Tensor, smallest: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return a random part of image and mask, enlarged to the full size, that shows at least half of the defect.

    Args:
        image: float ``[C, H, W]``.
        mask: float ``[1, H, W]`` of 0 and 1; all zero for a normal image.
        smallest: least height and width of the part, each a share of the whole in (0, 1].
        generator: source of randomness.

    Returns:
        Image and mask of the same shapes; unchanged where no part of eight drawn ones shows enough of the defect.
    """
    height, width = image.shape[-2:]
    for _ in range(_ATTEMPTS):
        sides = [int(side * _uniform(smallest, 1, generator)) for side in (height, width)]
        top, left = (
            int(torch.randint(0, whole - part + 1, (), generator=generator))
            for whole, part in zip((height, width), sides, strict=True)
        )
        part = mask[:, top : top + sides[0], left : left + sides[1]]
        if 2 * part.sum() >= mask.sum():
            enlarged = transforms.resized_crop(image, top, left, *sides, [height, width], antialias=True)
            marked = resize_mask(part[0].to(torch.uint8).numpy(), width, height)
            return enlarged, torch.from_numpy(marked)[None].to(mask.dtype)
    return image, mask


def warp(image: Tensor, mask: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return image and mask turned, sheared, scaled and bent a little; what lies beyond the border is mirrored.

    Args:
        image: float ``[C, H, W]``.
        mask: float ``[1, H, W]`` of 0 and 1.
        generator: source of randomness; always the same number of draws.

    Returns:
        Image and mask of the same shapes; unchanged where the bent mask would be empty, though the mask was not.
    """
    height, width = image.shape[-2:]
    turn = _uniform(-_TURN, _TURN, generator)
    shear = _uniform(-_SHEAR, _SHEAR, generator)
    across, down = (1 / _uniform(*_SCALE, generator) for _ in range(2))
    knots = torch.randn((2, _KNOTS, _KNOTS), generator=generator).numpy() * _BEND
    cosine, sine = float(np.cos(turn)), float(np.sin(turn))
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    x, y = x - (width - 1) / 2, y - (height - 1) / 2
    bent = [cv2.resize(grid.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC) for grid in knots]
    from_x = across * (cosine * x - sine * y + shear * y) + (width - 1) / 2 + bent[0] * width
    from_y = down * (sine * x + cosine * y) + (height - 1) / 2 + bent[1] * height
    moved = [
        cv2.remap(pixels, from_x, from_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
        for pixels in (image.permute(1, 2, 0).contiguous().numpy(), mask[0].contiguous().numpy())
    ]
    marked = torch.from_numpy((moved[1] > _KEPT).astype(np.float32))[None].to(mask.dtype)
    if mask.any() and not marked.any():
        return image, mask
    return torch.from_numpy(moved[0].reshape(height, width, -1)).permute(2, 0, 1), marked


def move_defect(image: Tensor, mask: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return image and mask shifted, so that the defect lies elsewhere; one at a border stays at that border.

    What the shift leaves bare repeats the pixels at the border.

    Args:
        image: float ``[C, H, W]``.
        mask: float ``[1, H, W]`` of 0 and 1.
        generator: source of randomness; always the same number of draws.

    Returns:
        Image and mask of the same shapes.
    """
    draws = torch.rand(2, generator=generator).tolist()
    if not mask.any():
        return image, mask
    for axis, draw in ((1, draws[0]), (2, draws[1])):
        size = mask.shape[axis]
        marked = mask.amax(dim=(0, 3 - axis)).nonzero().flatten()
        first, last = int(marked.min()), int(marked.max())
        if first == 0 or last == size - 1:
            continue
        shift = int(draw * (size - (last - first))) - first
        source = (torch.arange(size) - shift).clamp(0, size - 1)
        image, mask = image.index_select(axis, source), mask.index_select(axis, source)
    return image, mask
