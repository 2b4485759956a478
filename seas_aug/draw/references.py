# SPDX-License-Identifier: Apache-2.0
"""The real normal images that pairs are drawn on, kept in the model folder so that it works anywhere."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from seas_aug.config import Resize
from seas_aug.data.decode import as_rgb, read_native
from seas_aug.errors import SeasError

SQUARES = "references.safetensors"
FOLDER = "references"
INDEX = "index.json"
_LOOKED_AT = 16  # pictures that are opened to tell whether a product is grey


class References(Protocol):
    """Normal images, each with its own size, depth and channels."""

    names: tuple[str, ...]
    """Where each came from."""

    def native(self, index: int) -> NDArray[Any]:
        """Return an image as it is: uint8 or uint16, ``[H, W]`` or ``[H, W, C]`` in RGB order."""

    def size(self, index: int) -> tuple[int, int]:
        """Return height and width of an image, without decoding it if possible."""

    def save(self, folder: Path) -> None:
        """Write the images into a model folder."""


class ArrayReferences:
    """Normal images in memory.

    Args:
        images: uint8 or uint16, each ``[H, W]`` or ``[H, W, C]`` in RGB order.
        names: where each came from.
    """

    def __init__(self, images: Sequence[NDArray[Any]], names: Sequence[str]) -> None:
        self._images, self.names = list(images), tuple(names)

    def native(self, index: int) -> NDArray[Any]:
        """See :class:`References`."""
        return self._images[index]

    def size(self, index: int) -> tuple[int, int]:
        """See :class:`References`."""
        height, width = self._images[index].shape[:2]
        return int(height), int(width)

    def save(self, folder: Path) -> None:
        """Write squares of one size as safetensors ``[N, 3, S, S]``, with their names as metadata."""
        from safetensors.numpy import save_file

        stacked = np.stack([as_rgb(image) for image in self._images]).transpose(0, 3, 1, 2)
        save_file({"images": np.ascontiguousarray(stacked)}, folder / SQUARES, {"names": json.dumps(self.names)})


class FileReferences:
    """Normal images in files, opened when they are drawn on: a folder of large ones needs no memory.

    Args:
        files: image files.
        names: where each came from.
    """

    def __init__(self, files: Sequence[Path], names: Sequence[str] | None = None) -> None:
        self._files = tuple(files)
        self.names = tuple(names) if names is not None else tuple(str(file) for file in files)

    def native(self, index: int) -> NDArray[Any]:
        """See :class:`References`.

        Raises:
            SeasError: the file is missing or corrupt.
        """
        return read_native(self._files[index])

    def size(self, index: int) -> tuple[int, int]:
        """See :class:`References`.

        Raises:
            SeasError: the file is missing or corrupt.
        """
        from PIL import Image

        try:
            with Image.open(self._files[index]) as image:  # reads the header alone
                return image.height, image.width
        except OSError:
            height, width = self.native(index).shape[:2]
            return int(height), int(width)

    def save(self, folder: Path) -> None:
        """Copy the files, whose bytes stay what they are, and write their names beside them."""
        target = folder / FOLDER
        target.mkdir(parents=True, exist_ok=True)
        copied = [f"{index:05d}{file.suffix.lower()}" for index, file in enumerate(self._files)]
        for file, name in zip(self._files, copied, strict=True):
            if not (target / name).exists() or not (target / name).samefile(file):  # saved over itself
                shutil.copyfile(file, target / name)
        rows = [{"file": file, "name": name} for file, name in zip(copied, self.names, strict=True)]
        (target / INDEX).write_text(json.dumps(rows, indent=0) + "\n", encoding="utf-8")


def load_references(folder: Path) -> References | None:
    """Read the normal images of a model folder; None where it has none.

    Raises:
        SeasError: a file is damaged or missing.
    """
    squares, index = folder / SQUARES, folder / FOLDER / INDEX
    try:
        if squares.is_file():
            from safetensors import safe_open

            with safe_open(squares, framework="np") as file:
                images, names = file.get_tensor("images"), tuple(json.loads(file.metadata()["names"]))
            return ArrayReferences(list(images.transpose(0, 2, 3, 1)), names)
        if not index.is_file():
            return None
        rows = json.loads(index.read_text(encoding="utf-8"))
        # Names alone, so that a damaged index never leads out of the folder.
        files = [folder / FOLDER / Path(row["file"]).name for row in rows]
        names = tuple(str(row["name"]) for row in rows)
    except (OSError, ValueError, LookupError, TypeError, _safetensor_error()) as error:
        message = f"{squares if squares.is_file() else index} is damaged ({error}); fine-tune again or copy the run "
        raise SeasError(message + "folder anew.") from error
    missing = next((file for file in files if not file.is_file()), None)
    if missing is not None:
        raise SeasError(f"{missing} is missing; fine-tune again or copy the run folder anew.")
    return FileReferences(files, names)


def _safetensor_error() -> type[Exception]:
    from safetensors import SafetensorError

    return SafetensorError


def are_grey(references: References) -> bool:
    """Return whether the product is grey: no colour in some of its images, evenly spread."""
    count = len(references.names)
    looked_at = range(0, count, max(1, math.ceil(count / _LOOKED_AT)))
    return all(is_grey_picture(references.native(index)) for index in looked_at)


def is_grey_picture(pixels: NDArray[Any]) -> bool:
    """Return whether all channels of ``[H, W]`` or ``[H, W, C]`` are equal everywhere, as grey cameras' are."""
    return pixels.ndim == 2 or bool((pixels[..., :3] == pixels[..., :1]).all())


def named(bank: References, names: Sequence[str] | None) -> list[int]:
    """Return the indices of references by name: the whole path, or the file name where only one has it.

    Args:
        bank: the model's.
        names: None takes all of them.

    Raises:
        SeasError: none, or more than one, has the name.
    """
    if names is None:
        return list(range(len(bank.names)))
    found = []
    for name in names:
        members = [i for i, own in enumerate(bank.names) if own == name or Path(own).name == name]
        if len(members) != 1:
            example = Path(bank.names[0]).name
            message = f"references names {name}, which {len(members)} of the model's {len(bank.names)} normal images "
            raise SeasError(message + f"are called; give a name such as {example}, or a whole path.")
        found += members
    return found


def own_references(images: Sequence[NDArray[Any]], square: tuple[int, Resize] | None) -> ArrayReferences:
    """Return the user's own normal images, checked.

    Args:
        images: uint8 or uint16, ``[H, W]`` or ``[H, W, C]`` in RGB order.
        square: the size that all must have, for a model that sees whole images.

    Raises:
        SeasError: there is none, or one has another form or size.
    """
    arrays = [np.asarray(image) for image in images]
    arrays = [image[..., 0] if image.ndim == 3 and image.shape[2] == 1 else image for image in arrays]
    if not arrays:
        raise SeasError("references is empty; give one or more images, or leave it out.")
    for image in arrays:
        size = image.shape[:2]
        fits = image.ndim in (2, 3) and (image.ndim == 2 or image.shape[2] in (3, 4))
        if not fits or image.dtype not in (np.uint8, np.uint16):
            message = (
                f"references has an image of shape {image.shape} and type {image.dtype}; give uint8 or uint16 "
                "[H, W] or [H, W, C]."
            )
            raise SeasError(message)
        if square is not None and size != (square[0], square[0]):
            message = (
                f"references has an image of {size[1]}x{size[0]} pixels; this model sees whole images, "
                f"give {square[0]}x{square[0]}."
            )
            raise SeasError(message)
    return ArrayReferences(arrays, [f"references[{index}]" for index in range(len(arrays))])
