# SPDX-License-Identifier: Apache-2.0
"""Loss functions, pure: Decoupled Anomaly Alignment (DA), Normal-image Alignment (NA) / noise, and masks' losses."""

from seas_aug.losses.da import da_loss
from seas_aug.losses.defect import defect_noise_loss
from seas_aug.losses.dice import cross_entropy_dice_loss
from seas_aug.losses.focal import focal_loss
from seas_aug.losses.mask_size import official_mask, shrink_mask
from seas_aug.losses.na import noise_loss

__all__ = [
    "cross_entropy_dice_loss",
    "da_loss",
    "defect_noise_loss",
    "focal_loss",
    "noise_loss",
    "official_mask",
    "shrink_mask",
]
