# SPDX-License-Identifier: Apache-2.0
"""Preview grids during fine-tuning, so that one sees early whether it goes well."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import lightning
import torch
from torch import Tensor
from torchvision.utils import make_grid

from seas_aug.artifact.atomic import atomic_write
from seas_aug.errors import SeasError

logger = logging.getLogger(__name__)
Draw = Callable[[], Tensor]


class PreviewGrid(lightning.Callback):
    """Writes a PNG every so many updates.

    Args:
        folder: where ``<name>_<step>.png`` goes.
        name: stage.
        every: updates between grids; 0 writes none.
        draw: returns rows of pictures, float ``[rows, columns, 3, H, W]`` in [0, 1].
    """

    def __init__(self, folder: Path, name: str, every: int, draw: Draw) -> None:
        self.folder, self.name, self.every, self.draw = folder, name, every, draw
        self._last = 0

    def on_train_batch_end(self, trainer: lightning.Trainer, module: lightning.LightningModule, *_: object) -> None:
        """Draw after the update, in evaluation mode and without touching the training's random numbers.

        A drawing that fails is left out with a warning, and the training goes on.
        """
        step = trainer.global_step
        if not self.every or step % self.every or step == self._last or not trainer.is_global_zero:
            return
        self._last = step
        module.eval()
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            try:
                save_grid(self.draw(), self.folder / f"{self.name}_{step:06d}.png")
            except (SeasError, RuntimeError, ValueError) as error:  # a picture is not worth a training
                logger.warning("the preview after update %d is left out: %s", step, str(error).partition("\n")[0])
        module.train()


def save_grid(pictures: Tensor, path: Path) -> None:
    """Write pictures ``[rows, columns, 3, H, W]`` in [0, 1] as one PNG."""
    from torchvision.io import encode_png

    columns = pictures.shape[1]
    grid = make_grid(pictures.flatten(0, 1).float().cpu(), nrow=columns, padding=2, pad_value=1.0)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as file:
        file.write(encode_png((grid.clamp(0, 1) * 255).round().to(torch.uint8)).numpy().tobytes())
