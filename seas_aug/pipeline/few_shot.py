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

FILE_NAME = "few_shot.safetensors"
_SMALLEST_ZOOM = 0.7  # as much as mask training enlarges


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
        """Return a reference with one defect of each of some types, turned and enlarged at random.

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
            chosen = members[int(torch.randint(len(members), (), generator=generator))]
            turn = draw_augmentation(generator, self.rotate, self.flip)
            defect, mask = (
                apply_augmentation(part, turn) for part in (self.images[chosen].float() / 255, self.masks[chosen])
            )
            defect, mask = zoom(defect, mask.float(), _SMALLEST_ZOOM, generator)
            image, area = paste_defect(defect, mask, image), torch.maximum(area, mask)
            names.append(self.names[chosen])
        return (image * 255).round().to(torch.uint8), area, tuple(names)

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
