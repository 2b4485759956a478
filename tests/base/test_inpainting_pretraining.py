# SPDX-License-Identifier: Apache-2.0
"""Pretraining in holes: what a batch is, and that the loss goes down."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from seas_aug.base.load import load_base
from seas_aug.base.pretrain import twin_pool
from seas_aug.base.pretrain.crops import crop_around
from seas_aug.base.pretrain.inpainting import InpaintingModule, InpaintingSettings
from seas_aug.base.pretrain.schedule import Budget, trapezoid
from seas_aug.base.pretrain.twin_pool import TwinPool, TwinRecipe
from seas_aug.base.renderer.twin import twin_words


@pytest.fixture(scope="module")
def module(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pretraining")
    base = load_base("embedded")
    base.vae.eval().requires_grad_(False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(twin_pool, "_CHUNK", 8)
        pool = TwinPool(folder / "twins", TwinRecipe("v6", "", "", first_seed=11, size=64), None, base.vae, most=8)
        list(pool.grow(8))
    torch.manual_seed(0)
    made = InpaintingModule(pool, pool, InpaintingSettings(), Budget(100), twin_words(), folder / "tokenizer")
    made.continue_from(base)
    return made


def test_a_batch_is_half_defects_and_half_normals(module):
    batch = module._draw(module.pool, 40, torch.Generator().manual_seed(0), 0.0, 0)
    pool = module.pool
    for row in range(40):
        sides = [(batch.clean[row] == pool.latents[:, side].float()).flatten(1).all(1).any() for side in (0, 1)]
        assert bool(sides[1 if row < 20 else 0])
    assert not bool(batch.supervised[20:].any())
    inside, kept = batch.hole.inside, batch.hole.reference
    normals = slice(20, None)
    outside = (inside[normals] == 0).expand(-1, kept.shape[1], -1, -1)
    assert torch.equal(kept[normals][outside], batch.clean[normals][outside])
    texts = module.tokenizer.batch_decode(batch.tokens, skip_special_tokens=True)
    assert all((" with " in text) == (row < 20) for row, text in enumerate(texts))


def test_attention_is_supervised_where_nothing_tells_the_place(module):
    batch = module._draw(module.pool, 200, torch.Generator().manual_seed(1), 0.0, 0)
    assert bool(batch.supervised.any())
    assert bool((batch.hole.mask[batch.supervised] == 1).all())


def test_losses_fall_and_the_prompt_gets_a_gradient(module):
    optimiser, losses = module.configure_optimizers(), []
    for step in range(12):
        parts = module.losses(module.pool, 8, torch.Generator().manual_seed(step % 2), 0.0, crop=8)
        loss = parts["defect"] + parts["normal"]
        loss.backward()
        if step == 0:
            assert float(module.unet.conv_in.weight.grad[:, 8:].abs().sum()) > 0
        optimiser.step()
        optimiser.zero_grad()
        losses.append(float(loss))
    assert sum(losses[-4:]) < 0.8 * sum(losses[:4])
    assert float(module.unet.class_embedding.linear_2.weight.abs().sum()) > 0


def test_crops_show_the_shape_and_belong_together():
    mask = torch.zeros(6, 1, 32, 32)
    for row, (top, left) in enumerate([(0, 0), (28, 28), (4, 20), (16, 16), (0, 30), (31, 0)]):
        mask[row, 0, top : top + 3, left : left + 3] = 1
    # Row, side, channel and place can be read off every value.
    plane = torch.arange(6 * 2 * 3 * 64.0).reshape(6, 2, 3, 8, 8)
    cut, latents, places = crop_around(mask, plane, 4, torch.Generator().manual_seed(3))
    assert cut.shape == (6, 1, 16, 16)
    assert latents.shape == (6, 2, 3, 4, 4)
    assert bool(cut.flatten(1).any(1).all())
    assert torch.equal(plane[:, 0][places], latents[:, 0])
    for row in range(6):
        top, left = divmod(int(latents[row, 0, 0, 0, 0]) % 64, 8)
        assert torch.equal(latents[row], plane[row, :, :, top : top + 4, left : left + 4])
        assert torch.equal(cut[row], mask[row, :, 4 * top : 4 * top + 16, 4 * left : 4 * left + 16])


def test_the_rate_warms_up_stays_and_falls():
    budget = Budget(1000)
    rates = [trapezoid(budget.spent(step), step) for step in (0, 99, 400, 749, 875, 999, 1200)]
    assert rates[0] < 0.01
    assert rates[1] == pytest.approx(0.5)
    assert rates[2] == rates[3] == 1
    assert rates[4] == pytest.approx(0.5)
    assert rates[5:] == [0.01, 0.01]


def test_a_budget_of_time(monkeypatch):
    monkeypatch.setattr("time.monotonic", lambda: 130.0)
    assert Budget(1000, minutes=1.0, started=100.0).spent(10) == pytest.approx(0.5)
    assert Budget(1000, minutes=0.0, started=100.0).spent(10) == pytest.approx(0.01)
    assert np.isclose(Budget(20, minutes=1.0, started=100.0).spent(15), 0.75)
