# SPDX-License-Identifier: Apache-2.0
"""Pictures of a part of a large image, pixel for pixel where it fits, and of the whole of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from seas_aug.data.category import DefectSample
from seas_aug.data.decode import read_mask, read_rgb
from seas_aug.data.pictures import defect_window
from seas_aug.data.windows import Window, view, view_mask, window
from seas_aug.report.contact_sheet import Picture
from seas_aug.report.pictures import heat_picture, outlined

_QUALITY = 90  # of JPEG


@dataclass(frozen=True)
class Closeup:
    """A square of an image, shown as a picture of ``tile`` pixels.

    Attributes:
        place: the square.
        shape: height and width of the image.
        tile: side of the picture.
    """

    place: Window
    shape: tuple[int, int]
    tile: int

    @classmethod
    def of_sample(cls, sample: DefectSample, sides: tuple[int, ...], tile: int) -> Closeup:
        """Return the square in which a model that draws in windows sees a defect; the whole for another model."""
        height, width = read_mask(sample.mask).shape
        place = defect_window(sample, sides) if sides else window(0, 0, max(height, width), (height, width))
        return cls(place, (height, width), tile)

    def image(self, path: Path) -> Picture:
        """Return that part of an image file."""
        return view(read_rgb(path), self.place, self.tile)

    def mask(self, path: Path) -> Picture:
        """Return that part of a mask file in black and white."""
        marked = view_mask(read_mask(path), self.place, self.tile) * np.uint8(255)
        return np.repeat(marked[..., None], 3, axis=2)

    def heat(self, values: torch.Tensor) -> Picture:
        """Return that part of a map of the whole image, ``[1, h, w]`` in [0, 1] of any size, in colours."""
        height, width = self.shape
        whole = cv2.resize(values[0].float().cpu().numpy(), (width, height), interpolation=cv2.INTER_LINEAR)
        return heat_picture(torch.from_numpy(np.ascontiguousarray(self.place.cut(whole)))[None], self.tile)


def whole_picture(image: Path, mask: Path) -> Picture:
    """Return a whole image at its own size, uint8 ``[H, W, 3]``, with the outline of its mask."""
    marked = read_mask(mask) * np.uint8(255)
    # One pixel outside of the defect, so that the defect itself can be seen.
    grown: NDArray[np.uint8] = np.asarray(cv2.dilate(marked, np.ones((7, 7), np.uint8)), dtype=np.uint8)
    return outlined(read_rgb(image), np.repeat(grown[..., None], 3, axis=2))


def jpeg_of(picture: Picture) -> bytes:
    """Return a picture uint8 ``[H, W, 3]``, RGB, as a JPEG file: a large one is too much for PNG inside a page."""
    return bytes(cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1])
