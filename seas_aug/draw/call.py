# SPDX-License-Identifier: Apache-2.0
"""What all images of a call share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from seas_aug.config import DrawConfig, SamplingConfig
from seas_aug.data.seeds import SEED_BITS, derive_seed
from seas_aug.draw.attempt import Start
from seas_aug.draw.compose import Composer
from seas_aug.draw.control import Control
from seas_aug.draw.gate import GateLimits
from seas_aug.draw.references import References
from seas_aug.draw.sample import SamplerSettings
from seas_aug.latents.prediction import is_inpainting


@dataclass(frozen=True, eq=False)
class Call:
    """What all images of a call share.

    Attributes:
        pipe: the models.
        references: normal images.
        composer: shapes, places, windows.
        control: regions and masks.
        prompt: text of the condition.
        types: anomaly types in it; empty for normal images.
        sampling: the run's settings with those of the call in their place.
        settings: those of the call.
        sampler: of images that start from their reference alone.
        limits: of the gate; None checks for an empty mask only.
        image_size: side of the model's pictures in pixels.
        grey: pictures are made grey, since those of the product are.
        keep_background: outside the mask a defect image is its reference.
    """

    pipe: Any
    references: References
    composer: Composer
    control: Control
    prompt: str
    types: tuple[str, ...]
    sampling: SamplingConfig
    settings: DrawConfig
    sampler: SamplerSettings
    limits: GateLimits | None
    image_size: int
    grey: bool
    keep_background: bool

    def start_of(self, seed: int) -> Start:
        """Return what an image starts from, as its own seed decides once for all its draws."""
        if not self.types:  # a normal image: holes of an inpainting model are filled with new normal texture
            return "hole" if is_inpainting(self.pipe.unet) else "reference"
        if self.composer.few_shot is None:  # a mask of the user's is all that a hole needs
            return self.sampling.fill if self.control.gives_masks else "reference"
        if derive_seed(seed, "copied") / 2**SEED_BITS < self.sampling.copied_share:
            return "copy"
        return self.sampling.fill
