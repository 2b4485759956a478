# SPDX-License-Identifier: Apache-2.0
"""Image features that need no trained weights: moduli of Gabor wavelets, in two orders.

The usual features of image statistics (Inception, AlexNet) have to be downloaded. Wavelet moduli, averaged, describe
texture well without any training (J. Bruna, S. Mallat, "Invariant scattering convolution networks", TPAMI 2013, orders
1 and 2). Beside the average the maximum over the picture is kept: a defect covers few pixels, so that an average alone
would compare backgrounds only.
"""

from __future__ import annotations

import math
from itertools import combinations

import torch
from torch import Tensor, nn
from torch.nn import functional

# Rows: luminance, red - green, yellow - blue; each of them sums to 1 or to 0.
_OPPONENT = torch.tensor([[1 / 3, 1 / 3, 1 / 3], [1.0, -1.0, 0.0], [0.5, 0.5, -1.0]])
_FLOOR = 1 / 255  # of grey levels in [0, 1]: below it a response is rounding of 8-bit images


def gabor_kernels(orientations: int, size: int = 9) -> Tensor:
    """Return complex wavelets of one octave, without response to constant pictures.

    Args:
        orientations: how many angles, evenly over half a turn.
        size: odd side of the kernels in pixels.

    Returns:
        Real and imaginary parts, float32 ``[2 x orientations, 1, size, size]``; those of one angle are
        ``[k]`` and ``[orientations + k]``.
    """
    half = size // 2
    y, x = torch.meshgrid(torch.arange(-half, half + 1.0), torch.arange(-half, half + 1.0), indexing="ij")
    real, imaginary = [], []
    for k in range(orientations):
        angle = math.pi * k / orientations
        along = x * math.cos(angle) + y * math.sin(angle)
        across = -x * math.sin(angle) + y * math.cos(angle)
        envelope = torch.exp(-(along**2 + (across / 1.5) ** 2) / (2 * 1.5**2))
        envelope = envelope / envelope.sum()
        wave = torch.cos(along * math.pi / 2)  # a quarter cycle a pixel, in the middle of the octave
        real.append(envelope * (wave - (envelope * wave).sum()))
        imaginary.append(envelope * torch.sin(along * math.pi / 2))
    return torch.stack(real + imaginary)[:, None]


class WaveletFeatures(nn.Module):
    """Logarithms of averaged and largest wavelet moduli of pictures.

    Args:
        scales: octaves, of which each halves the picture.
        orientations: angles per octave.
    """

    def __init__(self, scales: int = 4, orientations: int = 6) -> None:
        super().__init__()
        if scales < 1 or orientations < 1:
            message = f"scales is {scales} and orientations is {orientations}; give 1 or more of each."
            raise ValueError(message)
        self.scales, self.orientations = scales, orientations
        self.kernels: Tensor
        self.register_buffer("kernels", gabor_kernels(orientations))
        self.opponent: Tensor
        self.register_buffer("opponent", _OPPONENT.clone())
        pairs = len(list(combinations(range(scales), 2)))
        self.num_features = 3 * scales * orientations * 2 + pairs * orientations**2

    def _moduli(self, channels: Tensor) -> Tensor:
        """Return moduli ``[N, C, orientations, H, W]`` of channels ``[N, C, H, W]``."""
        n, c, height, width = channels.shape
        half = self.kernels.shape[-1] // 2
        padded = functional.pad(channels.reshape(n * c, 1, height, width), (half,) * 4, mode="replicate")
        real, imaginary = functional.conv2d(padded, self.kernels).chunk(2, dim=1)
        return torch.sqrt(real**2 + imaginary**2 + 1e-12).reshape(n, c, self.orientations, height, width)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Compute features.

        Args:
            images: uint8 ``[N, 3, H, W]``; sides of at least ``2 ** scales`` pixels.

        Returns:
            float32 ``[N, num_features]``.
        """
        picture = torch.einsum("oc,nchw->nohw", self.opponent, images.float() / 255)
        found, order1 = [], []
        for _ in range(self.scales):
            moduli = self._moduli(picture)
            order1.append(moduli[:, 0])
            found += [moduli.mean(dim=(-2, -1)).flatten(1), moduli.amax(dim=(-2, -1)).flatten(1)]
            picture = functional.avg_pool2d(picture, 2)
        for first, second in combinations(range(self.scales), 2):
            envelope = functional.avg_pool2d(order1[first], 2 ** (second - first))
            found.append(self._moduli(envelope).mean(dim=(-2, -1)).flatten(1))
        return torch.log(torch.cat(found, dim=1) + _FLOOR)
