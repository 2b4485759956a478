# SPDX-License-Identifier: Apache-2.0
"""Record what the two stages are trained on, and stop them at a chosen point as Ctrl+C would."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

from seas_aug.finetune.generator_module import GeneratorModule
from seas_aug.finetune.mask_module import MaskModule

STAGES = {"generator": GeneratorModule, "masks": MaskModule}


@dataclass
class Recording:
    """What one call of ``finetune`` did.

    ``batches[stage]`` has ``(update, micro-batch, types, anomaly and normal indices and augmentations, sums of image,
    mask and normal image, loss)``, ``weights`` the U-Net's first convolution after each update of the generator.
    """

    batches: dict[str, list[tuple[Any, ...]]] = field(default_factory=lambda: {name: [] for name in STAGES})
    weights: dict[int, torch.Tensor] = field(default_factory=dict)

    def updates(self, stage: str) -> list[int]:
        """Return the numbers of the updates that were done, in order and each once."""
        return sorted({batch[0] for batch in self.batches[stage]})


@contextmanager
def recorded(stop: tuple[str, int] | None = None) -> Iterator[Recording]:
    """Record inside the block; ``stop`` raises KeyboardInterrupt at the beginning of that stage's update."""
    recording = Recording()
    with pytest.MonkeyPatch.context() as patch:
        for stage, module_class in STAGES.items():
            patch.setattr(module_class, "training_step", _wrapped(stage, module_class.training_step, recording, stop))
        patch.setattr(GeneratorModule, "on_train_batch_end", _keep_weights(recording), raising=False)
        yield recording


def _wrapped(stage: str, original: Any, recording: Recording, stop: tuple[str, int] | None) -> Any:
    def training_step(self: Any, batch: dict[str, Any], batch_index: int) -> torch.Tensor:
        if (stage, self.global_step) == stop:
            raise KeyboardInterrupt
        loss = original(self, batch, batch_index)
        names = ("anomaly_index", "anomaly_augmentation", "normal_index", "normal_augmentation")
        items = [tuple(batch["anomaly_type"]), *(tuple(batch[name].tolist()) for name in names)]
        # A varied picture has no index: its pixels say which one it is.
        pictures = (batch[name] for name in ("anomaly_image", "mask", "normal_image"))
        items += [tuple(picture.double().sum(dim=(1, 2, 3)).tolist()) for picture in pictures]
        micro = batch_index % self.trainer.accumulate_grad_batches
        recording.batches[stage].append((self.global_step, micro, *items, float(loss.detach())))
        return loss

    return training_step


def _keep_weights(recording: Recording) -> Any:
    def on_train_batch_end(self: Any, *_: Any) -> None:
        recording.weights[self.global_step] = self.unet.conv_in.weight.detach().clone()

    return on_train_batch_end


def files(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder with its content."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
