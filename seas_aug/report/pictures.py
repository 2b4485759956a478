# SPDX-License-Identifier: Apache-2.0
"""Turn images, masks and maps into equally large RGB pictures for sheets and pages."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from seas_aug.data.images import load_image, load_mask
from seas_aug.report.contact_sheet import Picture

Item = TypeVar("Item")
_OUTLINE = (255, 40, 40)


def picture_of(path: Path, tile: int) -> Picture:
    """Read an image file as uint8 ``[tile, tile, 3]``, RGB."""
    return np.ascontiguousarray(load_image(path, tile, "squash").permute(1, 2, 0).numpy())


def mask_picture(path: Path, tile: int) -> Picture:
    """Read a mask file as black and white uint8 ``[tile, tile, 3]``."""
    return flat_picture(load_mask(path, tile, "squash").float(), tile)


def flat_picture(values: torch.Tensor, tile: int) -> Picture:
    """Turn ``[1, H, W]`` in [0, 1] (a mask or a map) into grey uint8 ``[tile, tile, 3]``."""
    grey = (values[0].clamp(0, 1).cpu().numpy() * 255).round().astype(np.uint8)
    return np.repeat(_resized(grey, tile)[..., None], 3, axis=2)


def image_picture(values: torch.Tensor, tile: int) -> Picture:
    """Turn ``[3, H, W]`` in [0, 1] into uint8 ``[tile, tile, 3]``, RGB."""
    pixels = (values.clamp(0, 1).cpu() * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    return _resized(np.ascontiguousarray(pixels), tile)


def heat_picture(values: torch.Tensor, tile: int, highest: float = 1.0) -> Picture:
    """Colour a map, from dark blue (0) to yellow (``highest`` and above).

    Args:
        values: ``[1, H, W]``, 0 or more.
        tile: side of the picture.
        highest: value that is drawn brightest.
    """
    share = (values[0] / max(highest, 1e-12)).clamp(0, 1).cpu().numpy()
    grey = _resized((share * 255).round().astype(np.uint8), tile)
    return np.ascontiguousarray(cv2.applyColorMap(grey, cv2.COLORMAP_INFERNO)[..., ::-1])


def outlined(picture: Picture, mask: Picture) -> Picture:
    """Draw the outline of a mask over a picture.

    Args:
        picture: uint8 ``[tile, tile, 3]``.
        mask: black and white uint8 ``[tile, tile, 3]``.

    Returns:
        A new picture.
    """
    contours, _ = cv2.findContours((mask[..., 0] > 127).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    drawn = picture.copy()
    cv2.drawContours(drawn, contours, -1, _OUTLINE, 1)
    return drawn


def spread(items: Sequence[Item], count: int) -> list[Item]:
    """Return up to ``count`` items, evenly spread over the sequence."""
    if len(items) <= count:
        return list(items)
    return [items[int(position)] for position in np.linspace(0, len(items) - 1, count).round()]


def _resized(pixels: NDArray[np.uint8], tile: int) -> Picture:
    if pixels.shape[:2] == (tile, tile):
        return pixels
    way = cv2.INTER_AREA if pixels.shape[0] > tile else cv2.INTER_NEAREST_EXACT
    return np.asarray(cv2.resize(pixels, (tile, tile), interpolation=way), dtype=np.uint8)
