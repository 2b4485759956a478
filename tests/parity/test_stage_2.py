# SPDX-License-Identifier: Apache-2.0
"""Stage 2 of ``official`` against the slow transcription: loss, and gradients of every weight of the mask branch."""

from __future__ import annotations

import pytest
import torch

from seas_aug.data.seeds import derive_seed
from seas_aug.draw.pipeline import SeaSPipeline
from seas_aug.finetune.mask_module import MaskModule
from tests.parity.case import (
    GROUPS,
    HEADS,
    LATENT,
    assert_to_rounding,
    double_models,
    double_weights,
    make_batch,
    official_config,
    prompts,
)
from tests.parity.formulas import SCALE, posterior_sample, stage_2_loss


@pytest.mark.parametrize("partly", [False, True], ids=["mvtec", "visa and 3d"])
@pytest.mark.parametrize("faint", [False, True])
def test_loss_and_gradients(category_folder, parity_base, parity_run, tmp_path, partly, faint):
    config = official_config(category_folder, tmp_path, parity_base, partly)
    torch.manual_seed(3)
    module = MaskModule(SeaSPipeline.from_pretrained(parity_run), config)
    reference, weights = double_models(module.generator), double_weights(module.predictor)
    batch = make_batch(faint)
    loss = module.training_step(batch, 0)
    loss.backward()

    draws = torch.Generator().manual_seed(derive_seed(config.seed, "masks", 0, 0))
    posterior, noise = (torch.randn((4, 4, LATENT, LATENT), generator=draws) for _ in range(2))
    timesteps = torch.randint(0, 1000, (4,), generator=draws)
    fresh = torch.randn((2, 4, LATENT, LATENT), generator=draws)
    assert timesteps.max() > 200
    images = torch.cat([batch["anomaly_image"], batch["normal_image"]])
    clean = SCALE * posterior_sample(reference, images, posterior)
    expected = stage_2_loss(
        reference, weights, clean, noise, timesteps, fresh, prompts(), batch["mask"], partly, HEADS, GROUPS
    )
    assert loss.item() == pytest.approx(expected.item(), rel=1e-4)
    expected.backward()
    mine = dict(module.predictor.named_parameters())
    largest = max(float(weight.grad.norm()) for weight in weights.values())
    for name, weight in weights.items():
        if float(weight.grad.norm()) > 1e-6 * largest:
            assert_to_rounding(mine[name].grad, weight.grad, name, 3e-3)
