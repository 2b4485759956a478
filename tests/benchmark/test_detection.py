# SPDX-License-Identifier: Apache-2.0
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lightning import seed_everything

from seas_aug.anomalib_plugin.callback import SeasAugmentation
from seas_aug.anomalib_plugin.textures import make_textures
from seas_aug.benchmark.detection import predict, train_detector
from seas_aug.benchmark.detectors import VARIANTS, get_variant
from seas_aug.benchmark.grid import CategoryFolders
from seas_aug.benchmark.predictions import Predictions, evaluate
from seas_aug.benchmark.test_set import read_test_set
from seas_aug.errors import SeasError


@pytest.fixture(scope="module")
def textures(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(make_textures(tmp_path_factory.mktemp("textures"), per_kind=1, size=64))


def _measure(folders: CategoryFolders, name: str, source: Any, textures: str, output: Path) -> Predictions:
    seed_everything(0)
    variant = get_variant(name)
    model = variant.make(64, textures)
    augmentation = SeasAugmentation(run=str(folders.run), generated=str(folders.generated), source=source)
    engine, _ = train_detector(model, folders.root, [augmentation], output, min(1, variant.steps), 2, seed=0)
    return predict(engine, model, read_test_set(folders), 64)


@pytest.mark.parametrize(("name", "source"), [("draem-compact", "seas"), ("patchcore-compact", "none")])
def test_training_and_figures(folders: CategoryFolders, textures: str, tmp_path: Path, name: str, source: str) -> None:
    test = _measure(folders, name, source, textures, tmp_path)
    assert test.maps.shape == test.masks.shape == (9, 64, 64)
    assert test.names == read_test_set(folders).names
    assert np.isfinite(test.maps).all() and test.scores.shape == (9,)
    metrics, _, _ = evaluate(test)
    assert all(0 <= value <= 1 for value in metrics.values())
    again = _measure(folders, name, source, textures, tmp_path)
    assert np.allclose(test.maps, again.maps, atol=1e-5)


def test_every_variant_can_be_trained_or_says_what_it_needs() -> None:
    assert {name for name, variant in VARIANTS.items() if variant.needs} == {"glass", "patchcore"}
    with pytest.raises(SeasError, match="give one of draem"):
        get_variant("nonsense")
