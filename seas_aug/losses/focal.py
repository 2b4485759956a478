# SPDX-License-Identifier: Apache-2.0
"""Focal loss of the mask branch (SeaS specification, section 4.5)."""

from __future__ import annotations

import torch

from seas_aug.losses.mask_size import check_mask_logits

_SMOOTH = 1e-5


def focal_loss(logits: torch.Tensor, target: torch.Tensor, gamma: float = 2.0) -> torch.Tensor:
    """Return the mean over all pixels of ``-(1 - p)^gamma log p``, p being the probability of the true class.

    As in the authors' code the one-hot target is clipped to [1e-5, 1 - 1e-5] and 1e-5 is added to p, so that it is
    finite everywhere; there is no class weight. Unlike there, targets are binarised at 0.5, not truncated.

    Args:
        logits: [B, 2, H, W], any float dtype; channel 1 is the anomaly.
        target: [B, 1, H, W] of 0 and 1.
        gamma: how strongly well-classified pixels are discounted (paper: 2).

    Returns:
        float32 scalar, at least 0.

    Raises:
        ValueError: the shapes do not match.
    """
    check_mask_logits(logits, target)
    background, anomaly = logits.float().softmax(dim=1).unbind(dim=1)
    is_anomaly = (target[:, 0] > 0.5).float().clamp(_SMOOTH, 1 - _SMOOTH)
    p_true = (is_anomaly * anomaly + (1 - is_anomaly) * background + _SMOOTH).clamp(max=1)
    return -((1 - p_true) ** gamma * p_true.log()).mean()
