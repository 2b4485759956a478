# SPDX-License-Identifier: Apache-2.0
"""Grey products stay grey: an autoencoder for colours leaves a tint by which a detector would know generated images."""

from __future__ import annotations

from torch import Tensor


def is_grey(images: Tensor) -> bool:
    """Return whether all three channels of pictures ``[N, 3, H, W]`` are equal everywhere, as grey cameras' are."""
    return all(bool((image == image[:1]).all()) for image in images)  # the first picture in colour ends it


def to_grey(images: Tensor) -> Tensor:
    """Return the mean of the channels, three times.

    Args:
        images: float ``[N, 3, H, W]``.

    Returns:
        Float of the same shape.
    """
    return images.mean(dim=1, keepdim=True).expand_as(images).contiguous()
