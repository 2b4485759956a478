# SPDX-License-Identifier: Apache-2.0
"""The optimiser that both stages of the pretraining share."""

from __future__ import annotations

import math
from collections.abc import Iterable
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
