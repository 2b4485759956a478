# SPDX-License-Identifier: Apache-2.0
"""Pretraining of the detail branch: its scenes, what it is told, and what it trains."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from seas_aug.base.pretrain import __main__ as stages
from seas_aug.base.pretrain.details import DetailPretraining, DetailScenes, blurred_masks
from seas_aug.base.pretrain.scenes import ScenePool, to_range
from seas_aug.errors import SeasError


@pytest.fixture(scope="module")
def pool():
    return ScenePool(24, 32, first_seed=5)


def test_pool_keeps_the_exact_masks(pool):
    assert pool.masks.shape == (24, 32, 32) and pool.masks.dtype == bool
    assert [" with " in prompt for prompt in pool.prompts] == pool.masks.any(axis=(1, 2)).tolist()


def test_scenes_without_a_defect_are_asked_about_one(pool):
    scenes = DetailScenes(pool, 200, 0.3, 1)
    items = [scenes[index] for index in range(200)]
    assert all(" with " in item["prompt"] for item in items)
    empty = [item for item in items if not item["mask"].any()]
    assert 35 < len(empty) < 90
    assert not any(torch.equal(items[0]["image"], item["image"]) for item in items[1:])
    assert all(item["image"].shape == (3, 32, 32) and item["image"].abs().max() <= 1 for item in items)
    again = DetailScenes(pool, 200, 0.3, 1)[17]
    assert torch.equal(again["image"], items[17]["image"])
    assert again["prompt"] == items[17]["prompt"]


def test_image_and_mask_are_turned_together(pool):
    """Unvaried, an item is a scene of the pool; varied, its mask is one of the eight ways that scene's can lie."""
    plain, turned = DetailScenes(pool, 30, 0.3, 2, vary=False), DetailScenes(pool, 30, 0.3, 2)
    for index in range(30):
        item, other = plain[index], turned[index]
        scene = next(i for i in range(24) if torch.equal(to_range(pool.images[i]), item["image"]))
        assert torch.equal(item["mask"][0] > 0, torch.from_numpy(pool.masks[scene]))
        ways = [np.rot90(pool.masks[scene], q)[:, ::d] for q in range(4) for d in (1, -1)]
        fits = [way for way in ways if np.array_equal(way, other["mask"][0].numpy() > 0)]
        assert fits
        assert other["prompt"] == item["prompt"]


def test_blurred_masks_are_coarse_and_unsure():
    torch.manual_seed(0)
    mask = torch.zeros(50, 1, 16, 16)
    mask[:, :, 4:12, 4:12] = 1
    found = blurred_masks(mask)
    middle = found[:, 0, 7, 7]
    assert middle.min() >= 0.3 and middle.max() <= 1 and middle.std() > 0.1
    coarse = torch.nn.functional.avg_pool2d(mask[:1], 4)
    expected = torch.nn.functional.interpolate(coarse, scale_factor=4, mode="bilinear")
    torch.testing.assert_close(found / middle[:, None, None, None], expected.expand_as(found))


def test_only_the_detail_branch_is_trained(pool):
    module = DetailPretraining("embedded", 10)
    scenes = DetailScenes(pool, 8, 0.3, 0)
    batch = torch.utils.data.default_collate([scenes[index] for index in range(8)])
    module.log = lambda *_, **__: None
    module.training_step(batch, 0).backward()
    learning = {name for name, weight in module.predictor.named_parameters() if weight.grad is not None}
    assert learning == {name for name, _ in module.predictor.named_parameters() if name.startswith("detail.")}
    optimiser = module.configure_optimizers()["optimizer"]
    trained = {id(weight) for group in optimiser.param_groups for weight in group["params"]}
    assert trained == {id(weight) for weight in module.predictor.detail.parameters()}
    module.eval()
    with torch.no_grad():
        module.validation_step(batch, 0)
    assert 0 <= float(module.iou.compute()) <= 1
    assert not any(name.startswith("models") for name in module.state_dict())


def test_the_stage_leaves_the_last_weights_and_continues(tmp_path, monkeypatch):
    """Not averaged ones: the statistics of batch normalisation would not belong to them."""
    monkeypatch.setattr(stages, "ScenePool", lambda count, size, first_seed: ScenePool(min(count, 24), 32, first_seed))
    seen, steps_done = {}, []
    original = DetailPretraining.training_step

    def training_step(module, batch, batch_index):
        steps_done.append(module.global_step)
        return original(module, batch, batch_index)

    def on_train_batch_end(module, *_):
        seen.update({name: value.clone() for name, value in module.state_dict().items()})

    monkeypatch.setattr(DetailPretraining, "training_step", training_step)
    monkeypatch.setattr(DetailPretraining, "on_train_batch_end", on_train_batch_end)
    for steps in (2, 3):
        stages.details(base="embedded", output=tmp_path, batch_size=4, precision="32-true", steps=steps)
        saved = torch.load(tmp_path / "final.ckpt", weights_only=True)
        assert saved["global_step"] == steps
        assert all(torch.equal(saved["state_dict"][name], value) for name, value in seen.items())
        (tmp_path / "final.ckpt").replace(tmp_path / "last.ckpt")
    assert steps_done == [0, 1, 2]


def test_a_base_without_masks_is_refused(base_folder):
    with pytest.raises(SeasError, match="has no Refined Mask Prediction of the default size"):
        DetailPretraining(str(base_folder), 10)
