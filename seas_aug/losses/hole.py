# SPDX-License-Identifier: Apache-2.0
"""Noise prediction loss inside a hole: what is kept outside it needs no learning."""

from __future__ import annotations

import torch

_OUTSIDE = 0.1
"""Weight of the whole picture beside the hole: the prediction outside is not used, but steadies what both share."""


def hole_noise_loss(prediction: torch.Tensor, target: torch.Tensor, inside: torch.Tensor) -> torch.Tensor:
    """Return for each picture the mean squared error inside its hole, plus a tenth of that of the whole picture.

    Every hole counts the same, whatever its size: a crack of five cells as much as a whole picture. The relative of
    the masked losses of DefectFill (arXiv 2503.13985).

    Args:
        prediction: the U-Net's output ``[B, C, h, w]``, any float dtype.
        target: noise of the same shape.
        inside: float ``[B, 1, h, w]`` of 0 and 1.

    Returns:
        float32 ``[B]``, at least 0; of an empty hole the tenth alone.

    Raises:
        ValueError: the shapes differ.
    """
    if prediction.shape != target.shape or inside.shape != (len(target), 1, *target.shape[2:]):
        raise ValueError(
            f"Prediction {tuple(prediction.shape)}, target {tuple(target.shape)} and hole {tuple(inside.shape)} do not "
            "belong together."
        )
    error = (prediction.float() - target.float()).square().mean(dim=1, keepdim=True)
    hole = (error * inside).sum(dim=(1, 2, 3)) / inside.sum(dim=(1, 2, 3)).clamp(min=1)
    return hole + _OUTSIDE * error.mean(dim=(1, 2, 3))
