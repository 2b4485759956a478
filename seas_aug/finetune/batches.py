# SPDX-License-Identifier: Apache-2.0
"""Smaller micro-batches where memory does not hold them, as many images an update as before."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, TypeVar

import torch

from seas_aug.config import FineTuneConfig, GeneratorConfig, MaskConfig
from seas_aug.errors import SeasError

Stage = TypeVar("Stage", GeneratorConfig, MaskConfig)
_WORDS = ("not enough memory", "out of memory", "can't allocate memory")  # of the CPU's allocator, which has no class


def is_out_of_memory(error: RuntimeError) -> bool:
    """Tell whether an error of torch is for want of memory, of a GPU or of this machine."""
    text = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError) or any(words in text for words in _WORDS)


def with_smaller_batches(config: FineTuneConfig) -> FineTuneConfig:
    """Halve the micro-batches of both stages, and accumulate as many more of them.

    Raises:
        SeasError: both are of one image already.
    """
    if config.generator.batch_size == config.masks.batch_size == 1:
        message = "out of memory with one image at a time; give a smaller data.image_size or base, or a larger device."
        raise SeasError(message)
    masks = _halved(config.masks)
    # The part of a batch that features are read of, and the normals beside it, shrink along.
    sizes: dict[str, Any] = {
        name: max(1, value * masks.batch_size // config.masks.batch_size)
        for name in ("feature_batch_size", "normal_batch_size")
        if (value := getattr(config.masks, name)) is not None
    }
    return dataclasses.replace(config, generator=_halved(config.generator), masks=dataclasses.replace(masks, **sizes))


def _halved(stage: Stage) -> Stage:
    images, size = stage.batch_size * stage.accumulate, max(1, stage.batch_size // 2)
    return dataclasses.replace(stage, batch_size=size, accumulate=math.ceil(images / size))
