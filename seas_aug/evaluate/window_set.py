# SPDX-License-Identifier: Apache-2.0
"""Windows with their masks, types and groups: what every measure of drawing takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.uint8]
Masks = NDArray[np.uint8]


@dataclass(frozen=True)
class WindowSet:
    """Square pictures of one product, each with the mask of its defect.

    Attributes:
        images: uint8 ``[N, S, S, 3]``, RGB, 0 to 255.
        masks: uint8 ``[N, S, S]`` of 0 and 1; the place that is looked at, where the picture is normal.
        types: anomaly type of each.
        groups: images of one group show the same part and are not independent.

    Raises:
        ValueError: shapes, dtypes or lengths do not fit.
    """

    images: Images
    masks: Masks
    types: Sequence[str]
    groups: Sequence[str]

    def __post_init__(self) -> None:
        count = len(self.images)
        if self.images.dtype != np.uint8 or self.images.ndim != 4 or self.images.shape[3] != 3:
            raise ValueError(f"images are {self.images.dtype} {self.images.shape}; expected uint8 [N, S, S, 3]")
        if self.masks.dtype != np.uint8 or self.masks.shape != self.images.shape[:3]:
            raise ValueError(f"masks are {self.masks.dtype} {self.masks.shape}; expected {self.images.shape[:3]}")
        if len(self.types) != count or len(self.groups) != count:
            raise ValueError(f"{count} images with {len(self.types)} types and {len(self.groups)} groups")

    def __len__(self) -> int:
        return len(self.images)

    @property
    def anomaly_types(self) -> tuple[str, ...]:
        """The types that occur, in alphabetical order."""
        return tuple(sorted(set(self.types)))

    def take(self, chosen: Sequence[int] | NDArray[Any]) -> WindowSet:
        """Return some windows, by index or by a boolean array."""
        rows = np.arange(len(self))[np.asarray(chosen, dtype=bool if _is_boolean(chosen) else np.int64)]
        return WindowSet(self.images[rows], self.masks[rows], pick(self.types, rows), pick(self.groups, rows))

    def of_type(self, name: str) -> WindowSet:
        """Return the windows of one type."""
        return self.take(np.asarray([entry == name for entry in self.types], bool))

    def with_images(self, images: Images) -> WindowSet:
        """Return the same windows with other pictures in them."""
        return WindowSet(images, self.masks, self.types, self.groups)

    def with_masks(self, masks: Masks) -> WindowSet:
        """Return the same pictures with other masks."""
        return WindowSet(self.images, masks, self.types, self.groups)


def pick(values: Sequence[str], rows: NDArray[Any]) -> list[str]:
    """Return some of the types or groups, by index."""
    return [values[int(row)] for row in rows]


def _is_boolean(chosen: Sequence[int] | NDArray[Any]) -> bool:
    return np.asarray(chosen).dtype == np.bool_
