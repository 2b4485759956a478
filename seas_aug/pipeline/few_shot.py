# SPDX-License-Identifier: Apache-2.0
"""The few-shot defects of a model, and copies of them on reference images for its sampling to start from.

Not part of the paper, which starts from a normal image alone: Stable Diffusion invents a defect out of noise, a small
base cannot. It starts from a copied defect, at little noise, and draws that anew.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from seas_aug.data.augmentation import apply_augmentation, draw_augmentation
from seas_aug.data.variation import paste_defect, zoom
from seas_aug.errors import SeasError
from seas_aug.pipeline.placement import find_place, shifted, turned

FILE_NAME = "few_shot.safetensors"
_SMALLEST_ZOOM = 0.7  # as much as mask training enlarges
_ZOOMED = 0.7  # share of the copies that are enlarged
_LARGEST_TURN = 25.0  # degrees; products lie a little differently in every image
_CANDIDATES = 32  # copies that are tried; if none fits, as many more that are turned a little
_FITS = 0.3  # misfit of the surroundings
_TOLERATED = 1.3  # times the least misfit, where nothing fits, as on gravel


@dataclass(frozen=True)
class FewShotDefects:
    """Real defects with their masks, at the size of the model, kept in the model folder.

    Attributes:
        images: uint8 ``[M, 3, H, W]``.
        masks: uint8 ``[M, 1, H, W]`` of 0 and 1.
        anomaly_types: the type of each.
        names: where each came from.
        rotate: whether copies are turned, as in training.
        flip: whether copies are mirrored, as in training.
    """

    images: Tensor
    masks: Tensor
    anomaly_types: tuple[str, ...]
    names: tuple[str, ...]
    rotate: bool = False
    flip: bool = True

    def __len__(self) -> int:
        return len(self.names)

    def copy_onto(
        self, reference: Tensor, anomaly_types: tuple[str, ...], generator: torch.Generator
    ) -> tuple[Tensor, Tensor, tuple[str, ...]]:
        """Return a reference with one defect of each of some types, turned and enlarged at random, where it fits.

        Random copies are tried until one lies in surroundings like those of its own image; where nothing is like
        anything, as on gravel, nearly any will do.

        Args:
            reference: normal image, uint8 ``[3, H, W]``.
            anomaly_types: types to copy a defect of, one after the other.
            generator: source of randomness.

        Returns:
            The image, uint8 ``[3, H, W]``; where the defects are, float32 ``[1, H, W]`` of 0 and 1; and the names of
            the images that they come from.
        """
        image, area, names = reference.float() / 255, torch.zeros(1, *reference.shape[-2:]), []
        for anomaly_type in anomaly_types:
            members = [index for index, name in enumerate(self.anomaly_types) if name == anomaly_type]
            chosen, defect, mask = self._draw_fitting_copy(members, image, generator)
            image, area = paste_defect(defect, mask, image), torch.maximum(area, mask)
            names.append(self.names[chosen])
        return (image * 255).round().to(torch.uint8), area, tuple(names)

    def _draw_fitting_copy(
        self, members: list[int], reference: Tensor, generator: torch.Generator
    ) -> tuple[int, Tensor, Tensor]:
        """Return the first of some random copies that fits, or nearly the best of them; where it fits."""
        drawn = []
        for number in range(2 * _CANDIDATES):
            chosen, defect, mask = self._draw_copy(members, number >= _CANDIDATES, generator)
            place = find_place(defect, mask, reference)
            drawn.append((place.misfit, chosen, defect, mask, place))
            if place.misfit <= _FITS:
                break
        enough = max(_FITS, _TOLERATED * min(misfit for misfit, *_ in drawn))
        _, chosen, defect, mask, place = next(copy for copy in drawn if copy[0] <= enough)
        return chosen, shifted(defect, place.down, place.right), shifted(mask, place.down, place.right)

    def _draw_copy(
        self, members: list[int], turn_freely: bool, generator: torch.Generator
    ) -> tuple[int, Tensor, Tensor]:
        """Return a member, its image and its mask, mirrored at random; some enlarged, or turned by any small angle."""
        chosen = members[int(torch.randint(len(members), (), generator=generator))]
        turn = draw_augmentation(generator, self.rotate, self.flip)
        defect, mask = (
            apply_augmentation(part, turn) for part in (self.images[chosen].float() / 255, self.masks[chosen].float())
        )
        chance, angle = torch.rand(2, generator=generator).tolist()
        if turn_freely:
            defect, mask = turned(defect, mask, _LARGEST_TURN * (2 * angle - 1))
        elif chance < _ZOOMED:
            defect, mask = zoom(defect, mask, _SMALLEST_ZOOM, generator)
        return chosen, defect, mask

    def save(self, folder: Path) -> None:
        """Write images and masks as safetensors, the rest as metadata."""
        from safetensors.torch import save_file

        plain = {"types": self.anomaly_types, "names": self.names, "rotate": self.rotate, "flip": self.flip}
        parts = {"images": self.images.contiguous(), "masks": self.masks.contiguous()}
        save_file(parts, folder / FILE_NAME, {"defects": json.dumps(plain)})

    @classmethod
    def load(cls, folder: Path) -> FewShotDefects | None:
        """Read the defects of a model folder; None where it has none.

        Raises:
            SeasError: the file is damaged.
        """
        from safetensors import SafetensorError, safe_open

        path = folder / FILE_NAME
        if not path.is_file():
            return None
        try:
            with safe_open(path, framework="pt") as file:
                plain = json.loads(file.metadata()["defects"])
                parts = (file.get_tensor("images"), file.get_tensor("masks"))
            return cls(*parts, tuple(plain["types"]), tuple(plain["names"]), plain["rotate"], plain["flip"])
        except (SafetensorError, OSError, ValueError, LookupError, TypeError) as error:
            message = f"{path} is damaged ({error}); fine-tune again or copy the run folder anew."
            raise SeasError(message) from error
