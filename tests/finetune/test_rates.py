# SPDX-License-Identifier: Apache-2.0
from types import SimpleNamespace

import pytest
import torch

from seas_aug.config import FineTuneConfig
from seas_aug.errors import SeasError
from seas_aug.finetune.run import check_rates
from seas_aug.presets import paper_preset


def test_a_large_base_is_not_trained_at_the_rate_of_a_small_one():
    with torch.device("meta"):
        large, small = (SimpleNamespace(unet=torch.nn.Linear(width, width)) for width in (20_000, 200))
    with pytest.raises(SeasError, match=r"unet_lr is 0\.0005, .* 400 million weights; give --preset paper \(4e-06\)"):
        check_rates(FineTuneConfig(base="CompVis/stable-diffusion-v1-4"), large)
    check_rates(paper_preset(), large)
    check_rates(FineTuneConfig(), small)
