# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses

import pytest
import torch

from seas_aug.config import GeneratorConfig, MaskConfig
from seas_aug.errors import SeasError
from seas_aug.finetune.optimiser import adamw, count_updates
from seas_aug.presets import paper_preset


def rates(settings, types, updates):
    """Return the learning rate of each update and group."""
    weights = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
    found = adamw([{"params": [weights[0]], "lr": 1.0}, {"params": [weights[1]], "lr": 0.5}], settings, types)
    optimiser = found["optimizer"] if isinstance(found, dict) else found
    seen = []
    for _ in range(updates):
        seen.append([group["lr"] for group in optimiser.param_groups])
        optimiser.step()
        if isinstance(found, dict):
            assert found["lr_scheduler"]["interval"] == "step"
            found["lr_scheduler"]["scheduler"].step()
    assert {group["weight_decay"] for group in optimiser.param_groups} == {settings.weight_decay}
    return seen


@pytest.mark.parametrize("settings", [GeneratorConfig(steps_per_type=2, min_steps=0), MaskConfig(max_steps=4)])
def test_cosine_falls_to_zero_over_the_stage(settings):
    found = rates(settings, 2, 6)
    middle, late = 0.5, 0.5 * (1 - 2**-0.5)
    expected = [1, 1 - late, middle, late, 0, 0]  # cos of 0, 45, 90, 135 and 180 degrees, then nothing more
    assert [one for one, _ in found] == pytest.approx(expected)
    assert [two for _, two in found] == pytest.approx([0.5 * value for value in expected])


def test_paper_keeps_its_rates():
    for settings in (paper_preset().generator, paper_preset().masks):
        assert rates(dataclasses.replace(settings, max_steps=3), 1, 5) == [[1.0, 0.5]] * 5


def test_updates():
    assert count_updates(GeneratorConfig(steps_per_type=800), 3) == 2400
    assert count_updates(MaskConfig(steps_per_type=800, max_steps=7), 3) == 7
    assert count_updates(MaskConfig(steps_per_type=400, min_steps=1000), 1) == 1000
    assert count_updates(MaskConfig(steps_per_type=400, min_steps=1000), 3) == 1200
    with pytest.raises(SeasError, match="masks: updates is 0"):
        count_updates(MaskConfig(max_steps=0), 3)
    with pytest.raises(SeasError, match="generator: accumulate is 0"):
        count_updates(GeneratorConfig(accumulate=0), 3)
