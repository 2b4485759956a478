# SPDX-License-Identifier: Apache-2.0
import dataclasses
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from torch.utils.data import DataLoader

from seas_aug.config import FineTuneConfig
from seas_aug.finetune.training import fit
from tests.finetune.slope import RATE, Slope

DECAY = 0.9


class Values(lightning.LightningDataModule):
    def __init__(self, values: list[float]) -> None:
        super().__init__()
        self.values = values

    def train_dataloader(self) -> Any:
        return DataLoader(torch.tensor(self.values), batch_size=1)


def _fit(values: list[float], output: Path, accumulate: int, ema_decay: float) -> Slope:
    module, updates = Slope(), len(values) // accumulate
    config = dataclasses.replace(FineTuneConfig(), output=output, accelerator="cpu", precision="32-true")
    make_data: Any = lambda start: Values(values)  # noqa: E731
    fit(module, make_data, config, "generator", updates, accumulate, lightning.Callback(), ema_decay, 0.0)
    return module


@pytest.mark.parametrize("accumulate", [1, 2])
def test_updates_that_are_not_finite_are_left_out_and_cudnns_attention_too(tmp_path: Path, accumulate: int) -> None:
    nan = float("nan")
    before = torch.backends.cuda.cudnn_sdp_enabled()
    module = _fit([1.0, 1.0, nan, 1.0, 2.0, 2.0], tmp_path, accumulate, ema_decay=0.0)
    # Alone: 1, 1, 1, 2 and 2. In pairs, the mean of each: 1 and 2.
    expected = 1 - RATE * (1 + 1 + 1 + 2 + 2 if accumulate == 1 else 1 + 2)
    assert float(module.weight.detach()) == pytest.approx(expected)
    assert module.cudnn == [False] * 6 and torch.backends.cuda.cudnn_sdp_enabled() == before


def test_the_weights_afterwards_are_the_moving_average(tmp_path: Path) -> None:
    values = [1.0, 2.0, -3.0, 0.5]
    module = _fit(values, tmp_path, 1, DECAY)
    weight, average = 1.0, None
    for value in values:
        weight -= RATE * value
        average = weight if average is None else DECAY * average + (1 - DECAY) * weight
    assert float(module.weight.detach()) == pytest.approx(average)
