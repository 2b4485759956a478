# SPDX-License-Identifier: Apache-2.0
import dataclasses

import numpy as np
import pytest
import torch

from seas_aug.benchmark.grid import CategoryFolders
from seas_aug.benchmark.predictions import evaluate
from seas_aug.benchmark.segmentation import SegmentationSettings, TrainingBatches, predict, train_network
from seas_aug.benchmark.test_set import read_test_set
from seas_aug.errors import SeasError

SMALL = SegmentationSettings("Unet", "resnet18", options={"decoder_channels": [32, 16, 16, 8, 8]}, size=64, steps=2)


def test_few_shot_images_are_not_tested_on(folders: CategoryFolders) -> None:
    test = read_test_set(folders)
    assert "test/hole/000.png" not in test.names
    assert sorted(name for name in test.names if "good" in name) == [f"test/good/{index:03d}.png" for index in range(3)]
    assert len(test.names) == 3 + 2 * 3
    pictures, masks = test.load(32)
    assert pictures.shape == (9, 3, 32, 32) and masks.shape == (9, 32, 32)
    assert masks.any((1, 2)).sum() == 6


@pytest.mark.parametrize("source", ["few_shot", "cutpaste", "seas"])
def test_batches(folders: CategoryFolders, source: str) -> None:
    batches = TrainingBatches(folders, source, SMALL, seed=0)
    first, second = batches[0], batches[1]
    assert first["image"].shape == (8, 3, 64, 64) and first["mask"].shape == (8, 1, 64, 64)
    assert first["image"].min() >= -1 and first["image"].max() <= 1
    assert set(first["mask"].unique().tolist()) <= {0.0, 1.0}
    assert first["mask"].flatten(1).any(1).sum() == 6  # the other two are normal
    assert not torch.equal(first["image"], second["image"])
    again = TrainingBatches(folders, source, SMALL, seed=0)[0]
    assert torch.equal(first["image"], again["image"])
    assert not torch.equal(first["image"], TrainingBatches(folders, source, SMALL, seed=1)[0]["image"])


def test_masks_turn_with_their_images(folders: CategoryFolders) -> None:
    batches = TrainingBatches(folders, "seas", SMALL, seed=0)
    for step in range(4):
        batch = batches[step]
        dark = batch["image"].mean(1, keepdim=True) < -0.6  # rendered defects are dark, and nothing else is
        assert (dark.float() - batch["mask"]).abs().mean() < 0.01


def test_training_and_figures(folders: CategoryFolders) -> None:
    module = train_network(folders, "seas", SMALL, seed=0)
    test = read_test_set(folders)
    found = predict(module, test)
    assert found.maps.shape == (9, 64, 64) and found.maps.min() >= 0 and found.maps.max() <= 1
    assert (found.scores == found.maps.max((1, 2))).all()
    metrics, histograms, _ = evaluate(found)
    assert set(metrics) >= {"pixel_ap", "pixel_iou", "iou_best_per_image", "image_ap"}
    assert all(0 <= value <= 1 for value in metrics.values())
    assert histograms.positives.shape[0] == 9
    again = predict(train_network(folders, "seas", SMALL, seed=0), test)
    assert np.array_equal(found.maps, again.maps)


def test_mistakes(folders: CategoryFolders) -> None:
    with pytest.raises(SeasError, match="no source of defects"):
        TrainingBatches(folders, "perlin", SMALL, seed=0)
    for wrong in ({"architecture": "Nonsense"}, {"encoder": "nonsense"}, {"options": {"decoder_channels": [8]}}):
        with pytest.raises(SeasError, match="segmentation_models_pytorch has no"):
            train_network(folders, "few_shot", dataclasses.replace(SMALL, **wrong), seed=0)


def test_half_precision_trains_and_its_weights_and_maps_stay_float32(folders: CategoryFolders) -> None:
    half, whole = (dataclasses.replace(SMALL, precision=name) for name in ("bf16-mixed", "32-true"))
    module = train_network(folders, "few_shot", half, seed=0)
    assert {one.dtype for one in module.parameters()} == {torch.float32}
    test = read_test_set(folders)
    found, exact = predict(module, test), predict(train_network(folders, "few_shot", whole, seed=0), test)
    assert found.maps.dtype == np.float32
    assert 0 < np.abs(found.maps - exact.maps).max() < 0.1  # otherwise it was not in effect, or not the same training
