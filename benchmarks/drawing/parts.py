# SPDX-License-Identifier: Apache-2.0
"""Where the part is in an image of a product that shows parts on a background."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from benchmarks.drawing.drawer import Pixels, Proposal
from benchmarks.drawing.products import Product
from seas_aug.data.decode import read_mask, read_rgb
from seas_aug.data.windows import view_mask, window
from seas_aug.errors import SeasError

_CLOSED = 9  # pixels: glints of a dark part are no holes in it


def find_part(product: Product, image: Path) -> Pixels | None:
    """Return where the part is.

    The rendered product's masks come with it. A dark part on a bright ground is told by Otsu's threshold, so that
    what is measured is not what the package itself goes by (:mod:`seas_aug.data.backdrop`).

    Args:
        product: what the image shows.
        image: file in MVTec AD's layout.

    Returns:
        uint8 ``[H, W]`` of 0 and 1; None for a product that fills its images.

    Raises:
        SeasError: the product's mask of its part is missing.
    """
    if product.parts == "none":
        return None
    if product.parts == "dark":
        grey = cv2.GaussianBlur(np.ascontiguousarray(read_rgb(image)[..., 0]), (5, 5), 0)
        _, dark = cv2.threshold(grey, 0, 1, cv2.THRESH_BINARY_INV + cv2.THRESH_OTSU)
        closed = cv2.morphologyEx(dark, cv2.MORPH_CLOSE, np.ones((_CLOSED, _CLOSED), np.uint8))
        outlines, _ = cv2.findContours(closed, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        part = np.zeros_like(dark)
        if outlines:
            cv2.drawContours(part, [max(outlines, key=cv2.contourArea)], -1, 1, -1)
        return np.asarray(part, dtype=np.uint8)
    split, folder = image.parts[-3:-1]
    path = image.parents[2] / "support" / f"{split}_{folder}" / "good" / f"{image.stem}.png"
    if not path.is_file():
        raise SeasError(f"{path} is missing, the mask of the part; render the product again.")
    return read_mask(path)


def part_windows(product: Product, proposals: Sequence[Proposal]) -> list[Pixels | None]:
    """Return where the part is in the window of each proposal, uint8 ``[S, S]`` of 0 and 1; None where not known."""
    return [_part_window(product, one) for one in proposals]


def _part_window(product: Product, one: Proposal) -> Pixels | None:
    part = None if one.window is None else find_part(product, Path(one.reference_name))
    if part is None or one.window is None:
        return None
    return view_mask(part, window(*one.window, part.shape), one.mask.shape[0])
