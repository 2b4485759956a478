# SPDX-License-Identifier: Apache-2.0
"""Sizes of masks: the check of a loss, and masks at the resolution of attention maps and coarse features."""

from __future__ import annotations

import torch
from torch.nn import functional


def check_mask_logits(logits: torch.Tensor, target: torch.Tensor) -> None:
    """Check that two-channel logits and a mask belong together.

    Args:
        logits: should be [B, 2, H, W].
        target: should be [B, 1, H, W].

    Raises:
        ValueError: they are not.
    """
    batch, channels, height, width = logits.shape
    if channels != 2 or target.shape != (batch, 1, height, width):
        raise ValueError(
            f"Logits {tuple(logits.shape)} need 2 channels and a target {(batch, 1, height, width)}, "
            f"not {tuple(target.shape)}."
        )


def shrink_mask(mask: torch.Tensor, size: int) -> torch.Tensor:
    """Shrink a mask so that a defect of one pixel survives: a cell is set where any of its pixels is.

    Args:
        mask: float [B, 1, H, W] of 0 and 1 (or in [0, 1]).
        size: side of the result.

    Returns:
        float32 [B, 1, size, size], maximum over each cell; binary stays binary.
    """
    return functional.adaptive_max_pool2d(mask.float(), (size, size))


def official_mask(mask: torch.Tensor, size: int, via: int) -> torch.Tensor:
    """Shrink a mask as the authors do: bilinear without antialiasing to ``via``, then max-pooling to ``size``.

    Edges stay fractional, and small defects can vanish (SeaS specification, section 2.2).

    Args:
        mask: float [B, 1, H, W] in [0, 1].
        size: side of the result, at most ``via``.
        via: side in between; the authors use 64, twice the largest resolution of the loss.

    Returns:
        float32 [B, 1, size, size] in [0, 1].
    """
    between = functional.interpolate(
        mask.float(), size=(via, via), mode="bilinear", align_corners=False, antialias=False
    )
    return functional.adaptive_max_pool2d(between, (size, size))
