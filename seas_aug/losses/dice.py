# SPDX-License-Identifier: Apache-2.0
"""Cross-entropy with Dice loss, which does not let small defects go under."""

from __future__ import annotations

import torch
from torch.nn import functional

from seas_aug.losses.mask_size import check_mask_logits

_DICE_WEIGHT = 0.5


def cross_entropy_dice_loss(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return the mean cross-entropy plus half the mean Dice loss of the images that have a defect.

    Dice (Milletari et al. 2016) of one image is ``1 - (2 |p t| + 1) / (|p| + |t| + 1)``, the sums over its pixels; it
    weighs a defect of ten pixels like one of a thousand. Images with an empty target count in the cross-entropy alone.
    Not part of the paper, whose focal loss is :func:`seas_aug.losses.focal.focal_loss`.

    Args:
        logits: [B, 2, H, W], any float dtype; channel 1 is the anomaly.
        target: [B, 1, H, W] of 0 and 1.

    Returns:
        float32 scalar, at least 0.

    Raises:
        ValueError: the shapes do not match.
    """
    check_mask_logits(logits, target)
    inside = target[:, 0] > 0.5
    cross_entropy = functional.cross_entropy(logits.float(), inside.long())
    anomaly, true = logits.float().softmax(dim=1)[:, 1].flatten(1), inside.float().flatten(1)
    dice = 1 - (2 * (anomaly * true).sum(dim=1) + 1) / (anomaly.sum(dim=1) + true.sum(dim=1) + 1)
    present = true.amax(dim=1)
    return cross_entropy + _DICE_WEIGHT * (dice * present).sum() / present.sum().clamp(min=1)
