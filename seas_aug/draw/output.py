# SPDX-License-Identifier: Apache-2.0
"""What drawing returns."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from diffusers.utils import BaseOutput
from numpy.typing import NDArray

from seas_aug.data.decode import as_rgb


@dataclass(frozen=True)
class PairRecord:
    """How one image came about, as plain values.

    Attributes:
        seed: seed that was asked for.
        anomaly_types: types whose tokens are in the prompt; empty for a normal image.
        prompt: the text.
        reference: name of the real normal image that it was drawn on.
        score: mean mask probability inside the mask, 0 to 1 (1 for a normal image).
        retries: how many draws the gate rejected before this one.
        rejected: why, a reason for each of them.
        copied_from: few-shot images whose defects were copied onto the reference for it to start from.
        windows: (top, left, side) of each square that was drawn, in pixels of the reference.
    """

    seed: int
    anomaly_types: tuple[str, ...]
    prompt: str
    reference: str
    score: float
    retries: int
    rejected: tuple[str, ...] = ()
    copied_from: tuple[str, ...] = ()
    windows: tuple[tuple[int, int, int], ...] = ()


@dataclass(frozen=True)
class Refusal:
    """A seed that gave no pair the gate accepts.

    Attributes:
        seed: seed that was asked for.
        anomaly_types: see :class:`PairRecord`.
        reference: name of the normal image.
        reasons: why, one for each draw.
    """

    seed: int
    anomaly_types: tuple[str, ...]
    reference: str
    reasons: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Pair:
    """A finished image with its mask and the real normal image that it was drawn on.

    Attributes:
        image: with the reference's own size, depth and channels.
        mask: uint8 ``[H, W]`` of 0 and 1; all 0 for a normal image.
        reference: uint8 or uint16, ``[H, W]`` or ``[H, W, C]`` in RGB order.
        record: how it came about.
    """

    image: NDArray[Any]
    mask: NDArray[np.uint8]
    reference: NDArray[Any]
    record: PairRecord


@dataclass
class SeaSPipelineOutput(BaseOutput):
    """Pairs in the order of their seeds, each with the size, depth and channels of its own reference.

    Attributes:
        images: uint8 or uint16, ``[H, W]`` or ``[H, W, C]`` in RGB order.
        masks: uint8 ``[H, W]`` of 0 and 1; all 0 for normal images.
        references: as ``images``.
        records: one :class:`PairRecord` per image.
        refused: seeds that gave no pair the gate accepts; they have no image.
    """

    images: list[NDArray[Any]]
    masks: list[NDArray[np.uint8]]
    references: list[NDArray[Any]]
    records: list[PairRecord]
    refused: list[Refusal] = field(default_factory=list)

    @classmethod
    def of(cls, drawn: list[Pair | Refusal]) -> SeaSPipelineOutput:
        """Gather what was drawn for each seed."""
        pairs = [one for one in drawn if isinstance(one, Pair)]
        return cls(
            [pair.image for pair in pairs],
            [pair.mask for pair in pairs],
            [pair.reference for pair in pairs],
            [pair.record for pair in pairs],
            [one for one in drawn if isinstance(one, Refusal)],
        )


def as_tensor(pictures: list[NDArray[Any]]) -> torch.Tensor:
    """Return pictures of one size as float32 ``[N, 3, H, W]`` in [0, 1]."""
    return torch.stack([torch.from_numpy(as_rgb(one).copy()).permute(2, 0, 1) for one in pictures]).float() / 255
