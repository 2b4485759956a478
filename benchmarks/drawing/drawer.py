# SPDX-License-Identifier: Apache-2.0
"""What a model has to be able to do so that its drawing can be measured."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Reference = Literal["own", "seen", "hidden"]


@dataclass(frozen=True)
class Proposal:
    """Where a defect is to be drawn.

    Attributes:
        reference: normal window, uint8 ``[S, S, 3]``.
        start: the placed paste: the reference with the texture of a few-shot defect at the mask's place, likewise.
        mask: uint8 ``[S, S]`` of 0 and 1.
        anomaly_type: the type that the mask is of.
        seed: what it was proposed from.
        reference_name: file that the reference is from.
        source_name: few-shot file that mask and texture are from.
        window: top, left and side in the reference's own pixels; None where the reference is no window of a file.
    """

    reference: Pixels
    start: Pixels
    mask: Pixels
    anomaly_type: str
    seed: int
    reference_name: str
    source_name: str
    window: tuple[int, int, int] | None = None


class Drawer(Protocol):
    """A model of one product.

    Attributes:
        name: changes whenever the model or its settings do; drawn windows are cached under it.
        size: side of its windows in pixels.
        whole: it sees whole images squashed to squares, no windows.
        mask_threshold: probability above which a pixel belongs to a defect.
        fills_holes: it draws into a hole of which it need not see the content; else it redraws what is there.
        has_severity: ``draw`` follows its ``severity``.
    """

    name: str
    size: int
    whole: bool
    mask_threshold: float
    fills_holes: bool
    has_severity: bool

    def propose(self, anomaly_type: str, seeds: Sequence[int]) -> list[Proposal]:
        """Return where defects of a type are to be drawn, one place per seed."""

    def draw(
        self,
        proposals: Sequence[Proposal],
        prompt_types: Sequence[tuple[str, ...]],
        seeds: Sequence[int],
        reference: Reference = "own",
        severity: float = 1.0,
    ) -> Pixels:
        """Draw windows, decoded and not pasted back.

        Args:
            proposals: N places.
            prompt_types: the types in the prompt of each; ``()`` is the normal prompt.
            seeds: of the noise of each.
            reference: whether the reference is seen in the hole (and nothing of the paste), is hidden there, or is
                as in the model's own way of drawing.
            severity: how strong the defects are to be, 0 to 1.

        Returns:
            uint8 ``[N, S, S, 3]``.
        """

    def masks_of(self, proposals: Sequence[Proposal], images: Pixels) -> Pixels:
        """Return the masks that are given out with drawn windows ``[N, S, S, 3]``: uint8 ``[N, S, S]`` of 0 and 1."""

    def find_masks(self, images: Pixels, types: Sequence[str]) -> NDArray[np.float32]:
        """Return probabilities of a defect ``[N, S, S]`` in [0, 1]; the whole window is the hole."""

    def through_codec(self, images: Pixels) -> Pixels:
        """Return windows after the autoencoder's round trip, uint8 of the same shape."""


def content_of(proposals: Sequence[Proposal]) -> str:
    """Return a hash over the pixels and types of proposals."""
    digest = hashlib.sha256()
    for one in proposals:
        digest.update(one.anomaly_type.encode())
        for pixels in (one.reference, one.start, one.mask):
            digest.update(np.ascontiguousarray(pixels).tobytes())
    return digest.hexdigest()[:16]
