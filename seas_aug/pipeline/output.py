# SPDX-License-Identifier: Apache-2.0
"""What a call of the pipeline returns."""

from __future__ import annotations

from dataclasses import dataclass

from diffusers.utils import BaseOutput
from torch import Tensor


@dataclass(frozen=True)
class PairRecord:
    """How one image came about.

    Attributes:
        seed: seed that was asked for.
        anomaly_types: types whose tokens are in the prompt; empty for a normal image.
        prompt: the text.
        reference: name of the real normal image that it started from.
        score: mean mask probability inside the mask, 0 to 1 (1 for a normal image).
        retries: how many draws had an empty mask before this one.
        copied_from: few-shot images whose defects were copied onto the reference for it to start from.
    """

    seed: int
    anomaly_types: tuple[str, ...]
    prompt: str
    reference: str
    score: float
    retries: int
    copied_from: tuple[str, ...] = ()


@dataclass
class SeaSPipelineOutput(BaseOutput):
    """Triples of generated image, exact mask and the real normal image that it started from.

    Attributes:
        images: float32 ``[N, 3, H, W]`` in [0, 1].
        masks: float32 ``[N, 1, H, W]`` of 0 and 1; all 0 for normal images.
        references: float32 ``[N, 3, H, W]`` in [0, 1].
        records: one :class:`PairRecord` per image.
    """

    images: Tensor
    masks: Tensor
    references: Tensor
    records: list[PairRecord]
