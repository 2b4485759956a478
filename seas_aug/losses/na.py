# SPDX-License-Identifier: Apache-2.0
"""Noise prediction loss, for the anomaly half (L_SD) and the Normal-image Alignment (NA) half of a batch alike."""

from __future__ import annotations

import torch
from torch.nn import functional


def noise_loss(prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return the mean squared error over all elements, full image and unmasked (SeaS specification, section 3).

    Args:
        prediction: the U-Net's output [B, C, h, w], any float dtype.
        target: noise (or velocity) of the same shape.

    Returns:
        float32 scalar, at least 0.

    Raises:
        ValueError: the shapes differ.
    """
    if prediction.shape != target.shape:
        raise ValueError(f"Prediction {tuple(prediction.shape)} and target {tuple(target.shape)} differ in shape.")
    return functional.mse_loss(prediction.float(), target.float())
