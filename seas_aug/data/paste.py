# SPDX-License-Identifier: Apache-2.0
"""Putting a few-shot defect on a normal image: the one place where it is done, for training, drawing and comparing."""

from __future__ import annotations

import cv2
import torch
from torch import Tensor

_NEAR = 8.0  # pixels that count as surroundings
_FAR_WEIGHT = 0.02
_GROWN = 32  # a mask is grown by this fraction of the side, so that nothing of the defect is left
_DARK, _RATIO = 0.02, 3.0  # keeps dark surroundings from making the defect glow


def paste_defect(defect: Tensor, mask: Tensor, normal: Tensor) -> Tensor:
    """Return a normal image with a defect on it, as bright against its new surroundings as it was against its own.

    Args:
        defect: image that shows the defect, float ``[C, H, W]`` in [0, 1].
        mask: float ``[1, H, W]`` of 0 and 1.
        normal: float ``[C, H, W]`` in [0, 1]; shows no defect.

    Returns:
        float ``[C, H, W]`` in [0, 1]; unchanged further than four pixels from the mask.
    """
    outside = 1 - mask
    ratio = (_surroundings(normal, outside) + _DARK) / (_surroundings(defect, outside) + _DARK)
    grown = torch.nn.functional.max_pool2d(mask, 3, stride=1, padding=1)
    soft = torch.maximum(_blurred(grown, 1.0), mask)
    return (normal * (1 - soft) + defect * ratio.clamp(1 / _RATIO, _RATIO) * soft).clamp(0, 1)


def without_defect(image: Tensor, mask: Tensor, normal: Tensor) -> Tensor:
    """Return a defect image without its defect: the twin that a defect image has only in a renderer.

    The hole that the defect leaves, grown until nothing of it is left, is filled from a normal image as bright as what
    surrounds it.

    Args:
        image: shows the defect, float ``[C, H, W]`` in [0, 1].
        mask: float ``[1, H, W]`` of 0 and 1.
        normal: fits around the mask, float ``[C, H, W]`` in [0, 1].
    """
    reach = max(2, mask.shape[-1] // _GROWN)
    hole = torch.nn.functional.max_pool2d(mask, 2 * reach + 1, stride=1, padding=reach)
    return paste_defect(normal, hole, image)


def _surroundings(image: Tensor, outside: Tensor) -> Tensor:
    """Return the brightness around each pixel, of pixels outside the defect; of all of them where none is near."""
    whole = (image * outside).sum(dim=(1, 2), keepdim=True) / outside.sum().clamp(min=1)
    weight = _blurred(outside, _NEAR)
    return (_blurred(image * outside, _NEAR) + _FAR_WEIGHT * whole) / (weight + _FAR_WEIGHT)


def _blurred(image: Tensor, sigma: float) -> Tensor:
    """Return ``[C, H, W]`` blurred; OpenCV's filter is separable and many times faster than torchvision's."""
    size = 2 * int(3 * sigma) + 1
    pixels = cv2.GaussianBlur(image.permute(1, 2, 0).contiguous().numpy(), (size, size), sigma)
    return torch.from_numpy(pixels.reshape(*image.shape[1:], -1)).permute(2, 0, 1)
