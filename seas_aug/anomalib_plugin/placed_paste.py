# SPDX-License-Identifier: Apache-2.0
"""Few-shot defects pasted where SeaS would draw them, without any diffusion: what drawing itself has to beat.

Shapes, places, light and number are those of the first draws of ``seas-aug generate`` with the same seed, for
runs with default windows and turns; only what a defect is filled with differs.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.transforms.v2 import functional as transforms

from seas_aug.anomalib_plugin.pool import TriplePool
from seas_aug.anomalib_plugin.sources import Triple
from seas_aug.config import DataConfig, DrawConfig
from seas_aug.data.decode import as_rgb, read_mask, read_rgb
from seas_aug.data.few_shot import FewShotSplit
from seas_aug.data.images import resize_mask
from seas_aug.data.pictures import needed_sides
from seas_aug.draw.attempt import RETRY_STRIDE
from seas_aug.draw.compose import Composer, put_copies
from seas_aug.draw.control import Control
from seas_aug.draw.few_shot import FewShotDefects, FilePictures
from seas_aug.draw.place import Surface
from seas_aug.draw.references import FileReferences, named
from seas_aug.errors import SeasError
from seas_aug.generate.plan import PlannedImage, plan_image, resolve_types

_SIDE = 128  # of the embedded base's pictures; windows only decide which seeds have room
_TRIED = 9  # a first time, and as often again as the gate lets a pair be drawn


class PlacedPastePool(TriplePool[PlannedImage]):
    """Few-shot defects on normal images, where their surroundings fit; made when they are drawn, and kept.

    Args:
        split: few-shot defects with masks.
        normals: normal images to paste on.
        anomaly_types: only these types (``a+b`` for recombined ones); None takes all of them.
        num_images: pastes of each type.
        seed: base seed, as of ``seas-aug generate``.
        drawing: region, masks, count, size and severity.

    Raises:
        SeasError: an unknown type, no defect, or no normal image.
    """

    def __init__(
        self,
        split: FewShotSplit,
        normals: Sequence[Path],
        anomaly_types: Sequence[str] | None = None,
        num_images: int = 100,
        seed: int = 0,
        drawing: DrawConfig | None = None,
    ) -> None:
        if not split.samples or not normals:
            message = "placed_paste saw no few-shot defect or no normal image; it needs at least one of each."
            raise SeasError(message)
        samples, settings = split.samples, drawing or DrawConfig()
        self._few_shot = FewShotDefects(
            FilePictures([sample.image for sample in samples], read_rgb),
            FilePictures([sample.mask for sample in samples], read_mask),
            tuple(sample.anomaly_type for sample in samples),
            tuple(str(sample.image) for sample in samples),
        )
        self._references, self._settings = FileReferences(normals), settings
        self._sides = needed_sides(split, DataConfig(), _SIDE)
        self._control = Control(settings.region, settings.masks, None)
        wanted = None if anomaly_types is None else [name.split("+") for name in anomaly_types]
        indices = self._control.with_masks(self._references.names, named(self._references, settings.references))
        entries = [
            plan_image(names, index, seed, indices)
            for names in resolve_types(wanted, split.anomaly_types)
            for index in range(num_images)
        ]
        super().__init__(entries)
        self.anomaly_types = tuple(sorted({entry.folder for entry in entries}))
        height, width = read_rgb(normals[0]).shape[:2]
        self.native_size = (int(height), int(width))

    def _make(self, entry: PlannedImage, size: tuple[int, int]) -> Triple:
        reference = as_rgb(self._references.native(entry.reference))
        image, mask = self._paste(entry, reference)
        parts = [torch.from_numpy(part.copy()).permute(2, 0, 1) for part in (image, reference)]
        shown, clean = (transforms.resize(part, list(size), antialias=True).contiguous() for part in parts)
        return shown, torch.from_numpy(resize_mask(mask, size[1], size[0]).copy())[None], clean

    def _paste(self, entry: PlannedImage, reference: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Return image and mask; with the next seed of its own sequence where there is no room for a defect."""
        composer = Composer(self._few_shot, entry.anomaly_types, self._sides, self._settings)
        name = self._references.names[entry.reference]
        surface = Surface(reference, self._control.region(name, reference.shape))
        for retry in range(_TRIED):
            seed = entry.seed + retry * RETRY_STRIDE
            if self._control.gives_masks:
                mask = self._control.mask(entry.index, name, reference.shape)
                spots = composer.spots_of_mask(seed, surface, mask)
            else:
                spots = composer.spots(seed, surface)
            height, width = reference.shape[:2]
            image, marked = reference, np.zeros((height, width), np.uint8)
            for spot in spots:
                image = put_copies(image, spot, self._settings.severity)
                marked |= spot.area(height, width)
            if marked.any():
                return image, marked
        message = f"there is no room for {entry.folder} on {name}; allow another region or a smaller size."
        raise SeasError(message)
