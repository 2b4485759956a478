# SPDX-License-Identifier: Apache-2.0
"""Everything that ``seas-aug finetune`` needs."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from seas_aug.config.check import check
from seas_aug.config.data import DataConfig
from seas_aug.config.method import AttentionConfig, GeneratorConfig, MaskConfig, PromptConfig
from seas_aug.config.sampling import SamplingConfig

Precision = Literal["32-true", "bf16-mixed", "16-mixed"]


@dataclass(frozen=True)
class FineTuneConfig:
    """Everything ``seas-aug finetune`` needs; saved as ``config.yaml`` in the run folder.

    Args:
        output: run folder; an unfinished run in it is continued.
        base: ``embedded``, a local diffusers folder, or a hub id such as ``CompVis/stable-diffusion-v1-4``.
        seed: seed of everything random in fine-tuning.
        official: calculate as the authors' code does where it departs from what is sound, to compare with their
            results: batch-global min-max in the DA loss, mask branch with the statistics of the batch, targets by an
            integer cast, features of one DDPM step further, and a start from the unscaled latent on a 1500-step
            schedule, down to the last noise level, each seed once. ``seas-aug departures`` lists what is left. Two
            settings follow from that: both stages see all timesteps, and a mask branch with batch statistics cannot go
            on from the base's. A mask then depends on the images drawn with it, so on the batch size. For a comparison
            of the arithmetic alone give both runs ``generator.limit_timesteps: false`` and ``masks.from_base: false``.
        precision: Lightning precision; None takes bf16-mixed where the hardware has it.
        accelerator: Lightning accelerator.
        devices: Lightning's, of which one is used: ``1``, or the number of a GPU as ``[1]``.
        preview_every: optimiser updates between preview grids; 0 switches them off.
        checkpoint_every: optimiser updates between checkpoints.
    """

    output: Path = Path("runs/seas")
    base: str = "embedded"
    seed: int = 0
    official: bool = False
    precision: Precision | None = None
    accelerator: str = "auto"
    devices: int | str = 1
    preview_every: int = 500
    checkpoint_every: int = 100
    data: DataConfig = field(default_factory=DataConfig)
    prompt: PromptConfig = field(default_factory=PromptConfig)
    attention: AttentionConfig = field(default_factory=AttentionConfig)
    generator: GeneratorConfig = field(default_factory=GeneratorConfig)
    masks: MaskConfig = field(default_factory=MaskConfig)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)

    def __post_init__(self) -> None:
        one = str(self.devices).strip() == "1" or re.fullmatch(r"\[\s*\d+\s*\]|\d+\s*,", str(self.devices).strip())
        check(
            bool(one),
            f"devices is {self.devices}; SeaS is fine-tuned by one process on one device, whose noise others would "
            "draw again: give 1, or the number of a GPU in brackets such as [1].",
        )
