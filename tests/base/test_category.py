# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import cv2
import numpy as np
import pytest

from seas_aug.base.renderer.category import CATEGORY_TYPES, render_category, render_defect, render_flange
from seas_aug.data.category import read_mvtec_folder
from seas_aug.data.few_shot import select_few_shot
from seas_aug.data.images import check_category_images
from seas_aug.errors import SeasError


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render_category(tmp_path_factory.mktemp("category") / "flange", normals=6, per_type=5, few_shot=2)


def content(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_layout(root: Path) -> None:
    category = read_mvtec_folder(root)
    assert category.anomaly_types == ("hole", "scratch", "stain")
    assert (len(category.normals), len(category.test_others)) == (6, 3)
    split = select_few_shot(category, str(root / "split.json"))
    check_category_images(split, category.normals)
    assert {name: (len(split.few_shot[name]), len(split.held_out[name])) for name in CATEGORY_TYPES} == {
        name: (2, 3) for name in CATEGORY_TYPES
    }
    assert cv2.imread(str(category.normals[0])).shape == (128, 128, 3)


def test_same_seed_same_files_other_seed_other_files(root: Path, tmp_path: Path) -> None:
    again = render_category(tmp_path / "a", normals=6, per_type=5, few_shot=2)
    assert content(again) == content(root)
    other = render_category(tmp_path / "b", seed=1, normals=6, per_type=5, few_shot=2)
    assert content(other)["train/good/000.png"] != content(root)["train/good/000.png"]
    pictures = [data for name, data in content(root).items() if not name.startswith("ground_truth")]
    assert len(set(pictures)) == len(pictures)


def test_one_product_with_small_variation() -> None:
    photos = np.stack([render_flange(np.random.default_rng(seed), 64)[0] for seed in range(12)]).astype(float)
    single = photos.std(axis=(1, 2, 3)).mean()
    mean = photos.mean(axis=0)
    assert mean.std() > 0.8 * single  # the mean photo still shows the part
    assert 1 < np.abs(photos - mean).mean() < 20


@pytest.mark.parametrize("name", list(CATEGORY_TYPES))
@pytest.mark.parametrize("size", [64, 128])
def test_defects_are_visible_and_on_the_metal(name: str, size: int) -> None:
    for seed in range(8):
        image, mask = render_defect(np.random.default_rng(seed), size, name)
        # the same draws up to the defect: the same part without it
        clean, metal = render_flange(np.random.default_rng(seed), size)
        assert mask.sum() >= 8
        assert (metal[mask > 0] > 0).all()
        difference = np.abs(image.astype(int) - clean).mean(axis=-1)
        assert difference[mask > 0].mean() > 3 * difference[mask == 0].mean()


def test_made_folder_is_kept_and_a_foreign_one_refused(root: Path, tmp_path: Path) -> None:
    before = (root / "train" / "good" / "000.png").stat().st_mtime_ns
    render_category(root, normals=6, per_type=5, few_shot=2)
    assert (root / "train" / "good" / "000.png").stat().st_mtime_ns == before
    with pytest.raises(SeasError, match="other files"):
        render_category(root, seed=1, normals=6, per_type=5, few_shot=2)
    (tmp_path / "photo.png").touch()
    with pytest.raises(SeasError, match="other files"):
        render_category(tmp_path)


@pytest.mark.parametrize("wrong", [{"size": 8}, {"normals": 1}, {"per_type": 0}, {"few_shot": 0}, {"few_shot": 9}])
def test_numbers_out_of_range(tmp_path: Path, wrong: dict) -> None:
    with pytest.raises(SeasError, match=next(iter(wrong))):
        render_category(tmp_path / "flange", **{"per_type": 5, "few_shot": 2, **wrong})
    assert not (tmp_path / "flange").exists()
