# SPDX-License-Identifier: Apache-2.0

import lightning
import pytest
import torch
from torch.utils.data import DataLoader

from seas_aug.errors import SeasError
from seas_aug.finetune.finite import FiniteUpdates
from tests.finetune.slope import Slope


def _train(values: list[float], watch: FiniteUpdates) -> Slope:
    module = Slope()
    trainer = lightning.Trainer(
        max_epochs=1,
        accelerator="cpu",
        gradient_clip_val=1.0,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
        callbacks=[watch],
    )
    trainer.fit(module, DataLoader(torch.tensor(values), batch_size=1))
    return module


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_an_update_that_is_not_finite_is_left_out_and_training_goes_on(bad: float) -> None:
    watch = FiniteUpdates(most=3)
    module = _train([1.0, bad, bad, 1.0, bad, bad, 1.0], watch)
    expected = [1.0, 0.9, 0.9, 0.9, 0.8, 0.8, 0.8]
    assert module.seen == pytest.approx(expected) and float(module.weight.detach()) == pytest.approx(0.7)
    assert watch.left_out == 4


def test_many_in_a_row_end_the_training() -> None:
    with pytest.raises(SeasError, match=r"3 updates in a row, up to update 5, are not finite; .*--precision 32-true"):
        _train([1.0, 1.0, *[float("nan")] * 9], FiniteUpdates(most=3))
