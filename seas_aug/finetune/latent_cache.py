# SPDX-License-Identifier: Apache-2.0
"""Latents of every image in each of its augmentations, encoded once."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from seas_aug.latents.codec import latent_statistics

_LIMIT_BYTES = 2 * 2**30

Statistics = tuple[Tensor, Tensor | None]  # mean and standard deviation


class LatentCache:
    """Mean and standard deviation of the latents, by image and augmentation; pixels are turned, never latents.

    Args:
        vae: frozen autoencoder.
    """

    def __init__(self, vae: Any) -> None:
        self._vae = vae
        self._kept: dict[tuple[str, int, int], Statistics] = {}
        self._bytes = 0

    @torch.no_grad()
    def encode(self, kind: str, images: Tensor, indices: Tensor, augmentations: Tensor, noise: Tensor) -> Tensor:
        """Return scaled latents drawn from the posterior.

        Args:
            kind: ``anomaly`` or ``normal``; indices of one kind name the same images in every batch.
            images: float ``[B, 3, H, W]`` in [-1, 1].
            indices: int64 ``[B]``; -1 for a picture that never comes again and is not kept.
            augmentations: int64 ``[B]``, codes of the augmentation.
            noise: standard normal ``[B, C, h, w]``.
        """
        # As lists at once: each number by itself would wait for the GPU.
        keys = [(kind, i, a) for i, a in zip(indices.tolist(), augmentations.tolist(), strict=True)]
        rows: dict[int, Statistics] = {}
        single = [row for row, key in enumerate(keys) if key[1] < 0]
        if single:
            # Together, and in the precision of the training: encoded anew every time, they would cost too much else.
            rows |= dict(zip(single, self._statistics(images[single]), strict=True))
        fresh: dict[tuple[str, int, int], Statistics] = {}
        with torch.autocast(images.device.type, enabled=False):
            for row, key in enumerate(keys):
                if row not in rows:
                    # One by one, so that a resumed run with an empty cache sees exactly the same latents.
                    if key not in self._kept and key not in fresh:
                        fresh[key] = self._statistics(images[row : row + 1])[0]
                    rows[row] = self._kept.get(key) or fresh[key]
        self._remember(fresh)
        drawn = ((*rows[row], draw) for row, draw in enumerate(noise))
        return torch.stack([mean if deviation is None else mean + deviation * draw for mean, deviation, draw in drawn])

    def _statistics(self, images: Tensor) -> list[Statistics]:
        mean, deviation = latent_statistics(self._vae, images)
        deviations = [None] * len(mean) if deviation is None else list(deviation.float())
        return list(zip(mean.float(), deviations, strict=True))

    def _remember(self, fresh: dict[tuple[str, int, int], Statistics]) -> None:
        for key, (mean, deviation) in fresh.items():
            size = mean.numel() * mean.element_size() * (1 if deviation is None else 2)
            if self._bytes + size <= _LIMIT_BYTES:
                self._kept[key] = (mean, deviation)
                self._bytes += size
