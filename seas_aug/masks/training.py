# SPDX-License-Identifier: Apache-2.0
"""What the mask predictor is trained on, in pretraining as in fine-tuning (SeaS specification, section 4.5)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from seas_aug.base.latents import decode_latents
from seas_aug.losses.focal import focal_loss
from seas_aug.losses.mask_size import shrink_mask
from seas_aug.masks.features import UNetFeatures, VAEDecoderFeatures


@torch.no_grad()
def read_features(
    unet: Any, vae: Any, noisy: Tensor, timesteps: Tensor, context: Tensor, anomalies: int
) -> tuple[list[Tensor], list[Tensor]]:
    """Return U-Net features of all images, and decoder features of the anomaly images, at the same noise.

    Args:
        unet: frozen generator.
        vae: autoencoder.
        noisy: noisy scaled latents ``[A + N, C, h, w]``, the anomaly images first.
        timesteps: int64 ``[A + N]``.
        context: prompt embeddings ``[A + N, L, D]``.
        anomalies: A.
    """
    with UNetFeatures(unet) as unet_hook:
        unet(noisy, timesteps, context)
    with VAEDecoderFeatures(vae) as vae_hook:
        decode_latents(vae, noisy[:anomalies])
    return unet_hook.features, vae_hook.features


def mask_losses(
    predictor: Any, unet_features: list[Tensor], vae_features: list[Tensor], mask: Tensor
) -> dict[str, Tensor]:
    """Return the focal losses of the refined and of the coarse masks, ``loss_refined`` and ``loss_coarse``.

    Normal images, whose target is empty, skip the refinement and so teach coarse branch and head only (Normal
    Information Alignment).

    Args:
        predictor: the :class:`~seas_aug.masks.predictor.MaskPredictor` that is trained.
        unet_features: of A anomaly and then N normal images.
        vae_features: of the A anomaly images.
        mask: float ``[A, 1, H, W]`` of 0 and 1.
    """
    count = len(mask)
    anomaly = predictor([feature[:count] for feature in unet_features], vae_features)
    normal = predictor([feature[count:] for feature in unet_features])
    inside = (mask > 0.5).float()
    empty = inside.new_zeros((len(normal.refined), *inside.shape[1:]))
    target = torch.cat([inside, empty])
    coarse_target = shrink_mask(target, anomaly.coarse.shape[-1])
    return {
        "loss_refined": focal_loss(torch.cat([anomaly.refined, normal.refined]), target),
        "loss_coarse": focal_loss(torch.cat([anomaly.coarse, normal.coarse]), coarse_target),
    }
