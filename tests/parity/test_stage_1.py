# SPDX-License-Identifier: Apache-2.0
"""Stage 1 of ``official`` against the slow transcription: losses, and gradients of every trained weight."""

from __future__ import annotations

import pytest
import torch

from seas_aug.base.load import load_base
from seas_aug.data.seeds import derive_seed
from seas_aug.finetune.generator_module import GeneratorModule
from seas_aug.prompt.embedding import add_prompt_tokens
from seas_aug.prompt.ua_prompt import UAPrompt
from tests.parity.case import LATENT, TYPES, assert_to_rounding, double_models, make_batch, official_config, prompts
from tests.parity.formulas import SCALE, posterior_sample, stage_1_losses


@pytest.mark.parametrize("partly", [False, True], ids=["mvtec", "visa and 3d"])
@pytest.mark.parametrize("faint", [False, True])
def test_losses_and_gradients(category_folder, parity_base, tmp_path, partly, faint):
    config = official_config(category_folder, tmp_path, parity_base, partly)
    models = load_base(str(parity_base))
    embedding = add_prompt_tokens(models.tokenizer, models.text_encoder, UAPrompt(TYPES, 1, 4))
    module = GeneratorModule(models, UAPrompt(TYPES, 1, 4), embedding, config, 64)
    with torch.no_grad():  # else the four tokens of a type are one
        embedding.new_rows += 0.5 * torch.randn(embedding.new_rows.shape, generator=torch.Generator().manual_seed(1))
    reference = double_models(models)
    batch, found = make_batch(faint), {}
    module.log_dict = lambda values, **_: found.update(values)
    total = module.training_step(batch, 0)
    total.backward()

    draws = torch.Generator().manual_seed(derive_seed(config.seed, "generator", 0, 0))
    posterior, noise = (torch.randn((4, 4, LATENT, LATENT), generator=draws) for _ in range(2))
    timesteps = torch.randint(0, 1000, (4,), generator=draws)
    images = torch.cat([batch["anomaly_image"], batch["normal_image"]])
    clean = SCALE * posterior_sample(reference, images, posterior)
    expected = stage_1_losses(reference, clean, noise, timesteps, prompts(), batch["mask"], partly)
    for name, value in expected.items():
        assert found[name].item() == pytest.approx(value.item(), rel=1e-4), name
    assert total.item() == pytest.approx(sum(expected.values()).item(), rel=1e-4)
    sum(expected.values()).backward()
    mine, theirs = dict(module.unet.named_parameters()), dict(reference.unet.named_parameters())
    assert mine.keys() == theirs.keys()
    largest = max(float(weight.grad.norm()) for weight in theirs.values())
    for name, weight in theirs.items():
        if float(weight.grad.norm()) > 1e-6 * largest:  # a bias before a norm has none but rounding
            assert_to_rounding(mine[name].grad, weight.grad, name, 2e-3)
    rows = reference.text_encoder.get_input_embeddings().new_rows.grad
    assert (rows.abs().sum(1) > 0).all()
    assert_to_rounding(embedding.new_rows.grad, rows, "new rows", 2e-3)
