# SPDX-License-Identifier: Apache-2.0
"""Where an adapter gets its defects from, whatever made them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

Origin = Literal["none", "perlin", "cutpaste", "placed_paste", "seas"]
Triple = tuple[Tensor, Tensor, Tensor]
"""Defect image, mask and the normal image it was made from."""


class TripleSource(Protocol):
    """Triples of defect image, mask and the normal image it was made from."""

    @property
    def anomaly_types(self) -> tuple[str, ...]:
        """Types of the defects."""

    @property
    def native_size(self) -> tuple[int, int]:
        """Height and width in pixels that the pictures have before they are resized."""

    def __len__(self) -> int:
        """Number of triples, or of defects that they are made from."""

    def draw(self, generator: torch.Generator, n: int, size: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
        """Draw triples.

        Args:
            generator: source of every random choice (a CPU generator).
            n: how many, 0 or more.
            size: height and width in pixels.

        Returns:
            ``(images, masks, references)``: float32 ``[n, 3, H, W]`` in [0, 1], float32 ``[n, 1, H, W]`` of 0 and 1,
            float32 ``[n, 3, H, W]`` in [0, 1].
        """

    def reshuffle(self) -> None:
        """Forget what is left of the current pass; the next draw starts a new one."""


@dataclass(frozen=True)
class DefectSource:
    """What an adapter draws its defects from.

    Args:
        pool: the triples.
        probability: share of the images in a batch that get a defect, 0 to 1.
        perlin_ratio: share of those defects that come from the detector's own Perlin source, 0 to 1.
        generator: CPU generator of every random choice.
    """

    pool: TripleSource
    probability: float
    perlin_ratio: float
    generator: torch.Generator

    def choose(self, batch_size: int) -> tuple[list[int], list[int]]:
        """Draw which images of a batch get a defect.

        Args:
            batch_size: images in the batch.

        Returns:
            Rows for triples and rows for the detector's own source; ascending, and no row is in both.
        """
        chance, origin = torch.rand(2, batch_size, generator=self.generator)
        defect = chance < self.probability
        own = defect & (origin < self.perlin_ratio)
        return (defect & ~own).nonzero().flatten().tolist(), own.nonzero().flatten().tolist()


class NoDefects:
    """A source that never has a defect, for ``augmentation: none``."""

    anomaly_types: tuple[str, ...] = ()
    native_size = (0, 0)

    def __len__(self) -> int:
        """Return 0."""
        return 0

    def draw(self, generator: torch.Generator, n: int, size: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
        """Return no triples.

        Args:
            generator: not used.
            n: 0.
            size: height and width in pixels.

        Raises:
            ValueError: ``n`` is not 0.
        """
        del generator
        if n:
            raise ValueError(f"{n} defects were asked of a source that has none")
        return torch.zeros(0, 3, *size), torch.zeros(0, 1, *size), torch.zeros(0, 3, *size)

    def reshuffle(self) -> None:
        """Do nothing."""
