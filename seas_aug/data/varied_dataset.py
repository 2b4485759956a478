# SPDX-License-Identifier: Apache-2.0
"""The training sequence of both stages: the mixed sequence, images of which are varied anew each time."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from seas_aug.config import VariationConfig
from seas_aug.data.mixed_dataset import MixedDataset
from seas_aug.data.paste import paste_defect, without_defect
from seas_aug.data.seeds import derive_seed
from seas_aug.data.surroundings import misfit, ring
from seas_aug.data.variation import move_defect, vary_light, warp, zoom

_WINDOWS = 24  # normal windows of which a defect is copied onto the best fitting one
_REACH = 16  # the side divided by this is how far the surroundings of a defect reach


class VariedDataset(Dataset[dict[str, Any]]):
    """:class:`MixedDataset` with variations; item i depends on the seed and i alone.

    Args:
        mixed: where images, masks and normals come from.
        config: how much they are varied.
        seed: seed of the variations.
        start_item: position in the sequence of item 0.
        twins: give each anomaly image a ``twin_image`` without its defect.
    """

    def __init__(
        self, mixed: MixedDataset, config: VariationConfig, seed: int, start_item: int = 0, twins: bool = False
    ) -> None:
        self.mixed, self._twins = mixed, twins
        self._config, self._seed, self._start = config, seed, start_item
        self._candidates = _WINDOWS if mixed.pictures.are_windows else 1

    def __len__(self) -> int:
        return len(self.mixed)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return what :class:`MixedDataset` does; the index of a picture that was varied is -1.

        Such a picture never comes again, so that nothing about it is worth keeping.

        Args:
            index: 0 to ``len(self) - 1``.

        Raises:
            IndexError: ``index`` is outside of the dataset.
            SeasError: a file is missing or corrupt.
        """
        item = self.mixed[index]
        generator = torch.Generator().manual_seed(derive_seed(self._seed, "variation", self._start + index))
        image, mask, changed = self._bent(item["anomaly_image"] / 2 + 0.5, item["mask"], generator)
        pasted = float(torch.rand((), generator=generator)) < self._config.paste_share
        grounds = torch.randint(0, self.mixed.pictures.num_normals, (self._candidates,), generator=generator).tolist()
        twin: torch.Tensor | None = None
        if pasted or self._twins:
            # A normal of its own: the item's one is the counterexample and should differ by more than the defect.
            turn = self.mixed.draw(index).normal_augmentation
            ground = _best_fitting(image, mask, [self.mixed.normal(one, turn) / 2 + 0.5 for one in grounds])
        if pasted:
            surface, *_ = self._bent(ground, torch.zeros_like(mask), generator)
            if self._config.move:
                image, mask = move_defect(image, mask, generator)
            image, twin = paste_defect(image, mask, surface), surface
        elif self._twins:
            twin = without_defect(image, mask, ground)
        empty = torch.zeros_like(mask)
        normal, _, normal_changed = self._bent(item["normal_image"] / 2 + 0.5, empty, generator)
        if self._config.light:
            both = vary_light(image if twin is None else torch.cat([image, twin]), generator)  # under the same lamp
            image, twin = both[: len(image)], None if twin is None else both[len(image) :]
            normal = vary_light(normal, generator)
        varied: dict[str, Any] = {"anomaly_image": image * 2 - 1, "mask": mask, "normal_image": normal * 2 - 1}
        if changed or pasted or self._config.light:
            varied["anomaly_index"] = -1
        if normal_changed or self._config.light:
            varied["normal_index"] = -1
        if twin is not None and self._twins:
            varied["twin_image"] = twin * 2 - 1
        return {**item, **varied}

    def _bent(
        self, image: torch.Tensor, mask: torch.Tensor, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor, bool]:
        """Return image and mask, enlarged or bent or not, and whether they are."""
        zoomed, warped = torch.rand(2, generator=generator).tolist()
        if zoomed < self._config.zoom_share:
            image, mask = zoom(image, mask, self._config.smallest_zoom, generator)
        if warped < self._config.warp_share:
            image, mask = warp(image, mask, generator)
        return image, mask, zoomed < self._config.zoom_share or warped < self._config.warp_share


def _best_fitting(image: torch.Tensor, mask: torch.Tensor, normals: list[torch.Tensor]) -> torch.Tensor:
    """Return the normal picture ``[C, H, W]`` that looks most like what surrounds a defect."""
    marked = mask[0].numpy().astype(np.uint8)
    around = torch.from_numpy(ring(marked, max(2, len(marked) // _REACH))).bool()
    if len(normals) == 1 or not around.any():
        return normals[0]
    own, others = image[:, around].T.numpy(), torch.stack(normals)[:, :, around].transpose(1, 2).numpy()
    return normals[int(misfit(own, others).argmin())]
