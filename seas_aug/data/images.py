# SPDX-License-Identifier: Apache-2.0
"""Images and masks as squares of one size, and the check that an image and its mask fit together."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from seas_aug.config import Resize
from seas_aug.data.category import DefectSample
from seas_aug.data.decode import read_mask, read_rgb
from seas_aug.errors import SeasError

if TYPE_CHECKING:
    from seas_aug.data.few_shot import FewShotSplit


def load_image(path: Path, size: int, resize: Resize) -> torch.Tensor:
    """Load an image as a square, antialiased when made smaller and bicubic when made larger.

    Args:
        path: image file of any size.
        size: side of the square in pixels.
        resize: ``squash`` scales both sides, ``crop`` scales the shorter side and cuts the centre out.

    Returns:
        uint8 [3, size, size] in RGB order.

    Raises:
        SeasError: the file is missing or corrupt.
    """
    decoded = read_rgb(path)
    width, height = _scaled_size(decoded, size, resize)
    pixels = _shrink(decoded, width, height)
    if (pixels.shape[1], pixels.shape[0]) != (width, height):
        pixels = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_CUBIC)
    return torch.from_numpy(np.ascontiguousarray(_centre(pixels, size).transpose(2, 0, 1)).copy())


def load_mask(path: Path, size: int, resize: Resize) -> torch.Tensor:
    """Load a mask as a square without losing small or thin defects.

    Args:
        path: mask file of any size.
        size: side of the square in pixels.
        resize: as for the image.

    Returns:
        uint8 [1, size, size] of 0 and 1, never all 0.

    Raises:
        SeasError: the file is missing, corrupt or empty, or the centre crop cuts the whole defect away.
    """
    mask = read_mask(path)
    if not mask.any():
        raise SeasError(_empty_mask(path))
    width, height = _scaled_size(mask, size, resize)
    square = _centre(resize_mask(mask, width, height), size)
    if not square.any():
        message = (
            f"{path}: the centre crop cuts the whole defect away; expected part of it inside, set data.resize to "
            "squash or leave the image out."
        )
        raise SeasError(message)
    return torch.from_numpy(np.ascontiguousarray(square)[None].copy())


def resize_mask(mask: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """Resize a mask by covered area so that a thin crack stays a line and a tiny spot stays a pixel.

    A pixel of the smaller grid is defect if the defect covers at least half as much of it as of the most covered
    pixel among its eight neighbours and itself. Inside and along a large defect that is the usual threshold of one
    half; on a crack narrower than a pixel it follows the crack. Enlarging repeats pixels.

    Args:
        mask: uint8 [H, W] of 0 and 1.
        width: new width in pixels.
        height: new height in pixels.

    Returns:
        uint8 [height, width] of 0 and 1; not all 0 unless ``mask`` is.
    """
    coverage = _shrink(mask.astype(np.float32), width, height)
    largest = cv2.dilate(coverage, np.ones((3, 3), np.uint8))
    small = ((coverage > 0) & (coverage >= 0.5 * largest - 1e-6)).astype(np.uint8)
    if small.shape == (height, width):
        return small
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_NEAREST_EXACT), dtype=np.uint8)


def check_pair(sample: DefectSample) -> None:
    """Check that image and mask can be read, have the same size, and that the mask marks a defect.

    Args:
        sample: image and mask files.

    Raises:
        SeasError: a file is missing or corrupt, the sizes differ, or the mask is empty.
    """
    if not sample.mask.is_file():
        message = f"{sample.mask}: the mask of {sample.image} is missing; expected a mask image, add it or take the "
        raise SeasError(message + "image away.")
    image, mask = read_rgb(sample.image), read_mask(sample.mask)
    if image.shape[:2] != mask.shape:
        message = (
            f"{sample.mask}: the mask is {mask.shape[1]}x{mask.shape[0]} pixels and its image {sample.image} "
            f"{image.shape[1]}x{image.shape[0]}; expected the same size, draw or export the mask again."
        )
        raise SeasError(message)
    if not mask.any():
        raise SeasError(_empty_mask(sample.mask))


def check_category_images(split: FewShotSplit, normals: Iterable[Path]) -> None:
    """Open every image that fine-tuning will use, so that a bad file is reported before training and not during it.

    Args:
        split: its few-shot pairs are checked with :func:`check_pair`.
        normals: normal images, checked to be readable.

    Raises:
        SeasError: for the first bad file.
    """
    for samples in split.few_shot.values():
        for sample in samples:
            check_pair(sample)
    for path in normals:
        read_rgb(path)


def to_model_range(image: torch.Tensor) -> torch.Tensor:
    """Map uint8 pixels to the range of the autoencoder.

    Args:
        image: uint8 of any shape.

    Returns:
        float32 in [-1, 1] of the same shape.
    """
    return image.to(torch.float32) / 127.5 - 1.0


def from_model_range(image: torch.Tensor) -> torch.Tensor:
    """Map the autoencoder's range back to pixels; values outside of it are clipped.

    Args:
        image: float in [-1, 1] of any shape.

    Returns:
        uint8 of the same shape.
    """
    return ((image.float() + 1.0) * 127.5).round().clamp(0, 255).to(torch.uint8)


def _empty_mask(path: Path) -> str:
    return f"{path}: the mask is empty (all black); expected the defect in white, draw it or take the image away."


def _scaled_size(pixels: NDArray[Any], size: int, resize: Resize) -> tuple[int, int]:
    if resize == "squash":
        return size, size
    height, width = pixels.shape[:2]
    scale = size / min(height, width)
    return max(size, round(width * scale)), max(size, round(height * scale))


def _shrink(pixels: NDArray[Any], width: int, height: int) -> NDArray[Any]:
    """Average over areas along each side that gets smaller; leave the other side alone."""
    smaller = (min(width, pixels.shape[1]), min(height, pixels.shape[0]))
    if smaller == (pixels.shape[1], pixels.shape[0]):
        return pixels
    return cv2.resize(pixels, smaller, interpolation=cv2.INTER_AREA)


def _centre(pixels: NDArray[Any], size: int) -> NDArray[Any]:
    top, left = (pixels.shape[0] - size) // 2, (pixels.shape[1] - size) // 2
    return pixels[top : top + size, left : left + size]
