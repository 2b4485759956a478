# SPDX-License-Identifier: Apache-2.0
"""Features of windows, computed once for each picture and mask however many measures want them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from seas_aug.evaluate.window_set import WindowSet

Extract = Callable[[NDArray[np.uint8], NDArray[np.uint8]], NDArray[np.float32]]


class FeatureCache:
    """Features by content.

    Args:
        extract: from images ``[N, S, S, 3]`` and masks ``[N, S, S]``, none empty, to features ``[N, F]``.
    """

    def __init__(self, extract: Extract) -> None:
        self._extract = extract
        self._known: dict[bytes, NDArray[np.float32]] = {}

    def of(self, windows: WindowSet) -> NDArray[np.float32]:
        """Return float32 ``[N, F]``."""
        keys = [
            hashlib.blake2b(image.tobytes() + mask.tobytes(), digest_size=16).digest()
            for image, mask in zip(windows.images, windows.masks, strict=True)
        ]
        new = list({key: row for row, key in enumerate(keys) if key not in self._known}.values())
        if new:
            for row, feature in zip(new, self._extract(windows.images[new], windows.masks[new]), strict=True):
                self._known[keys[row]] = feature
        return np.stack([self._known[key] for key in keys])
