# SPDX-License-Identifier: Apache-2.0
"""One image while it is drawn."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from seas_aug.data.windows import Window
from seas_aug.draw.compose import Spot
from seas_aug.errors import SeasError

Start = Literal["reference", "copy", "hole"]
"""The noised reference; that with few-shot defects copied onto it; nothing, in holes of the proposed shapes."""
# A redrawn image takes its next seed this far away, beyond the seeds of any neighbouring image.
RETRY_STRIDE = 1_000_003


@dataclass(frozen=True)
class Request:
    """One image to draw.

    Attributes:
        seed: what the user asked for; decides everything about the image.
        reference: index of the normal image that it is drawn on.
        position: number of the image in its call, which picks the user's mask.
        retries: earlier draws that the gate rejected.
        rejected: why.
    """

    seed: int
    reference: int
    position: int = 0
    retries: int = 0
    rejected: tuple[str, ...] = ()

    @property
    def noise_seed(self) -> int:
        """What places, shapes and noise are drawn from."""
        return self.seed + self.retries * RETRY_STRIDE


@dataclass(eq=False)
class Attempt:
    """One image while it is drawn.

    Attributes:
        request: what was asked for.
        native: the reference as it is.
        before: the same, uint8 ``[H, W, 3]``.
        after: what has been drawn on it so far.
        spots: what is to be drawn.
        start: what it starts from.
        mask: uint8 ``[H, W]`` so far.
        allowed: where a mask may be, or None.
        own_mask: the user's, or None.
        scores: sum and number of the probabilities inside the mask.
        cut_off: largest share of change right outside of a mask.
    """

    request: Request
    native: NDArray[Any]
    before: NDArray[np.uint8]
    after: NDArray[np.uint8]
    spots: list[Spot]
    start: Start
    mask: NDArray[np.uint8]
    allowed: NDArray[np.uint8] | None = None
    own_mask: NDArray[np.uint8] | None = None
    scores: list[float] = field(default_factory=list)
    cut_off: float = 0.0

    @property
    def is_shaped(self) -> bool:
        """Whether shapes were proposed, so that it is known where and how large its defects are to be."""
        return self.start != "reference"

    def steps(self) -> Iterator[tuple[Spot, Window, bool]]:
        """Yield what is drawn one after the other: spot, window, and whether the spot begins with it."""
        for spot in self.spots:
            for number, place in enumerate(spot.windows):
                yield spot, place, number == 0


def check_requests(
    count: int, batch_size: int, seeds: list[int], references: list[int], numbers: list[int], available: int
) -> None:
    """Raise ``SeasError`` where seeds, references and numbers of a call do not fit together."""
    if count < 1 or batch_size < 1:
        message = f"num_images is {count} and batch_size {batch_size}; give 1 or more for both."
        raise SeasError(message)
    if not len(seeds) == len(references) == len(numbers) == count:
        message = (
            f"{count} images were asked for, with {len(seeds)} seeds, {len(references)} references and "
            f"{len(numbers)} numbers; give one of each per image."
        )
        raise SeasError(message)
    outside = [index for index in references if not 0 <= index < available]
    if outside:
        message = f"reference_indices holds {outside[0]}; there are {available} references, give 0 to {available - 1}."
        raise SeasError(message)
