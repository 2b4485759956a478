# SPDX-License-Identifier: Apache-2.0
"""Latents of every image in each of its augmentations, encoded once."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from seas_aug.base.latents import latent_statistics

_LIMIT_BYTES = 2 * 2**30


class LatentCache:
    """Mean and standard deviation of the latents, by image and augmentation; pixels are turned, never latents.

    Args:
        vae: frozen autoencoder.
    """

    def __init__(self, vae: Any) -> None:
        self._vae = vae
        self._kept: dict[tuple[str, int, int], tuple[Tensor, Tensor | None]] = {}
        self._bytes = 0

    @torch.no_grad()
    def encode(self, kind: str, images: Tensor, indices: Tensor, augmentations: Tensor, noise: Tensor) -> Tensor:
        """Return scaled latents drawn from the posterior.

        Args:
            kind: ``anomaly`` or ``normal``; indices of one kind name the same images in every batch.
            images: float ``[B, 3, H, W]`` in [-1, 1].
            indices: int64 ``[B]``.
            augmentations: int64 ``[B]``, codes of the augmentation.
            noise: standard normal ``[B, C, h, w]``.
        """
        keys = [(kind, int(i), int(a)) for i, a in zip(indices, augmentations, strict=True)]
        missing = [row for row, key in enumerate(keys) if key not in self._kept]
        fresh: dict[tuple[str, int, int], tuple[Tensor, Tensor | None]] = {}
        if missing:
            # One by one, so that a resumed run with an empty cache sees exactly the same latents.
            with torch.autocast(images.device.type, enabled=False):
                for row in missing:
                    mean, deviation = latent_statistics(self._vae, images[row : row + 1])
                    fresh[keys[row]] = (mean[0], None if deviation is None else deviation[0])
            self._remember(fresh)
        rows = [self._kept.get(key) or fresh[key] for key in keys]
        return torch.stack(
            [mean if deviation is None else mean + deviation * noise[i] for i, (mean, deviation) in enumerate(rows)]
        )

    def _remember(self, fresh: dict[tuple[str, int, int], tuple[Tensor, Tensor | None]]) -> None:
        for key, (mean, deviation) in fresh.items():
            size = mean.numel() * mean.element_size() * (1 if deviation is None else 2)
            if self._bytes + size <= _LIMIT_BYTES:
                self._kept[key] = (mean, deviation)
                self._bytes += size
