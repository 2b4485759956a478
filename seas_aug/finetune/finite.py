# SPDX-License-Identifier: Apache-2.0
"""Keeps numbers that are not finite out of the weights."""

from __future__ import annotations

import logging
from typing import Any

import lightning
import torch

from seas_aug.errors import SeasError

logger = logging.getLogger(__name__)
_MOST_IN_A_ROW = 20  # float16's loss scaling needs up to 16 to find its scale


class FiniteUpdates(lightning.Callback):
    """Leaves an update out whose gradient has a NaN or an infinity; many in a row end the training.

    One such update would make every weight NaN for good, and the run would go on for hours without a word.

    Args:
        most: updates in a row after which nothing better is to be expected.
    """

    def __init__(self, most: int = _MOST_IN_A_ROW) -> None:
        self.left_out = 0
        self._most, self._in_a_row = most, 0

    def on_before_optimizer_step(self, trainer: lightning.Trainer, pl_module: Any, optimizer: Any) -> None:
        """Look at the gradient, and drop it if need be.

        Raises:
            SeasError: too many updates in a row were left out.
        """
        parameters = (one for group in optimizer.param_groups for one in group["params"])
        norm = torch.nn.utils.get_total_norm([one.grad for one in parameters if one.grad is not None])
        if bool(norm.isfinite()):
            self._in_a_row = 0
            return
        optimizer.zero_grad(set_to_none=True)  # AdamW passes over weights without a gradient
        self.left_out, self._in_a_row = self.left_out + 1, self._in_a_row + 1
        if self._in_a_row >= self._most:
            message = (
                f"the gradients of {self._in_a_row} updates in a row, up to update {trainer.global_step + 1}, are not "
                "finite; begin again in another --output with a lower learning rate, or with --precision 32-true."
            )
            raise SeasError(message)

    def on_train_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Say how many updates were left out, if any."""
        if self.left_out:
            logger.warning("%d of %d updates were left out: not finite.", self.left_out, trainer.global_step)
