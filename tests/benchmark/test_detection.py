# SPDX-License-Identifier: Apache-2.0
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from anomalib.data import Tabular
from lightning import seed_everything

from seas_aug.anomalib_plugin.callback import SeasAugmentation
from seas_aug.anomalib_plugin.textures import make_textures
from seas_aug.benchmark.detection import KeptImages, list_samples, predict, train_detector
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


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("draem-compact", "seas"),
        ("patchcore-compact", "none"),
        ("patchcore-compact", "seas"),
        ("padim-compact", "seas"),
    ],
)
def test_training_and_figures(folders: CategoryFolders, textures: str, tmp_path: Path, name: str, source: str) -> None:
    test = _measure(folders, name, source, textures, tmp_path)
    assert test.maps.shape == test.masks.shape == (9, 64, 64)
    assert test.names == read_test_set(folders).names
    assert np.isfinite(test.maps).all() and test.scores.shape == (9,)
    metrics, _, _ = evaluate(test)
    assert all(0 <= value <= 1 for value in metrics.values())
    again = _measure(folders, name, source, textures, tmp_path)
    assert np.allclose(test.maps, again.maps, atol=1e-5)


def test_kept_images_are_read_once_and_stay_as_they_were(folders: CategoryFolders) -> None:
    datamodule = Tabular("rendered", list_samples(folders.root), val_split_mode="same_as_test")
    datamodule.setup()
    items, reads = datamodule.train_data, []

    class Counted:
        def __len__(self) -> int:
            return len(items)

        def __getitem__(self, index: int) -> Any:
            reads.append(index)
            return items[index]

    size = sum(part.numel() * part.element_size() for part in (items[0].image, items[0].gt_mask))
    kept = KeptImages(Counted(), limit=2 * size)
    assert len(kept) == len(items) >= 3
    for _ in range(2):
        batch = [kept[index] for index in range(3)]
        for index, item in enumerate(batch):
            assert item.image.equal(items[index].image) and item.image_path == items[index].image_path
            item.image = item.image[:, :5]  # as anomalib's collate function does where sizes differ
    assert reads == [0, 1, 2, 2]  # the third one was too much


def test_files_that_mvtec_ad_does_not_read(folders: CategoryFolders, tmp_path: Path) -> None:
    root = Path(shutil.copytree(folders.root, tmp_path / "part"))
    for number, path in enumerate(sorted((root / "test" / "hole").iterdir())):
        cv2.imwrite(str(path.with_name(f"{number + 8}.jpg")), cv2.imread(str(path)))  # 8, 9, 10, 11: two orders
        mask = root / "ground_truth" / "hole" / f"{path.stem}_mask.png"
        mask.rename(mask.with_name(f"{number + 8}_mask.png"))
        path.unlink()
    datamodule = Tabular(name="part", samples=list_samples(root), num_workers=0, val_split_mode="same_as_test")
    datamodule.setup("fit")
    table = datamodule.test_data.samples
    holes = table[table["image_path"].str.contains("hole")]
    assert len(holes) == 4 and len(datamodule.train_data) == 6
    for image, mask in zip(holes["image_path"], holes["mask_path"], strict=True):
        assert Path(mask).stem == f"{Path(image).stem}_mask"


def test_every_variant_can_be_trained_or_says_what_it_needs() -> None:
    assert {name for name, variant in VARIANTS.items() if variant.needs} == {"glass", "padim", "patchcore"}
    with pytest.raises(SeasError, match="give one of draem"):
        get_variant("nonsense")
