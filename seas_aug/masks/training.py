# SPDX-License-Identifier: Apache-2.0
"""What the mask predictor is trained on, in pretraining as in fine-tuning (SeaS specification, section 4.5)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from seas_aug.base.latents import decode_latents
from seas_aug.config import MaskLoss
from seas_aug.losses.dice import cross_entropy_dice_loss
from seas_aug.losses.focal import focal_loss
from seas_aug.losses.mask_size import shrink_mask
from seas_aug.masks.features import UNetFeatures, VAEDecoderFeatures


@torch.no_grad()
def read_features(
    unet: Any, vae: Any, noisy: Tensor, timesteps: Tensor, context: Tensor, decoded: int
) -> tuple[list[Tensor], list[Tensor]]:
    """Return U-Net features of all images, and decoder features of the first of them, at the same noise.

    Args:
        unet: frozen generator.
        vae: autoencoder.
        noisy: noisy scaled latents ``[A + N, C, h, w]``, the anomaly images first.
        timesteps: int64 ``[A + N]``.
        context: prompt embeddings ``[A + N, L, D]``.
        decoded: of how many images: A, or A + N for a predictor with a detail branch.
    """
    with UNetFeatures(unet) as unet_hook:
        unet(noisy, timesteps, context)
    with VAEDecoderFeatures(vae) as vae_hook:
        decode_latents(vae, noisy[:decoded])
    return unet_hook.features, vae_hook.features


def mask_losses(
    predictor: Any,
    unet_features: list[Tensor],
    vae_features: list[Tensor],
    mask: Tensor,
    loss: MaskLoss = "focal",
) -> dict[str, Tensor]:
    """Return the losses of the refined and of the coarse masks, ``loss_refined`` and ``loss_coarse``.

    Normal images, whose target is empty, skip the refinement if they have no decoder features, and so teach coarse
    branch and head only (Normal Information Alignment).

    Args:
        predictor: the :class:`~seas_aug.masks.predictor.MaskPredictor` that is trained.
        unet_features: of A anomaly and then N normal images.
        vae_features: of the A anomaly images, or of all of them.
        mask: float ``[A, 1, H, W]`` of 0 and 1.
        loss: which loss both are.
    """
    count, normals = len(mask), len(unet_features[0]) - len(mask)
    if len(vae_features[0]) > count:
        refined, coarse = predictor(unet_features, vae_features)
    else:
        anomaly = predictor([feature[:count] for feature in unet_features], vae_features)
        normal = predictor([feature[count:] for feature in unet_features])
        refined, coarse = (torch.cat(parts) for parts in zip(anomaly, normal, strict=True))
    inside = (mask > 0.5).float()
    target = torch.cat([inside, inside.new_zeros((normals, *inside.shape[1:]))])
    function = cross_entropy_dice_loss if loss == "cross_entropy_dice" else focal_loss
    return {
        "loss_refined": function(refined, target),
        "loss_coarse": function(coarse, shrink_mask(target, coarse.shape[-1])),
    }
