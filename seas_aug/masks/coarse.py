# SPDX-License-Identifier: Apache-2.0
"""Coarse branch of the mask predictor: U-Net features to one map at latent resolution (specification, section 4.2)."""

from __future__ import annotations

import torch
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from torch import nn
from torch.nn import functional

from seas_aug.masks.layers import norm_groups


def attention_heads(width: int) -> int:
    """Return the number of attention heads: of 24 channels as in the paper, or the next size up that divides.

    Narrower heads would only cost time: attention over a thousand positions is what the coarse branch spends most on.

    Args:
        width: channels of the branch, a multiple of 8.
    """
    return next(width // size for size in range(min(24, width), width + 1, 8) if width % size == 0)


class CoarseBranch(nn.Module):
    """Fuse the features "low" and "mid" and let every position see the whole image.

    Args:
        low_channels: channels of the U-Net feature one octave below the latents.
        mid_channels: channels of the U-Net feature at the latents' resolution.
        width: channels of the result; 2/3 come from "low", 1/3 from "mid" (paper: 128 + 64 = 192).
        blocks: self-attention blocks (paper: 4).
    """

    def __init__(self, low_channels: int, mid_channels: int, width: int, blocks: int) -> None:
        super().__init__()
        low_width = 2 * width // 3
        heads = attention_heads(width)
        self.reduce_low = nn.Conv2d(low_channels, low_width, 1, bias=False)
        self.reduce_mid = nn.Conv2d(mid_channels, width - low_width, 1, bias=False)
        self.transformer = Transformer2DModel(
            num_attention_heads=heads,
            attention_head_dim=width // heads,
            in_channels=width,
            num_layers=blocks,
            norm_num_groups=norm_groups(width),
        )

    def forward(self, low: torch.Tensor, mid: torch.Tensor) -> torch.Tensor:
        """Return coarse features.

        Args:
            low: float32 [B, low_channels, s/2, s/2].
            mid: float32 [B, mid_channels, s, s].

        Returns:
            float32 [B, width, s, s].
        """
        size = (mid.shape[-2], mid.shape[-1])
        enlarged = functional.interpolate(self.reduce_low(low), size=size, mode="bilinear", align_corners=False)
        fused = torch.cat([enlarged, self.reduce_mid(mid)], dim=1)
        return self.transformer(fused, return_dict=False)[0]
