# SPDX-License-Identifier: Apache-2.0
"""What the mask predictor is trained on, in pretraining as in fine-tuning (SeaS specification, section 4.5)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate

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
    predictor: Any,
    unet_features: list[Tensor],
    vae_features: list[Tensor],
    mask: Tensor,
    loss: MaskLoss = "focal",
    official: bool = False,
    partly: bool = False,
) -> tuple[dict[str, Tensor], Tensor]:
    """Return the losses of Refined Mask Prediction, ``loss_refined`` and ``loss_coarse``, and what it predicted.

    Normal images, whose target is empty, skip the refinement and so teach coarse branch and head only (Normal
    Information Alignment). Both halves go through the predictor in one pass.

    Args:
        predictor: the :class:`~seas_aug.masks.predictor.MaskPredictor` that is trained.
        unet_features: of A anomaly and then N normal images.
        vae_features: of the A anomaly images.
        mask: float ``[A, 1, H, W]`` of 0 and 1.
        loss: which loss both are.
        official: targets as in the authors' code (:func:`official_targets`), not those above one half with a coarse
            cell set where any of its pixels is.
        partly: see :func:`official_targets`.

    Returns:
        The losses, and the refined probabilities, float32 ``[A + N, 1, H, W]`` in [0, 1] without gradient.
    """
    normals = len(unet_features[0]) - len(mask)
    refined, coarse = predictor(unet_features, vae_features)
    weight = 1.0
    if official:
        target, small, known = official_targets(mask, normals, coarse.shape[-1], partly)
        weight = float(known)
    else:
        target = with_normals(mask, normals)
        small = shrink_mask(target, coarse.shape[-1])
    function = loss_function(loss)
    losses = {"loss_refined": weight * function(refined, target), "loss_coarse": weight * function(coarse, small)}
    return losses, probabilities(refined.detach())


def official_targets(mask: Tensor, normals: int, size: int, partly: bool = False) -> tuple[Tensor, Tensor, bool]:
    """Return the targets of the authors' code: an integer cast, so that any value below 1 is background.

    A coarse cell, which a bilinear mean makes of its pixels, is set only where that mean is exactly 1 (specification,
    sections 4.5 and 4.7).

    Args:
        mask: float ``[A, 1, H, W]`` in [0, 1].
        normals: N normal images behind them.
        size: side of the coarse target.
        partly: both masks are divided by their largest value in the batch before the cast, as the authors' code does
            for VisA and MVTec 3D.

    Returns:
        Targets of 0 and 1, float32 ``[A + N, 1, H, W]`` and ``[A + N, 1, size, size]``, and whether they count: the
        authors' code skips an update where the largest value it divides by is 0.
    """
    both = [mask.float(), interpolate(mask.float(), size=(size, size), mode="bilinear", align_corners=False)]
    known = not partly or min(float(one.max()) for one in both) > 0
    if partly and known:
        both = [one / one.max() for one in both]
    large, small = ((one >= 1).float() for one in both)
    return _padded(large, normals), _padded(small, normals), known


def _padded(target: Tensor, normals: int) -> Tensor:
    """Put the empty targets of N normal images behind some."""
    return torch.cat([target, target.new_zeros((normals, *target.shape[1:]))])


def with_normals(mask: Tensor, normals: int) -> Tensor:
    """Return the targets ``[A + N, 1, H, W]`` of 0 and 1 for masks ``[A, 1, H, W]`` and N normal images."""
    return _padded((mask > 0.5).float(), normals)


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
