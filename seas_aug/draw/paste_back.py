# SPDX-License-Identifier: Apache-2.0
"""Step 4 of drawing: what was drawn in a window goes back into the full-size image, and nothing else changes.

Not part of the paper. An autoencoder smooths the grain of a surface a little and diffusion some more, all over the
picture, so that generated images could be told from real ones without looking at the defect.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from seas_aug.data.windows import Window, scale_pixels

_FADE = 8  # of the side of a normal window that fades into the image
_FEATHER = 128  # the rim that fades into the reference: this fraction of the window's side, one pixel at least


def rim(mask: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return how much of what was drawn is taken: all of it inside the mask, less and less over a narrow rim.

    The rim is as narrow as it can be without an edge. A wider one is drawn too, so smoother than the surface beyond it:
    a network may learn that smooth strip, which no mask tells of, in place of the defect.

    Args:
        mask: uint8 ``[side, side]`` of 0 and 1.

    Returns:
        float32 ``[side, side]`` in [0, 1]; 0 further than a 128th of the side (at least a pixel) from the mask.
    """
    reach = max(1, mask.shape[0] // _FEATHER)
    marked = mask.astype(np.float32)
    size = (2 * reach + 1, 2 * reach + 1)
    # Means over what lies inside the window only, so that a defect at its border is not faded there.
    total = cv2.boxFilter(marked, -1, size, normalize=False, borderType=cv2.BORDER_CONSTANT)
    pixels = cv2.boxFilter(np.ones_like(marked), -1, size, normalize=False, borderType=cv2.BORDER_CONSTANT)
    return np.maximum(total / pixels, marked)


def fade(place: Window, height: int, width: int) -> NDArray[np.float32]:
    """Return how much of a redrawn normal window is taken: less towards those of its sides that lie inside the image.

    Args:
        place: the window.
        height: rows of the image.
        width: columns of the image.

    Returns:
        float32 ``[side, side]`` in (0, 1].
    """
    side = place.side
    ramp = np.minimum((np.arange(side, dtype=np.float32) + 1) / max(1, side // _FADE), 1)
    lines = []
    for first, whole in ((place.top, height), (place.left, width)):
        before = ramp if first > 0 else np.ones_like(ramp)
        behind = ramp[::-1] if first + side < whole else np.ones_like(ramp)
        lines.append(before * behind)
    return lines[0][:, None] * lines[1][None]


def carried_over(start: NDArray[np.uint8], seen: NDArray[np.uint8], drawn: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return a window at full size as it was drawn: what the model changed is added to the start.

    So detail that is finer than the model's picture stays that of the start. In a window as large as that picture the
    result is the drawn picture itself.

    Args:
        start: what was drawn on, uint8 ``[side, side, 3]``.
        seen: the same as the model saw it, uint8 ``[S, S, 3]``.
        drawn: what it made of it, uint8 ``[S, S, 3]``.

    Returns:
        float32 ``[side, side, 3]`` in [0, 255].
    """
    change = drawn.astype(np.float32) - seen
    side = start.shape[0]
    return np.clip(start + scale_pixels(change, side, side), 0, 255)


def paste_back(
    image: NDArray[np.uint8], place: Window, window: NDArray[np.float32], weight: NDArray[np.float32] | None
) -> None:
    """Put a window into an image, in place.

    Args:
        image: uint8 ``[H, W, 3]``.
        place: where the window is.
        window: float32 ``[side, side, 3]`` in [0, 255].
        weight: float32 ``[side, side]`` in [0, 1]; where it is 0 the image stays as it is. None means 1.
    """
    before = place.cut(image).astype(np.float32)
    after = window if weight is None else before + (window - before) * weight[..., None]
    place.cut(image)[:] = np.clip(np.rint(after), 0, 255).astype(np.uint8)


def in_own_format(native: NDArray[Any], before: NDArray[np.uint8], after: NDArray[np.uint8]) -> NDArray[Any]:
    """Return an image with its own depth and channels; where nothing was drawn, its own bits.

    Args:
        native: the reference, uint8 or uint16, ``[H, W]`` or ``[H, W, C]`` in RGB order; alpha stays as it is.
        before: the same, uint8 ``[H, W, 3]``.
        after: what was drawn on it, uint8 ``[H, W, 3]``.
    """
    changed = (after != before).any(axis=-1)
    result = native.copy()
    rows, columns = np.nonzero(changed)
    change = after[rows, columns].astype(np.float32) - before[rows, columns]
    grey = native.ndim == 2 or native.shape[2] < 3
    colours = change.mean(axis=1, keepdims=True) if grey else change
    step, most = (257.0, 65535.0) if native.dtype == np.uint16 else (1.0, 255.0)
    plane = result[..., None] if native.ndim == 2 else result[..., : colours.shape[1]]
    moved = plane[rows, columns] + np.rint(colours * step)
    plane[rows, columns] = np.clip(moved, 0, most).astype(native.dtype)
    return result
