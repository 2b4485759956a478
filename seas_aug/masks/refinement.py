# SPDX-License-Identifier: Apache-2.0
"""Mask Refinement Module (MRM): doubles the resolution of the mask features (specification, section 4.3)."""

from __future__ import annotations

import torch
from torch import nn

from seas_aug.masks.layers import conv_block, upsample


class MaskRefinement(nn.Module):
    """Let coarse, discriminative features gate the fine features of the VAE decoder.

    With cb_k a convolution k x k, normalisation and ReLU::

        u   = bilinear x2 of the coarse features
        a   = cb1(cb3(cb1(u)))
        g   = a + cb1(u) + cb1(cb3(cb1(a)))
        out = cb1(fine) * g + u

    Args:
        width: channels of coarse features and result.
        fine_channels: channels of the VAE decoder's feature.
        official: batch instead of group normalisation (see ``norm_layer``).
    """

    def __init__(self, width: int, fine_channels: int, official: bool = False) -> None:
        super().__init__()

        def bottleneck() -> nn.Sequential:
            return nn.Sequential(*(conv_block(width, width, kernel, official) for kernel in (1, 3, 1)))

        self.first = bottleneck()
        self.shortcut = conv_block(width, width, 1, official)
        self.second = bottleneck()
        self.project_fine = conv_block(fine_channels, width, 1, official)

    def forward(self, coarse: torch.Tensor, fine: torch.Tensor) -> torch.Tensor:
        """Return refined features.

        Args:
            coarse: float32 [B, width, s, s].
            fine: float32 [B, fine_channels, 2s, 2s].

        Returns:
            float32 [B, width, 2s, 2s].
        """
        enlarged = upsample(coarse, (fine.shape[-2], fine.shape[-1]))
        first = self.first(enlarged)
        gate = first + self.shortcut(enlarged) + self.second(first)
        return self.project_fine(fine) * gate + enlarged
