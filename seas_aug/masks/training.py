# SPDX-License-Identifier: Apache-2.0
"""What the mask predictor is trained on, in pretraining as in fine-tuning (SeaS specification, section 4.5)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from seas_aug.config import MaskLoss
from seas_aug.losses.dice import cross_entropy_dice_loss
from seas_aug.losses.focal import focal_loss
from seas_aug.losses.mask_size import shrink_mask
from seas_aug.masks.predictor import probabilities

_OWN, _ANOTHER = 0.7, 0.15  # what the detail branch is told; else nothing
_GRAIN = 0.02  # generated images are not as clean as the files they are learnt from


def loss_function(loss: MaskLoss) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the function of logits ``[B, 2, H, W]`` and target ``[B, 1, H, W]`` that a setting names."""
    return cross_entropy_dice_loss if loss == "cross_entropy_dice" else focal_loss


def mask_losses(
    predictor: Any, unet_features: list[Tensor], vae_features: list[Tensor], mask: Tensor, loss: MaskLoss = "focal"
) -> tuple[dict[str, Tensor], Tensor]:
    """Return the losses of Refined Mask Prediction, ``loss_refined`` and ``loss_coarse``, and what it predicted.

    Normal images, whose target is empty, skip the refinement and so teach coarse branch and head only (Normal
    Information Alignment).

    Args:
        predictor: the :class:`~seas_aug.masks.predictor.MaskPredictor` that is trained.
        unet_features: of A anomaly and then N normal images.
        vae_features: of the A anomaly images.
        mask: float ``[A, 1, H, W]`` of 0 and 1.
        loss: which loss both are.

    Returns:
        The losses, and the refined probabilities, float32 ``[A + N, 1, H, W]`` in [0, 1] without gradient.
    """
    count, normals = len(mask), len(unet_features[0]) - len(mask)
    anomaly = predictor([feature[:count] for feature in unet_features], vae_features)
    normal = predictor([feature[count:] for feature in unet_features])
    refined, coarse = (torch.cat(parts) for parts in zip(anomaly, normal, strict=True))
    target = with_normals(mask, normals)
    function = loss_function(loss)
    losses = {
        "loss_refined": function(refined, target),
        "loss_coarse": function(coarse, shrink_mask(target, coarse.shape[-1])),
    }
    return losses, probabilities(refined.detach())


def with_normals(mask: Tensor, normals: int) -> Tensor:
    """Return the targets ``[A + N, 1, H, W]`` of 0 and 1 for masks ``[A, 1, H, W]`` and N normal images."""
    inside = (mask > 0.5).float()
    return torch.cat([inside, inside.new_zeros((normals, *inside.shape[1:]))])


def detail_loss(
    predictor: Any,
    image: Tensor,
    known: Tensor,
    prompt: Tensor,
    target: Tensor,
    loss: MaskLoss,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Return the loss of the detail branch.

    Args:
        predictor: the :class:`~seas_aug.masks.predictor.MaskPredictor`, with a detail branch.
        image: float ``[B, 3, H, W]`` in [-1, 1]; a little grain is added.
        known: what it is told, float ``[B, 1, H, W]`` in [0, 1] (:func:`tell`).
        prompt: prompt embeddings ``[B, D]``, of normal images too: those of the type that they do not show.
        target: float ``[B, 1, H, W]`` of 0 and 1.
        loss: which loss it is.
        generator: source of the grain; None takes torch's own.
    """
    grain = torch.randn(image.shape, generator=generator).to(image)
    return loss_function(loss)(predictor.detail_logits(known, image + _GRAIN * grain, prompt), target)


def tell(found: Tensor, rows: Tensor, count: int, generator: torch.Generator | None = None) -> Tensor:
    """Return what the detail branch is told: often the image's own known mask, sometimes another's, or nothing.

    On the few images that the generator was fine-tuned on its features are surer than on any other, so that a branch
    that was always told rightly would only repeat what it is told.

    Args:
        found: masks of some images, float ``[F, 1, H, W]`` in [0, 1]; with none of them, nothing is told.
        rows: which images these are, int64 ``[F]``.
        count: images in all.
        generator: source of randomness; None takes torch's own.

    Returns:
        float ``[count, 1, H, W]``; zero where nothing is told.
    """
    if not len(found):
        return found.new_zeros((count, *found.shape[1:]))
    draw = torch.rand(count, generator=generator).to(found.device)[:, None, None, None]
    another = found[torch.randint(len(found), (count,), generator=generator).to(found.device)]
    own = found.new_zeros((count, *found.shape[1:])).index_copy(0, rows.to(found.device), found)
    return torch.where(draw < _OWN, own, torch.where(draw < _OWN + _ANOTHER, another, torch.zeros_like(own)))
