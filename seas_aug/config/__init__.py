# SPDX-License-Identifier: Apache-2.0
"""Every setting of the method, with the reason for its default.

The values named "paper" are the published ones for Stable Diffusion v1-4 at 512 px; the plain defaults are those of the
embedded base. Nothing here imports torch, so that the command line can print its help quickly.
"""

from seas_aug.config.check import as_plain
from seas_aug.config.data import DataConfig, Order, Resize, VariationConfig, Windows
from seas_aug.config.finetune import FineTuneConfig, Precision
from seas_aug.config.method import (
    AttentionConfig,
    GeneratorConfig,
    HoleConfig,
    LrSchedule,
    MaskConfig,
    MaskLoss,
    PromptConfig,
)
from seas_aug.config.sampling import Background, DrawConfig, GuidanceFrom, ReferenceLatent, SamplingConfig

__all__ = [
    "AttentionConfig",
    "Background",
    "DataConfig",
    "DrawConfig",
    "FineTuneConfig",
    "GeneratorConfig",
    "GuidanceFrom",
    "HoleConfig",
    "LrSchedule",
    "MaskConfig",
    "MaskLoss",
    "Order",
    "Precision",
    "PromptConfig",
    "ReferenceLatent",
    "Resize",
    "SamplingConfig",
    "VariationConfig",
    "Windows",
    "as_plain",
]
