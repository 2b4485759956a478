# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import pytest
from torchvision.transforms.v2 import Compose, Normalize, Resize

from seas_aug.anomalib_plugin import SeasAugmentation
from seas_aug.anomalib_plugin.views import sharpness, sizes
from seas_aug.errors import SeasError
from tests.anomalib_plugin import rendered
from tests.anomalib_plugin.stand_ins import Draem, Padim, make_trainer


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory, category: Path) -> Path:
    """The category with each picture at twice its size."""
    return _enlarged(category, tmp_path_factory.mktemp("large"))


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pairs and normal images of 64 px that nothing else is known of."""
    return rendered.add_normals(rendered.make_generated(tmp_path_factory.mktemp("small") / "pairs", None, pairs=8))


@pytest.fixture(scope="module")
def large_pairs(tmp_path_factory: pytest.TempPathFactory, pairs: Path) -> Path:
    return _enlarged(pairs, tmp_path_factory.mktemp("large_pairs"))


def _enlarged(folder: Path, target: Path) -> Path:
    copy = Path(shutil.copytree(folder, target / folder.name))
    for path in copy.rglob("*.png"):
        cv2.imwrite(str(path), cv2.resize(cv2.imread(str(path), -1), (128, 128), interpolation=cv2.INTER_NEAREST))
    return copy


def _seen_at(model: Any, side: int | None) -> Any:
    transform = Compose([Resize((side, side)), Normalize([0.5] * 3, [0.5] * 3)]) if side else None
    object.__setattr__(model, "pre_processor", SimpleNamespace(transform=transform))
    return model


def _set_up(category: Path, generated: Path, model: Any, **options: Any) -> None:
    trainer = make_trainer(category, **options)
    SeasAugmentation(generated=str(generated)).setup(trainer, model, "fit")


SYNTHETIC = {"val_split_mode": "synthetic", "val_split_ratio": 0.7, "seed": 0}


@pytest.mark.parametrize("side", [128, 100, None])
@pytest.mark.parametrize("model", [Draem, Padim])
def test_blurred_pairs_are_not_evaluated_on(large: Path, pairs: Path, model: Any, side: int | None) -> None:
    what = "val_data would have generated pairs of 64x64 px beside real images of 128x128 px, .*less sharp"
    with pytest.raises(SeasError, match=rf"{what}.*add a Resize to 64 px"):
        _set_up(large, pairs, _seen_at(model(), side), **SYNTHETIC)


def test_sharper_pairs_are_not_evaluated_on_either(category: Path, large_pairs: Path) -> None:
    with pytest.raises(
        SeasError, match=r"128x128 px beside real images of 64x64 px, .*128 px generated images sharper"
    ):
        _set_up(category, large_pairs, _seen_at(Draem(), 128), **SYNTHETIC)


def test_a_detector_that_sees_both_alike_may_have_them(
    large: Path, category: Path, pairs: Path, large_pairs: Path
) -> None:
    for real, made in ((large, pairs), (category, large_pairs)):
        _set_up(real, made, _seen_at(Draem(), 64), **SYNTHETIC)
    _set_up(category, pairs, _seen_at(Draem(), 256), **SYNTHETIC)  # all are enlarged alike
    _set_up(category, pairs, _seen_at(Draem(), None), **SYNTHETIC)


@pytest.mark.parametrize("side, warned", [(128, True), (64, False)])
def test_blurred_normal_images_are_told(
    large: Path, pairs: Path, side: int, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    _set_up(large, pairs, _seen_at(Padim(), side))
    assert ("Training gets generated normal images of 64x64 px beside real images of 128x128" in caplog.text) == warned


def test_sharpness() -> None:
    assert sharpness((300, 400), []) == 400
    assert sharpness((300, 400), [[128, 128]]) == 128
    assert sharpness((300, 400), [[150]]) == 200  # of the shorter side
    assert sharpness((300, 400), [[1000, 1000]]) == 400
    assert sharpness((300, 400), [[1000, 1000], [200, 200]]) == 200


def test_sizes_without_decoding(category: Path) -> None:
    assert sizes((category / "train" / "good").iterdir()) == [(64, 64)]
    with pytest.raises(SeasError, match=r"nowhere\.png"):
        sizes([category / "nowhere.png"])
