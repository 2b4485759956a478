# SPDX-License-Identifier: Apache-2.0
"""The few-shot defects of a model, kept in its folder: shapes, and texture to start from, come from them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seas_aug.data.backdrop import find_backdrop, is_surrounded, share_on
from seas_aug.data.decode import read_mask, read_rgb, write_native
from seas_aug.data.windows import Box, defect_boxes
from seas_aug.draw.references import is_grey_picture
from seas_aug.errors import SeasError

SQUARES = "few_shot.safetensors"
FOLDER = "few_shot"
INDEX = "index.json"
_WITH_BACKDROP = 0.9  # share of the images, but for one, that has to have one, for the product to lie on it


class FilePictures(Sequence[NDArray[np.uint8]]):
    """Pictures in files, decoded when they are asked for.

    Args:
        files: image files.
        read: decodes one.

    Raises:
        SeasError: a file is missing.
    """

    def __init__(self, files: Sequence[Path], read: Callable[[Path], NDArray[np.uint8]]) -> None:
        missing = next((file for file in files if not file.is_file()), None)
        if missing is not None:
            raise SeasError(f"{missing} is missing; fine-tune again or copy the run folder anew.")
        self._files, self._read = tuple(files), read

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: Any) -> Any:
        return self._read(self._files[index])


@dataclass(frozen=True)
class Defect:
    """One defect of a few-shot image.

    Attributes:
        member: number of the image.
        box: where it is.
        anomaly_type: its type.
    """

    member: int
    box: Box
    anomaly_type: str


@dataclass(frozen=True, eq=False)
class FewShotDefects:
    """Real defect images with their masks, at their own size (as squares, for a model that sees whole images).

    Attributes:
        images: uint8 ``[H, W, 3]`` each.
        masks: uint8 ``[H, W]`` of 0 and 1 each.
        anomaly_types: the type of each.
        names: where each came from.
        rotate: whether copies are turned by quarters, as in training.
        flip: whether copies are mirrored, as in training.
    """

    images: Sequence[NDArray[np.uint8]] | NDArray[np.uint8]
    masks: Sequence[NDArray[np.uint8]] | NDArray[np.uint8]
    anomaly_types: tuple[str, ...]
    names: tuple[str, ...]
    rotate: bool = False
    flip: bool = True

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def defects(self) -> tuple[Defect, ...]:
        """Every defect of every image; parts that lie close together are one."""
        return tuple(
            Defect(member, box, self.anomaly_types[member])
            for member, mask in enumerate(self.masks)
            for box in defect_boxes(np.ascontiguousarray(mask))
        )

    @cached_property
    def is_grey(self) -> bool:
        """Whether no image has any colour."""
        return all(is_grey_picture(image) for image in self.images)

    @cached_property
    def on_backdrop(self) -> dict[Defect, float]:
        """Share of each defect that lies on the backdrop of its image; empty where the product lies on none.

        Also empty where a defect has nothing but the backdrop around it: then that is part of the product.
        """
        found = [find_backdrop(image) for image in self.images]
        if sum(one is not None for one in found) < _WITH_BACKDROP * len(found) - 1:
            return {}
        shares = dict.fromkeys(self.defects, 1.0)
        for member, (backdrop, mask) in enumerate(zip(found, self.masks, strict=True)):
            if backdrop is None:
                continue
            for defect in (one for one in self.defects if one.member == member):
                own = np.zeros_like(mask)
                defect.box.cut(own)[:] = defect.box.cut(mask)
                if is_surrounded(backdrop, own):
                    return {}
                shares[defect] = share_on(backdrop, own)
        return shares

    def of_type(self, anomaly_type: str) -> list[Defect]:
        """Return the defects of a type."""
        return [defect for defect in self.defects if defect.anomaly_type == anomaly_type]

    def save(self, folder: Path) -> None:
        """Write images and masks into a model folder, as PNG; squares of one size as safetensors."""
        plain = {"types": self.anomaly_types, "names": self.names, "rotate": self.rotate, "flip": self.flip}
        if isinstance(self.images, np.ndarray) and isinstance(self.masks, np.ndarray):
            from safetensors.numpy import save_file

            parts = {"images": self.images.transpose(0, 3, 1, 2), "masks": self.masks[:, None]}
            contiguous = {name: np.ascontiguousarray(part) for name, part in parts.items()}
            save_file(contiguous, folder / SQUARES, {"defects": json.dumps(plain)})
            return
        target = folder / FOLDER
        target.mkdir(parents=True, exist_ok=True)
        for number, (image, mask) in enumerate(zip(self.images, self.masks, strict=True)):
            (target / f"{number:05d}.png").write_bytes(write_native(image))
            (target / f"{number:05d}_mask.png").write_bytes(write_native(mask * np.uint8(255)))
        (target / INDEX).write_text(json.dumps(plain) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> FewShotDefects | None:
        """Read the defects of a model folder; None where it has none.

        Raises:
            SeasError: a file is damaged or missing.
        """
        from safetensors import SafetensorError, safe_open

        squares, index = folder / SQUARES, folder / FOLDER / INDEX
        try:
            images: Any
            masks: Any
            if squares.is_file():
                with safe_open(squares, framework="np") as file:
                    plain = json.loads(file.metadata()["defects"])
                    images, masks = file.get_tensor("images").transpose(0, 2, 3, 1), file.get_tensor("masks")[:, 0]
            elif index.is_file():
                plain = json.loads(index.read_text(encoding="utf-8"))
                numbers = range(len(plain["names"]))
                images = FilePictures([folder / FOLDER / f"{number:05d}.png" for number in numbers], read_rgb)
                masks = FilePictures([folder / FOLDER / f"{number:05d}_mask.png" for number in numbers], read_mask)
            else:
                return None
            if not len(images) == len(masks) == len(plain["types"]) == len(plain["names"]):
                raise ValueError("its lists differ in length")
            return cls(images, masks, tuple(plain["types"]), tuple(plain["names"]), plain["rotate"], plain["flip"])
        except (SafetensorError, OSError, ValueError, LookupError, TypeError) as error:
            path = squares if squares.is_file() else index
            message = f"{path} is damaged ({error}); fine-tune again or copy the run folder anew."
            raise SeasError(message) from error
