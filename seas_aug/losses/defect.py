# SPDX-License-Identifier: Apache-2.0
"""Noise prediction loss inside the defect, which the mean over the whole image hardly hears."""

from __future__ import annotations

import torch

from seas_aug.losses.mask_size import shrink_mask


def defect_noise_loss(prediction: torch.Tensor, target: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return the share of the noise loss that lies inside the defects: the mean over all elements, zero outside them.

    Added with weight k to :func:`~seas_aug.losses.noise_loss`, it makes an element of a defect count 1 + k times. Not
    part of the paper: Stable Diffusion has thousands of updates to learn a crack that covers a hundredth of the image,
    a small base has few. It has to stay small: the weight also raises the odds that the model sees a defect where noise
    leaves that open.

    Args:
        prediction: the U-Net's output ``[B, C, h, w]``, any float dtype.
        target: noise of the same shape.
        mask: float ``[B, 1, H, W]`` of 0 and 1; a latent pixel belongs to the defect where any of its pixels does.

    Returns:
        float32 scalar, at least 0; 0 where all masks are empty.

    Raises:
        ValueError: the shapes differ.
    """
    if prediction.shape != target.shape or len(mask) != len(target):
        raise ValueError(
            f"Prediction {tuple(prediction.shape)}, target {tuple(target.shape)} and mask {tuple(mask.shape)} do not "
            "belong together."
        )
    inside = (shrink_mask(mask, target.shape[-1]) > 0.5).float()
    error = (prediction.float() - target.float()).square().mean(dim=1, keepdim=True)
    return (error * inside).mean()
