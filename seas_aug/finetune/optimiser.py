# SPDX-License-Identifier: Apache-2.0
"""How long a stage trains, and its optimiser."""

from __future__ import annotations

import math
from typing import Any

import torch

from seas_aug.config import GeneratorConfig, MaskConfig
from seas_aug.errors import SeasError


def count_updates(settings: GeneratorConfig | MaskConfig, types: int) -> int:
    """Return the optimiser updates of a stage: fixed, or from the number of anomaly types (paper: 800 x types).

    Few types train for ``min_steps`` at least.

    Raises:
        SeasError: updates, batch size or accumulation below 1.
    """
    total = settings.max_steps
    updates = max(settings.steps_per_type * types, settings.min_steps) if total is None else total
    for name, value in (("updates", updates), ("batch_size", settings.batch_size), ("accumulate", settings.accumulate)):
        if value < 1:
            stage = "generator" if isinstance(settings, GeneratorConfig) else "masks"
            message = f"{stage}: {name} is {value}; give 1 or more (max_steps or steps_per_type make the updates)."
            raise SeasError(message)
    return updates


def adamw(groups: list[dict[str, Any]], settings: GeneratorConfig | MaskConfig, types: int) -> Any:
    """Return AdamW with the stage's learning rate schedule, in the form that Lightning wants.

    Args:
        groups: parameter groups with their peak rates ``lr``.
        settings: weight decay, schedule and length of the stage.
        types: number of anomaly types.
    """
    optimiser = torch.optim.AdamW(groups, weight_decay=settings.weight_decay)
    if settings.lr_schedule == "constant":
        return optimiser
    if settings.lr_schedule != "cosine":
        message = f"lr_schedule is {settings.lr_schedule!r}; give 'cosine' or 'constant'."
        raise SeasError(message)
    updates = count_updates(settings, types)

    def factor(update: int) -> float:
        return 0.5 * (1 + math.cos(math.pi * min(update / updates, 1.0)))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, factor)
    return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
