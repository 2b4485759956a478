# SPDX-License-Identifier: Apache-2.0
"""What the generator of an inpainting base is shown, and what its attention is trained on."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from seas_aug.base.load import load_base
from seas_aug.config import DataConfig, HoleConfig, VariationConfig
from seas_aug.data.category import read_mvtec_folder
from seas_aug.data.datamodule import FewShotDataModule
from seas_aug.data.pictures import read_pictures
from seas_aug.data.selection import select
from seas_aug.finetune import generator_module
from seas_aug.finetune.generator_module import GeneratorModule
from seas_aug.latents.codec import encode_latents
from seas_aug.latents.hole import hidden_latents
from seas_aug.prompt import UAPrompt, add_prompt_tokens
from tests.finetune.test_layouts import hole_config, make_base
from tests.finetune.test_modules import make_batch
from tests.tiny_base import SIZE


def make_generator(folder, category, holes):
    base = make_base(folder / "base", "2C + 1 channels")
    config = hole_config(category, folder / "run", base)
    config = dataclasses.replace(config, generator=dataclasses.replace(config.generator, holes=holes))
    models = load_base(str(base))
    prompt = UAPrompt(("crack", "hole"), 1, 2)
    embedding = add_prompt_tokens(models.tokenizer, models.text_encoder, prompt)
    return GeneratorModule(models, prompt, embedding, config, SIZE)


def make_twins():
    batch = make_batch()
    changed = torch.where(batch["mask"] > 0, -batch["anomaly_image"], batch["anomaly_image"])
    # Of varied pictures nothing is kept, and they are encoded together.
    never = {f"{kind}_index": torch.tensor([-1, -1]) for kind in ("anomaly", "normal")}
    return {**batch, **never, "twin_image": changed}


@pytest.mark.parametrize(("seen", "whole"), [(1.0, 0.0), (0.0, 0.0), (0.0, 1.0)])
def test_twins_and_normals_are_shown_around_the_holes(window_category, tmp_path, seen, whole):
    module, batch = make_generator(tmp_path, window_category, HoleConfig(0.0, whole, seen)), make_twins()
    monkeypatch = pytest.MonkeyPatch()
    given = []
    with monkeypatch.context() as patch:  # the order of the batch stays
        patch.setattr(generator_module, "draw_timesteps", lambda *_: torch.tensor([900] * 4))
        module.unet.register_forward_pre_hook(lambda _, args: given.append(args[0].detach().clone()))
        module.training_step(batch, 0)
    mask, shown = given[0][:, 4:5], given[0][:, 5:]
    with torch.no_grad():
        own = torch.cat([encode_latents(module.models.vae, batch[f"{kind}_image"]) for kind in ("twin", "normal")])
    inside = (mask > 0).expand(-1, 4, -1, -1)
    assert bool((mask == 1).all()) == bool(whole)
    torch.testing.assert_close(shown[~inside], own[~inside], rtol=1e-3, atol=1e-4)
    hidden = hidden_latents(module.models.vae, SIZE).expand_as(own)
    torch.testing.assert_close(shown[inside], (own if seen else hidden)[inside], rtol=1e-3, atol=1e-4)


def test_only_whole_pictures_of_little_noise_are_aligned(window_category, tmp_path, monkeypatch):
    module, rows = make_generator(tmp_path, window_category, HoleConfig(0.0, 1.0, 0.0)), []
    monkeypatch.setattr(generator_module, "da_loss", lambda maps, mask, _: (rows.append(len(mask)), mask.sum() * 0)[1])
    for timesteps, expected in (([10, 900, 5, 5], [1]), ([900, 900, 5, 5], []), ([10, 20, 999, 999], [2])):
        monkeypatch.setattr(generator_module, "draw_timesteps", lambda *_, given=timesteps: torch.tensor(given))
        rows.clear()
        module.training_step(make_twins(), 0)
        assert rows == expected


@pytest.mark.parametrize("light", [True, False])
def test_twins_differ_around_the_defect_alone(window_category, light):
    """Else a defect image could be told from its twin without looking at the defect."""
    chosen = select(read_mvtec_folder(window_category), "1", None, None)
    data = DataConfig(root=window_category, windows_per_defect=2)
    pictures = read_pictures(chosen.split, chosen.normals, data, SIZE, (SIZE,), 0)
    variation = VariationConfig(paste_share=0.5, zoom_share=0.0, move=False, light=light)
    looked_at = 0
    for batch in FewShotDataModule(pictures, data, 1, 0, 12, variation=variation, twins=True).train_dataloader():
        far = torch.nn.functional.max_pool2d(batch["mask"], 15, 1, 7)[0, 0] == 0
        difference = (batch["twin_image"] - batch["anomaly_image"])[0].abs()
        assert float(difference[:, batch["mask"][0, 0] > 0].max()) > 0.05
        if far.any():
            assert float(difference[:, far].max()) < 1e-5
            looked_at += 1
    assert looked_at
