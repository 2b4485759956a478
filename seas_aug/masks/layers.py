# SPDX-License-Identifier: Apache-2.0
"""Building blocks that the coarse branch, the refinement and the head share."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional


def norm_layer(width: int, official: bool) -> nn.Module:
    """Return the normalisation of a feature map [B, width, h, w].

    Args:
        width: channels.
        official: batch normalisation that always uses the statistics of the current batch, as the authors' mask
            branch effectively does since it is never put in eval mode (specification, section 4.7): a mask then
            depends on its batch mates. Default is group normalisation, which keeps images apart.
    """
    if official:
        return nn.BatchNorm2d(width, track_running_stats=False)
    return nn.GroupNorm(norm_groups(width), width)


def norm_groups(width: int) -> int:
    """Return the number of groups of a group normalisation: 32 as in the paper, or the largest power of 2 that fits."""
    return math.gcd(width, 32)


def conv_block(in_channels: int, width: int, kernel: int, official: bool) -> nn.Sequential:
    """Return convolution without bias, normalisation and ReLU; the spatial size stays (cb_k of specification 4.3)."""
    convolution = nn.Conv2d(in_channels, width, kernel, padding=kernel // 2, bias=False)
    return nn.Sequential(convolution, norm_layer(width, official), nn.ReLU())


def upsample(features: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Enlarge [B, C, h, w] to ``size`` bilinearly with aligned corners, as in the refinement of the paper's code."""
    return functional.interpolate(features, size=size, mode="bilinear", align_corners=True)
