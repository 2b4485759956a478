# SPDX-License-Identifier: Apache-2.0
"""The pictures that fine-tuning sees, all of the model's size: whole images scaled to squares, or windows of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from seas_aug.config import DataConfig, Resize
from seas_aug.data.category import DefectSample
from seas_aug.data.decode import read_mask, read_rgb
from seas_aug.data.few_shot import FewShotSplit
from seas_aug.data.images import load_image, load_mask
from seas_aug.data.seeds import derive_seed
from seas_aug.data.windows import (
    Window,
    choose_sides,
    defect_boxes,
    fitting_side,
    view,
    view_mask,
    window,
    window_around,
)
from seas_aug.errors import SeasError

_CACHE_BYTES = 2 * 2**30
_LEAST_MARKED = 6  # pixels of a defect that a window has to show
_ON_PIXELS = 16  # windows that are tried on pixels of a defect that no other shows
_LARGER = 0.4  # share of the windows that are a size larger than the defect asks for
_NORMAL_WINDOWS, _MOST_OF_ONE = 1000, 64  # in all, and of one image
_LIKE_DEFECTS = 0.5  # share of the normal windows that lie where a defect lies in its own image


class Pictures(Protocol):
    """Anomaly pictures with masks, and normal ones."""

    @property
    def types(self) -> tuple[str, ...]:
        """The type of each anomaly picture."""

    @property
    def sources(self) -> tuple[int, ...]:
        """Number of the image that each anomaly picture is of."""

    @property
    def num_normals(self) -> int:
        """Number of normal pictures."""

    @property
    def are_windows(self) -> bool:
        """Whether they show parts of images, so that a defect of one does not fit on every other."""

    def anomaly(self, index: int) -> Tensor:
        """Return image and mask together, uint8 ``[4, S, S]``; the mask is 0 or 1."""

    def normal(self, index: int) -> Tensor:
        """Return a normal picture, uint8 ``[3, S, S]``."""


class Squares:
    """Whole images as squares (the paper's way), decoded once and kept in memory up to 2 GiB.

    Args:
        split: its few-shot samples are the anomalies.
        normals: normal images.
        config: ``resize`` is used.
        image_size: side S of the square in pixels.
    """

    are_windows = False

    def __init__(self, split: FewShotSplit, normals: Sequence[Path], config: DataConfig, image_size: int) -> None:
        self._samples, self._normals = split.samples, tuple(normals)
        self._config, self._size = config, image_size
        self._cache: dict[tuple[str, int], Tensor] = {}
        self._cached_bytes = 0
        self.types = tuple(sample.anomaly_type for sample in self._samples)
        self.sources = tuple(range(len(self._samples)))
        self.num_normals = len(self._normals)

    def anomaly(self, index: int) -> Tensor:
        """See :class:`Pictures`.

        Raises:
            SeasError: a file is missing or corrupt.
        """
        return self._load("anomaly", index)

    def normal(self, index: int) -> Tensor:
        """See :class:`Pictures`.

        Raises:
            SeasError: the file is missing or corrupt.
        """
        return self._load("normal", index)

    def _load(self, kind: str, index: int) -> Tensor:
        key = (kind, index)
        if key in self._cache:
            return self._cache[key]
        if kind == "normal":
            pixels = load_image(self._normals[index], self._size, self._config.resize)  # (3, S, S)
        else:
            sample = self._samples[index]
            image = load_image(sample.image, self._size, self._config.resize)
            pixels = torch.cat([image, load_mask(sample.mask, self._size, self._config.resize)])  # (4, S, S)
        if self._cached_bytes + pixels.numel() <= _CACHE_BYTES:
            self._cache[key] = pixels
            self._cached_bytes += pixels.numel()
        return pixels


class WindowPictures:
    """Windows around the few-shot defects, off their centres, and of normal images; cut once and kept in memory.

    Every file is decoded once, however large it is. The same arguments cut the same windows.

    Args:
        split: its few-shot samples are the anomalies.
        normals: normal images.
        config: ``windows_per_defect`` is used.
        image_size: side S of the model's pictures in pixels.
        sides: sizes of windows in pixels of the images, ascending (:func:`~seas_aug.data.windows.choose_sides`).
        seed: decides where windows lie.

    Raises:
        SeasError: a file is missing or corrupt, or a mask is empty.
    """

    are_windows = True

    def __init__(
        self,
        split: FewShotSplit,
        normals: Sequence[Path],
        config: DataConfig,
        image_size: int,
        sides: Sequence[int],
        seed: int,
    ) -> None:
        self._size, self._sides, self._seed = image_size, tuple(sides), seed
        self._anomalies: list[Tensor] = []
        self._spots: list[tuple[float, float, int]] = []  # where windows of defects lie, as shares, and their sides
        types: list[str] = []
        sources: list[int] = []
        for number, sample in enumerate(tqdm(split.samples, "cutting windows", disable=len(split.samples) < 500)):
            cut = self._cut_defects(read_rgb(sample.image), read_mask(sample.mask), config.windows_per_defect, number)
            if not cut:
                message = f"{sample.mask}: shows no defect of {_LEAST_MARKED} pixels; mark it or leave the image out."
                raise SeasError(message)
            self._anomalies += cut
            types += [sample.anomaly_type] * len(cut)
            sources += [number] * len(cut)
        self.types, self.sources = tuple(types), tuple(sources)
        most = max(1, _CACHE_BYTES // (3 * image_size**2))
        normals = [normals[i * len(normals) // most] for i in range(most)] if len(normals) > most else normals
        each = min(_MOST_OF_ONE, math.ceil(_NORMAL_WINDOWS / max(1, len(normals))))
        self._normals = [
            picture
            for number, path in enumerate(tqdm(normals, "cutting windows", disable=len(normals) < 500))
            for picture in self._cut_normals(read_rgb(path), each, number)
        ]
        self.num_normals = len(self._normals)

    def anomaly(self, index: int) -> Tensor:
        """See :class:`Pictures`."""
        return self._anomalies[index]

    def normal(self, index: int) -> Tensor:
        """See :class:`Pictures`."""
        return self._normals[index]

    def _cut_defects(self, image: NDArray[np.uint8], mask: NDArray[np.uint8], count: int, number: int) -> list[Tensor]:
        """Return different windows of an image that show at least a part of one of its defects."""
        generator = torch.Generator().manual_seed(derive_seed(self._seed, "defect windows", number))
        boxes = defect_boxes(mask)
        least, found = min(_LEAST_MARKED, int(mask.sum())), dict[Window, Tensor]()
        for box in [boxes[turn % len(boxes)] for turn in range(count)] if boxes else []:
            side = fitting_side(box.extent, self._sides, image.shape)
            if float(torch.rand((), generator=generator)) < _LARGER:
                side = next((one for one in self._sides if one > side), side)
            place = window_around(box, side, image.shape, generator)
            if place not in found and place.cut(mask).sum() >= least:
                found[place] = self._cut_defect(image, mask, place)
        if boxes and not found:  # a long thin defect: windows along it may miss it, one on a pixel of it does not
            rows, columns = np.nonzero(mask)
            side = fitting_side(boxes[0].extent, self._sides, image.shape)
            for one in torch.randint(len(rows), (_ON_PIXELS,), generator=generator).tolist():
                place = window(int(rows[one]) - side // 2, int(columns[one]) - side // 2, side, image.shape)
                if place.cut(mask).sum() >= least:
                    found[place] = self._cut_defect(image, mask, place)
                    break
        return list(found.values())

    def _cut_defect(self, image: NDArray[np.uint8], mask: NDArray[np.uint8], place: Window) -> Tensor:
        """Return a window with its mask, and remember where it lies."""
        row, column = place.top + place.side / 2, place.left + place.side / 2
        self._spots.append((row / image.shape[0], column / image.shape[1], place.side))
        return torch.cat([_picture(image, place, self._size), _marked(mask, place, self._size)])

    def _cut_normals(self, image: NDArray[np.uint8], count: int, number: int) -> list[Tensor]:
        """Return different windows of a normal image, as large as those of defects are."""
        generator = torch.Generator().manual_seed(derive_seed(self._seed, "normal windows", number))
        found: dict[Window, Tensor] = {}
        for _ in range(count):
            chance, down, right = torch.rand(3, generator=generator).tolist()
            row, column, side = self._spots[int(torch.randint(len(self._spots), (), generator=generator))]
            if chance >= _LIKE_DEFECTS:
                row, column = down, right
            top, left = round(row * image.shape[0] - side / 2), round(column * image.shape[1] - side / 2)
            place = window(top, left, side, image.shape)
            if place not in found:
                found[place] = _picture(image, place, self._size)
        return list(found.values())


def _picture(image: NDArray[np.uint8], place: Window, size: int) -> Tensor:
    return torch.from_numpy(view(image, place, size).transpose(2, 0, 1).copy())


def _marked(mask: NDArray[np.uint8], place: Window, size: int) -> Tensor:
    return torch.from_numpy(view_mask(mask, place, size).copy())[None]


def needed_sides(split: FewShotSplit, config: DataConfig, image_size: int) -> tuple[int, ...]:
    """Return the sizes of windows of a product: those that are set, else what its few-shot defects ask for.

    Args:
        split: its few-shot masks are read.
        config: ``windows``: sizes, or ``auto``.
        image_size: side of the model's pictures in pixels.

    Raises:
        SeasError: a size is too small, or a mask is missing, corrupt or empty.
    """
    if not isinstance(config.windows, str):
        return tuple(sorted(set(config.windows)))
    extents, shapes = [], []
    for sample in split.samples:
        mask = read_mask(sample.mask)
        extents += [box.extent for box in defect_boxes(mask)]
        shapes.append(mask.shape)
    if not extents:
        raise SeasError(f"{split.samples[0].mask}: every few-shot mask is empty; mark the defects in them.")
    return choose_sides(extents, shapes, image_size)


def read_pictures(
    split: FewShotSplit, normals: Sequence[Path], config: DataConfig, image_size: int, sides: Sequence[int], seed: int
) -> Pictures:
    """Return the pictures of a run.

    Args:
        split: few-shot samples.
        normals: normal images.
        config: how they become pictures.
        image_size: side of the model's pictures in pixels.
        sides: sizes of windows; none for whole images.
        seed: decides where windows lie.
    """
    if not sides:
        return Squares(split, normals, config, image_size)
    return WindowPictures(split, normals, config, image_size, sides, seed)


def seen_defect(sample: DefectSample, image_size: int, sides: Sequence[int], resize: Resize) -> tuple[Tensor, Tensor]:
    """Return a defect as a model sees it: in a window around it, off its centre by chance, always the same.

    Args:
        sample: image and mask; of several defects the largest is shown.
        image_size: side S of the model's pictures in pixels.
        sides: sizes of windows; none for whole images.
        resize: how whole images become squares.

    Returns:
        uint8 ``[3, S, S]``, and the mask uint8 ``[1, S, S]`` of 0 and 1.

    Raises:
        SeasError: a file is missing or corrupt, or the mask is empty.
    """
    if not sides:
        return load_image(sample.image, image_size, resize), load_mask(sample.mask, image_size, resize)
    place = defect_window(sample, sides)
    return _picture(read_rgb(sample.image), place, image_size), _marked(read_mask(sample.mask), place, image_size)


def defect_window(sample: DefectSample, sides: Sequence[int]) -> Window:
    """Return the window of :func:`seen_defect`.

    Args:
        sample: image and mask.
        sides: sizes of windows in pixels, ascending.

    Raises:
        SeasError: the mask is missing, corrupt or empty.
    """
    mask = read_mask(sample.mask)
    boxes = defect_boxes(mask)
    if not boxes:
        raise SeasError(f"{sample.mask}: the mask is empty (all black); draw the defect or take the image away.")
    # By the last folders only, so that windows do not depend on where the product lies.
    generator = torch.Generator().manual_seed(derive_seed(0, "/".join(sample.image.parts[-3:])))
    return window_around(boxes[0], fitting_side(boxes[0].extent, sides, mask.shape), mask.shape, generator)


def seen_defects(
    samples: Sequence[DefectSample], image_size: int, sides: Sequence[int], resize: Resize
) -> tuple[Tensor, Tensor]:
    """Return :func:`seen_defect` of several, uint8 ``[N, 3, S, S]`` and ``[N, 1, S, S]``."""
    pairs = [seen_defect(sample, image_size, sides, resize) for sample in samples]
    return torch.stack([image for image, _ in pairs]), torch.stack([mask for _, mask in pairs])
