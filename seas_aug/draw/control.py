# SPDX-License-Identifier: Apache-2.0
"""What the user says about where: regions and masks for references of any size."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray

from seas_aug.config import Resize
from seas_aug.data.category import list_images
from seas_aug.data.decode import read_mask
from seas_aug.data.images import load_mask
from seas_aug.errors import SeasError


class Control:
    """Regions and masks, read when they are needed.

    Args:
        region: image file for all references, or folder with one for each, named as they are; None allows everything.
        masks: folder of masks, or one file; None leaves shapes free.
        square: side in pixels and way of scaling, for a model that sees whole images; None for images as they are.

    Raises:
        SeasError: a file or folder is missing or empty.
    """

    def __init__(self, region: Path | None, masks: Path | None, square: tuple[int, Resize] | None) -> None:
        self._square = square
        self._regions = None if region is None else _by_name("region", Path(region))
        self._masks = [] if masks is None else _by_name("masks", Path(masks))

    @property
    def gives_masks(self) -> bool:
        """Whether shapes are the user's."""
        return bool(self._masks)

    def region(self, reference: str, shape: Sequence[int]) -> NDArray[np.uint8] | None:
        """Return where defects may lie on a reference, uint8 ``[H, W]`` of 0 and 1; None for anywhere.

        Args:
            reference: name of the normal image.
            shape: its height and width.

        Raises:
            SeasError: there is no region for it, it is empty, or of another size.
        """
        if self._regions is None:
            return None
        if len(self._regions) == 1 and self._regions[0][0] == "":
            return self._read(self._regions[0][1], shape, reference)
        stem = Path(reference).stem
        found = [path for name, path in self._regions if _is_of(name, stem)]
        if len(found) != 1:
            message = f"region has {len(found)} files for the reference {reference}; expected one named {stem}.png."
            raise SeasError(message)
        return self._read(found[0], shape, reference)

    def mask(self, index: int, reference: str, shape: Sequence[int]) -> NDArray[np.uint8]:
        """Return the user's mask of image ``index``, uint8 ``[H, W]`` of 0 and 1.

        Args:
            index: number of the image; masks come again after the last. Masks that are named as references are theirs.
            reference: name of the normal image.
            shape: its height and width.

        Raises:
            SeasError: it is empty, or of another size than the reference.
        """
        own = [path for name, path in self._masks if _is_of(name, Path(reference).stem)]
        chosen = own or [path for _, path in self._masks]
        return self._read(chosen[index % len(chosen)], shape, reference)

    def with_masks(self, names: Sequence[str], chosen: list[int]) -> list[int]:
        """Return the references that can be drawn on: where all masks are named as references, those that have one.

        Args:
            names: of all references.
            chosen: indices of those that are asked for.

        Raises:
            SeasError: none of them has a mask.
        """
        stems = [Path(name).stem for name in names]
        if not self._masks or not all(any(_is_of(name, stem) for stem in stems) for name, _ in self._masks):
            return chosen
        found = [index for index in chosen if any(_is_of(name, stems[index]) for name, _ in self._masks)]
        if not found:
            raise SeasError("masks has none for the references that are asked for; name them as the masks are.")
        return found

    def check(self, references: Sequence[tuple[str, tuple[int, int]]]) -> None:
        """Look at regions and masks before anything is drawn.

        Args:
            references: name, and height and width, of each that may be drawn on.

        Raises:
            SeasError: one is missing, empty, or of another size.
        """
        for name, shape in references:
            self.region(name, shape)
        sizes = {shape for _, shape in references}
        for index, (stem, _) in enumerate(self._masks):
            own = [(name, shape) for name, shape in references if _is_of(stem, Path(name).stem)]
            # A mask that belongs to no reference by name may come to any of them: all have to be of one size.
            for name, shape in own or (references[:1] if len(sizes) == 1 else []):
                self.mask(index, name, shape)

    def _read(self, path: Path, shape: Sequence[int], reference: str) -> NDArray[np.uint8]:
        if self._square is not None:
            size, resize = self._square
            return np.asarray(load_mask(path, size, resize)[0].numpy(), dtype=np.uint8)
        mask = read_mask(path)
        if mask.shape != tuple(shape[:2]):
            message = (
                f"{path} is {mask.shape[1]}x{mask.shape[0]} pixels and the reference {reference} "
                f"{shape[1]}x{shape[0]}; expected the same size, draw it on that image."
            )
            raise SeasError(message)
        if not mask.any():
            raise SeasError(f"{path} is empty (all black); expected white where defects are to be.")
        return mask


def _by_name(what: str, path: Path) -> list[tuple[str, Path]]:
    """Return the files of a folder with their stems; one file has none."""
    if path.is_file():
        return [("", path)]
    files = list_images(path)
    if not files:
        message = f"{what} is {path}, where there is no image; give an image file or a folder of them."
        raise SeasError(message)
    return [(file.stem, file) for file in files]


def _is_of(name: str, stem: str) -> bool:
    return name in (stem, f"{stem}_mask")


def resize_of_run(run: Path) -> Resize:
    """Return how a run of version 0.1, whose model does not say, made whole images squares."""
    path = run / "config.yaml"
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))["data"]["resize"]
    except (OSError, ValueError, LookupError, TypeError, yaml.YAMLError):
        return "squash"  # a model folder alone: the default of that version
    return "crop" if found == "crop" else "squash"
