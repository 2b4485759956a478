# SPDX-License-Identifier: Apache-2.0
"""Differences of pictures in grey levels: drift of the background, and distance from copies."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor


def mean_difference(a: Tensor, b: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return the mean absolute difference of pictures, in grey levels from 0 to 255.

    Args:
        a: uint8 ``[N, 3, H, W]``.
        b: uint8 of the same shape.
        mask: ``[N, 1, H, W]``; pixels where it is 1 are left out. None compares all.

    Returns:
        float32 ``[N]``; NaN for a picture whose mask covers everything.
    """
    difference = (a.float() - b.float()).abs().mean(dim=1, keepdim=True)
    kept = torch.ones_like(difference) if mask is None else (mask == 0).float()
    return (difference * kept).sum(dim=(1, 2, 3)) / kept.sum(dim=(1, 2, 3))


def jpeg_difference(image: Tensor, quality: int = 75) -> float:
    """Return how much a picture uint8 ``[3, H, W]`` differs from itself after JPEG, in grey levels.

    Args:
        image: RGB.
        quality: of JPEG, 1 to 100; 75 is the default of the common encoders.
    """
    picture = np.ascontiguousarray(image.permute(1, 2, 0).numpy())
    done, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        message = f"OpenCV could not write a JPEG of a picture of shape {picture.shape}."
        raise RuntimeError(message)
    again = torch.from_numpy(cv2.imdecode(data, cv2.IMREAD_COLOR)).permute(2, 0, 1)
    return float(mean_difference(again[None], image[None])[0])


def nearest_difference(images: Tensor, few_shot: Tensor) -> tuple[Tensor, Tensor]:
    """Find the few-shot image each picture is nearest to, also mirrored.

    Args:
        images: uint8 ``[N, 3, H, W]``.
        few_shot: uint8 ``[K, 3, H, W]``.

    Returns:
        Mean absolute difference in grey levels, float32 ``[N]``, and which few-shot image it is, int64 ``[N]``.
    """
    mirrored = [few_shot, few_shot.flip(-1), few_shot.flip(-2), few_shot.flip(-1, -2)]
    rows = []
    for image in images:
        views = [mean_difference(image.expand_as(view), view) for view in mirrored]
        rows.append(torch.stack(views).amin(dim=0))
    found = torch.stack(rows).min(dim=1)
    return found.values, found.indices
