# SPDX-License-Identifier: Apache-2.0
"""The optimiser that both stages of the pretraining share."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch

_WARM_UP = 200


def adamw_with_cosine(weights: Iterable[torch.nn.Parameter], lr: float, total: int, weight_decay: float) -> Any:
    """Return AdamW with a short warm-up and a cosine fall, as Lightning wants it.

    Args:
        weights: what is trained.
        lr: peak learning rate.
        total: updates until the end of the cosine; the rate stays at a hundredth of the peak from there on.
        weight_decay: of AdamW.
    """
    optimiser = torch.optim.AdamW(weights, lr=lr, betas=(0.9, 0.98), weight_decay=weight_decay)

    def factor(step: int) -> float:
        cosine = 0.5 * (1 + math.cos(math.pi * min(step / total, 1.0)))
        return min(1.0, (step + 1) / _WARM_UP) * (cosine + 0.01)

    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, factor)
    return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


@dataclass(frozen=True)
class Budget:
    """When a stage ends: after so many updates, or so many minutes where a machine is lent for a time.

    Attributes:
        steps: updates.
        minutes: of this process since ``started``; 0 counts updates alone.
        started: ``time.monotonic()`` at its start.
    """

    steps: int
    minutes: float = 0.0
    started: float = 0.0

    def spent(self, step: int) -> float:
        """Return which share is spent, 0 to 1 or a little beyond.

        Args:
            step: updates done.
        """
        time_spent = (time.monotonic() - self.started) / (60 * self.minutes) if self.minutes else 0.0
        return max(step / self.steps, time_spent)


def trapezoid(spent: float, step: int, cooling: float = 0.25) -> float:
    """Return the factor of the learning rate: a short warm-up, constant, then linearly down to a hundredth.

    A constant rate lets a run be looked at, prolonged or cut short at any time.

    Args:
        spent: share of the budget that is spent.
        step: updates done.
        cooling: share of the budget in which the rate falls.
    """
    return min(1.0, (step + 1) / _WARM_UP) * max(0.01, min(1.0, (1 - spent) / cooling))
