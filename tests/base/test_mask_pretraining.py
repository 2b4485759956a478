# SPDX-License-Identifier: Apache-2.0
"""Pretraining of the mask predictor, and what fine-tuning takes over from it."""

from __future__ import annotations

import dataclasses
import json
import shutil

import pytest
import torch

from seas_aug.base.load import load_base
from seas_aug.base.pretrain.diffusion import LatentPool
from seas_aug.base.pretrain.masks import MaskPretraining, MaskScenes
from seas_aug.config import DrawConfig, MaskConfig
from seas_aug.draw.pipeline import SeaSPipeline
from seas_aug.errors import SeasError
from seas_aug.finetune.mask_module import MaskModule
from seas_aug.finetune.run import finetune
from seas_aug.masks.predictor import MaskPredictor
from tests.finetune.recording import recorded
from tests.tiny_base import tiny_config


@pytest.fixture(scope="module")
def pool():
    generator = torch.Generator().manual_seed(0)
    masks = torch.zeros(6, 1, 32, 32, dtype=torch.bool)
    masks[1, :, 3:6, 3:6] = masks[4, :, 20:25, 9:14] = True
    prompts = [f"scene {index}" for index in range(6)]
    return LatentPool(torch.randn(6, 4, 8, 8, generator=generator).bfloat16(), masks, prompts)


def test_scenes_pair_a_defect_with_a_normal_one(pool):
    scenes = MaskScenes(pool, 40, 7)
    seen = [scenes[index] for index in range(len(scenes))]
    assert {item["defect_prompt"] for item in seen} == {"scene 1", "scene 4"}
    assert {item["normal_prompt"] for item in seen} == {"scene 0", "scene 2", "scene 3", "scene 5"}
    for item in seen:
        index = int(item["defect_prompt"][-1])
        assert torch.equal(item["mask"], pool.masks[index].float())
        assert torch.equal(item["defect_latent"], pool.latents[index].float())
    again = MaskScenes(pool, 40, 7)[11]
    assert all(
        torch.equal(torch.as_tensor(again[key]), torch.as_tensor(seen[11][key])) for key in ("mask", "normal_latent")
    )


def test_training_step_reaches_the_predictor_only(pool, base_folder):
    module = MaskPretraining(str(base_folder), 10)
    batch = torch.utils.data.default_collate([MaskScenes(pool, 4, 0)[index] for index in range(2)])
    module.log_dict = lambda *_, **__: None
    module.training_step(batch, 0).backward()
    assert all(weight.grad is not None for weight in module.predictor.parameters())
    frozen = [module.models.unet, module.models.vae, module.models.text_encoder]
    assert all(weight.grad is None for part in frozen for weight in part.parameters())
    assert not any(name.startswith("models") for name in module.state_dict())


@pytest.fixture
def base_with_masks(base_folder, tmp_path):
    folder = tmp_path / "base"
    shutil.copytree(base_folder, folder)
    models = load_base(str(folder))
    assert models.mask_predictor is None
    torch.manual_seed(5)
    settings = MaskConfig(attention_blocks=1)
    MaskPredictor.for_models(models.unet, models.vae, settings).save_pretrained(folder / "mask_predictor")
    index = json.loads((folder / "model_index.json").read_text())
    index["mask_predictor"] = ["seas_aug.masks.predictor", "MaskPredictor"]
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


def test_the_generator_carries_the_mask_predictor_of_its_base(category_folder, base_with_masks, tmp_path):
    """From the base through stage 1, a stop, and into stage 2."""
    config = tiny_config(category_folder, tmp_path / "run", base_with_masks)
    config = dataclasses.replace(config, generator=dataclasses.replace(config.generator, limit_timesteps=True))
    with recorded(("masks", 0)), pytest.raises((SystemExit, KeyboardInterrupt)):
        finetune(config)
    expected = load_base(str(base_with_masks)).mask_predictor.state_dict()
    generator = SeaSPipeline.from_pretrained(config.output / "generator")
    carried = generator.mask_predictor.state_dict()
    assert all(torch.equal(weight, carried[name]) for name, weight in expected.items())
    start = MaskModule(generator, config).predictor.state_dict()
    assert all(torch.equal(weight, start[name]) for name, weight in expected.items())
    finished = SeaSPipeline.from_pretrained(finetune(config))
    assert not all(torch.equal(weight, finished.mask_predictor.state_dict()[name]) for name, weight in expected.items())
    assert finished.config.max_timestep == 925  # strength 0.8 and half a step of 4
    with pytest.raises(SeasError, match=r"strength is 0\.95"):
        finished.check(DrawConfig(strength=0.95))


@pytest.mark.parametrize("from_base", [True, False])
def test_fine_tuning_goes_on_from_the_base(category_folder, base_with_masks, run_folder, tmp_path, from_base):
    config = tiny_config(category_folder, tmp_path / "run", base_with_masks)
    config = dataclasses.replace(config, masks=dataclasses.replace(config.masks, from_base=from_base))
    pretrained = load_base(str(base_with_masks)).mask_predictor
    pipe = SeaSPipeline.from_pretrained(run_folder)
    pipe.mask_predictor = pretrained
    module = MaskModule(pipe, config)
    assert module.predictor is not pretrained
    same = [
        torch.equal(weight, pretrained.state_dict()[name]) for name, weight in module.predictor.state_dict().items()
    ]
    assert all(same) == from_base
    other = dataclasses.replace(config, masks=MaskConfig(attention_blocks=3, from_base=from_base))
    assert len(MaskModule(pipe, other).predictor.coarse_branch.transformer.transformer_blocks) == 3
