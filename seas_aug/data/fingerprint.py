# SPDX-License-Identifier: Apache-2.0
"""What is remembered of a picture, to know it again: exactly, or as a resized or edited copy."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from seas_aug.data.decode import content_hash, read_rgb
from seas_aug.errors import SeasError

_SIDE = 32
# Measured on six products: a copy at half or a third of the size, resized with or without smoothing, or a JPEG of
# quality 50 stays within one of these two (low contrast needs the first, black and white the second), while of two
# photos of one product 95 of 100 are outside of both.
_MOST_DIFFERENCE = 5.0  # mean over the thumbnail, in grey levels
_LEAST_CORRELATION = 0.95


@dataclass(frozen=True)
class Fingerprint:
    """A picture in little.

    Args:
        sha256: hash of its pixels, see :func:`~seas_aug.data.decode.content_hash`.
        size: height and width in pixels; None where it was not kept, as by runs of 0.1.
        thumbnail: 32 x 32 grey levels of 0 to 255, row after row; None likewise.
    """

    sha256: str
    size: tuple[int, int] | None = None
    thumbnail: bytes | None = None

    def to_plain(self) -> dict[str, Any]:
        """Return the fingerprint as JSON has it."""
        plain: dict[str, Any] = {"sha256": self.sha256}
        if self.size is not None and self.thumbnail is not None:
            plain |= {"size": list(self.size), "thumbnail": base64.b64encode(self.thumbnail).decode()}
        return plain

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> Fingerprint:
        """Return what :meth:`to_plain` made; more keys are passed over.

        Args:
            plain: ``sha256``, and ``size`` and ``thumbnail`` where they are known.

        Raises:
            KeyError: there is no ``sha256``.
            ValueError: size or thumbnail are damaged.
        """
        if "thumbnail" not in plain:
            return cls(str(plain["sha256"]))
        thumbnail = base64.b64decode(plain["thumbnail"])
        height, width = (int(side) for side in plain["size"])
        if len(thumbnail) != _SIDE**2:
            raise ValueError(f"a thumbnail of {len(thumbnail)} bytes")
        return cls(str(plain["sha256"]), (height, width), thumbnail)


def fingerprint(path: Path) -> Fingerprint:
    """Take the fingerprint of a picture.

    Args:
        path: image file.

    Raises:
        SeasError: the file is missing or corrupt.
    """
    pixels = read_rgb(path)
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    thumbnail = cv2.resize(grey, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    height, width = grey.shape
    return Fingerprint(content_hash(path), (int(height), int(width)), thumbnail.tobytes())


def completed(known: Fingerprint, path: Path) -> Fingerprint:
    """Return a fingerprint with size and thumbnail, if it has them or the picture can still be looked at.

    Args:
        known: what was kept of the picture.
        path: where the picture lay; it may be gone, or another by now.
    """
    if known.thumbnail is not None:
        return known
    try:
        found = fingerprint(path)
    except SeasError:
        return known
    return found if found.sha256 == known.sha256 else known


def alike(one: Fingerprint, other: Fingerprint) -> bool:
    """Tell whether two pictures look like one photo, be it resized, compressed or retouched.

    Two photos of the same part in the same place may look so too; this alone says nothing of pictures whose names
    differ.

    Args:
        one: a picture.
        other: another one.

    Returns:
        True also where one of them has no thumbnail, so that nothing can be said against it.
    """
    if one.thumbnail is None or other.thumbnail is None:
        return True
    a, b = _levels(one.thumbnail), _levels(other.thumbnail)
    if float(np.abs(a - b).mean()) <= _MOST_DIFFERENCE:
        return True
    a, b = a - a.mean(), b - b.mean()
    scale = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return scale > 0 and float((a * b).sum()) / scale >= _LEAST_CORRELATION


def _levels(thumbnail: bytes) -> NDArray[np.float64]:
    return np.frombuffer(thumbnail, np.uint8).astype(np.float64)
