# SPDX-License-Identifier: Apache-2.0
"""Detail branch of the mask predictor: the finished image itself, for defects that small latents do not show."""

from __future__ import annotations

import itertools

import torch
from torch import nn

_MULTIPLES = (1, 2, 4, 6, 8)
_PROMPT_WIDTH = 64
_IMAGE_PRIOR = 3.0  # odds of 20 to 1: most pixels are normal


class DetailBranch(nn.Module):
    """U-shaped network (Ronneberger et al. 2015) over the image and what is known of its mask so far.

    Not part of the paper, whose refinement sees fine features through 1 x 1 convolutions only and leaves the finding of
    defects to Stable Diffusion's features. Those of a small base on small latents do not show thin defects. It is told
    the anomaly type, because what is a defect of one type may be nothing to remark in another.

    Args:
        prompt_channels: width of the prompt embedding.
        width: channels at full resolution, a multiple of 8; 2, 4, 6 and 8 times as many at each level below it.
        official: batch statistics in evaluation too, as everywhere in the authors' mask branch.
    """

    def __init__(self, prompt_channels: int, width: int, official: bool = False) -> None:
        super().__init__()
        widths = [width * multiple for multiple in _MULTIPLES]
        self.down = nn.ModuleList(
            _two_convolutions(before, after, official) for before, after in itertools.pairwise([4, *widths])
        )
        self.anomaly_type = nn.Sequential(
            nn.LayerNorm(prompt_channels, elementwise_affine=False),
            nn.Linear(prompt_channels, _PROMPT_WIDTH),
            nn.SiLU(),
            nn.Linear(_PROMPT_WIDTH, widths[-1]),
        )
        self.up = nn.ModuleList(
            _two_convolutions(below + here, here, official) for here, below in itertools.pairwise(widths)
        )
        self.result = nn.Conv2d(widths[0], 2, 1)
        self.result.bias = nn.Parameter(torch.tensor([_IMAGE_PRIOR / 2, -_IMAGE_PRIOR / 2]))

    def forward(self, image: torch.Tensor, known: torch.Tensor, prompt: torch.Tensor) -> torch.Tensor:
        """Return mask logits; channel 1 is the anomaly.

        Args:
            image: float [B, 3, H, W] in [-1, 1], of any size from 16 pixels on.
            known: probability of an anomaly as the generator's features show it, float [B, 1, H, W] in [0, 1]; zero
                where nothing is known.
            prompt: prompt embedding, float [B, prompt_channels]
                (:func:`seas_aug.prompt.embedding.pool_prompts`).

        Returns:
            float [B, 2, H, W].
        """
        features = torch.cat([image, known], dim=1).contiguous(memory_format=torch.channels_last)
        kept: list[torch.Tensor] = []
        for level, block in enumerate(self.down):
            if level:
                features = nn.functional.max_pool2d(features, 2, ceil_mode=True)
            features = block(features)
            kept.append(features)
        features = features + self.anomaly_type(prompt)[:, :, None, None]
        for block, here in zip(reversed(self.up), reversed(kept[:-1]), strict=True):
            size = (here.shape[-2], here.shape[-1])
            enlarged = nn.functional.interpolate(features, size=size, mode="bilinear", align_corners=False)
            features = block(torch.cat([enlarged, here], dim=1))
        return self.result(features)


def _two_convolutions(before: int, after: int, official: bool) -> nn.Sequential:
    # Batch normalisation, whose statistics are fixed after training: an image's mask does not depend on batch mates.
    layers: list[nn.Module] = []
    for channels in (before, after):
        layers += [
            nn.Conv2d(channels, after, 3, padding=1, bias=False),
            nn.BatchNorm2d(after, track_running_stats=not official),
            nn.ReLU(),
        ]
    return nn.Sequential(*layers)
