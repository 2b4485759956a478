# SPDX-License-Identifier: Apache-2.0
"""A picture of what was drawn: reference, paste, drawing, normal fill and mask of some places of each type."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.drawing.material import Material
from seas_aug.evaluate.window_set import WindowSet
from seas_aug.report.contact_sheet import Cell, Picture, Row, save_contact_sheet
from seas_aug.report.pictures import flat_picture, image_picture, spread

_COLUMNS, _TILE = 8, 96
_LINES = ("real unseen", "reference", "placed paste", "drawn", "normal fill", "mask", "given mask")


def save_sheet(path: Path, material: Material, heading: str) -> None:
    """Write a PNG with a row per type.

    Args:
        path: file to write.
        material: what was drawn.
        heading: a line above everything.
    """
    given = material.drawn.masks if material.given_masks is None else material.given_masks
    rows = []
    for name in material.drawn.anomaly_types:
        places = [row for row, kind in enumerate(material.drawn.types) if kind == name]
        chosen = spread(places, _COLUMNS)
        pictures = [material.references.images, material.placed.images, material.drawn.images, material.null[0]]
        lines = [_real(material.unseen.of_type(name))]
        lines += [tuple(_picture(images[row]) for row in chosen) for images in pictures]
        lines += [tuple(_mask(masks[row]) for row in chosen) for masks in (material.drawn.masks, given)]
        rows.append(Row(name, (Cell(tuple(lines), _LINES),)))
    save_contact_sheet(path, ["windows as they are decoded"], rows, _TILE, heading)


def _real(windows: WindowSet) -> tuple[Picture, ...]:
    return tuple(_picture(image) for image in spread(list(windows.images), _COLUMNS))


def _picture(image: NDArray[np.uint8]) -> Picture:
    return image_picture(torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1).float() / 255, _TILE)


def _mask(mask: NDArray[np.uint8]) -> Picture:
    return flat_picture(torch.from_numpy(mask)[None].float(), _TILE)
