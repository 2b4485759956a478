# SPDX-License-Identifier: Apache-2.0
"""Detail branch of the mask predictor: what the generator's coarse features cannot show, such as a one-pixel crack."""

from __future__ import annotations

import itertools

import torch
from torch import nn

from seas_aug.masks.layers import conv_block

_MULTIPLES = (1, 2, 4, 6, 8)
_SMALLEST = 4  # side that is still halved: a single pixel has no statistics to be normalised by


class DetailBranch(nn.Module):
    """U-shaped network (Ronneberger et al. 2015) over the finest VAE decoder feature, told by the coarse features.

    Not part of the paper, whose refinement sees fine features through 1 x 1 convolutions only and leaves the finding of
    defects to Stable Diffusion's features. Those of a small base on small latents do not show thin defects.

    Its output starts at zero, so that a predictor without it can be continued with it.

    Args:
        fine_channels: channels of the finest VAE decoder feature.
        coarse_channels: channels of the coarse features, and of the result.
        doublings: how many times finer the fine feature is than the coarse one, as a power of 2.
        width: channels at full resolution, a multiple of 8; 1, 2, 4, 6, 8, 8, ... times as many below it.
        official: batch instead of group normalisation (see ``norm_layer``).
    """

    def __init__(
        self, fine_channels: int, coarse_channels: int, doublings: int, width: int, official: bool = False
    ) -> None:
        super().__init__()
        levels = max(len(_MULTIPLES), doublings + 3)  # two levels below the coarse one, for its surroundings
        widths = [width * _MULTIPLES[min(level, len(_MULTIPLES) - 1)] for level in range(levels)]
        self.down = nn.ModuleList(
            _two_convolutions(before, after, official) for before, after in itertools.pairwise([fine_channels, *widths])
        )
        self.tell = nn.Conv2d(coarse_channels, widths[doublings], 1)
        self.up = nn.ModuleList(
            _two_convolutions(below + here, here, official) for here, below in itertools.pairwise(widths)
        )
        self.result = nn.Conv2d(widths[0], coarse_channels, 1)
        nn.init.zeros_(self.result.weight)
        nn.init.zeros_(self.result.bias)  # type: ignore[arg-type]
        self._told_at = doublings

    def forward(self, fine: torch.Tensor, coarse: torch.Tensor) -> torch.Tensor:
        """Return what is added to the refined features.

        Args:
            fine: [B, fine_channels, H, W], of any size from 2 pixels on.
            coarse: [B, coarse_channels, s, s].

        Returns:
            [B, coarse_channels, H, W].
        """
        kept: list[torch.Tensor] = []
        features = fine
        for level, block in enumerate(self.down):
            if level > self._told_at and min(features.shape[-2:]) < _SMALLEST:
                break
            if level:
                features = nn.functional.max_pool2d(features, 2, ceil_mode=True)
            features = block(features)
            if level == self._told_at:
                features = features + self.tell(_resized(coarse, features))
            kept.append(features)
        for block, here in zip(reversed(self.up[: len(kept) - 1]), reversed(kept[:-1]), strict=True):
            features = block(torch.cat([_resized(features, here), here], dim=1))
        return self.result(features)


def _two_convolutions(before: int, after: int, official: bool) -> nn.Sequential:
    return nn.Sequential(conv_block(before, after, 3, official), conv_block(after, after, 3, official))


def _resized(features: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    if features.shape[-2:] == like.shape[-2:]:
        return features
    return nn.functional.interpolate(features, size=like.shape[-2:], mode="bilinear", align_corners=False)
