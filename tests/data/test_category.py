# SPDX-License-Identifier: Apache-2.0
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seas_aug.data.category import read_mvtec_folder
from seas_aug.data.natural import natural_key, natural_sorted
from seas_aug.errors import SeasError
from tests.data.helpers import make_category, write_image, write_mask


def test_reads_the_layout(tmp_path):
    category = read_mvtec_folder(make_category(tmp_path / "tile"))
    assert category.name == "tile"
    assert category.anomaly_types == ("crack", "hole")
    assert [path.name for path in category.normals] == ["000.png", "001.png", "002.png", "003.png"]
    assert len(category.test_others) == 2
    sample = category.defects["hole"][5]
    assert (sample.image.name, sample.mask.name, sample.anomaly_type) == ("005.png", "005_mask.png", "hole")


def test_any_names_extensions_and_hidden_files(tmp_path):
    root = make_category(tmp_path / "ü tile", types={"crack": 1}, extension=".bmp")
    for name in ("part 10.JPG", "part 9.tiff", "été.webp"):
        write_image(root / "test" / "crack" / name.replace("JPG", "jpg")).rename(root / "test" / "crack" / name)
    write_mask(root / "ground_truth" / "crack" / "part 10.bmp")
    write_mask(root / "ground_truth" / "crack" / "part 9_mask.png")
    write_mask(root / "ground_truth" / "crack" / "été_mask.tif")
    (root / "test" / "crack" / ".hidden.png").write_bytes(b"")
    (root / "test" / ".cache").mkdir()
    (root / "test" / "crack" / "notes.txt").write_text("x")
    names = [sample.image.name for sample in read_mvtec_folder(root).defects["crack"]]
    assert names == ["000.bmp", "part 9.tiff", "part 10.JPG", "été.webp"]


def _check(root: Path, *words: str):
    with pytest.raises(SeasError) as caught:
        read_mvtec_folder(root)
    assert all(word in str(caught.value) for word in words), caught.value
    assert "\n" not in str(caught.value)


def test_missing_folder(tmp_path):
    _check(tmp_path / "nowhere", "nowhere", "no such folder", "train/good")


@pytest.mark.parametrize("folder", ["train/good", "test"])
def test_missing_part_of_the_layout(tmp_path, folder):
    root = make_category(tmp_path / "tile")
    shutil.rmtree(root / folder)
    _check(root, str(root), folder, "missing")


def test_empty_train_folder(tmp_path):
    root = make_category(tmp_path / "tile", normals=0)
    (root / "train" / "good").mkdir(parents=True)
    _check(root, "0 normal", "at least 2")


def test_one_image_only(tmp_path):
    _check(make_category(tmp_path / "tile", normals=1), "1 normal", "at least 2")


def test_no_defect_type(tmp_path):
    root = make_category(tmp_path / "tile")
    for name in ("crack", "hole"):
        shutil.rmtree(root / "test" / name)
    _check(root, "no defect type", "at least 1")


def test_empty_type_folder(tmp_path):
    root = make_category(tmp_path / "tile")
    (root / "test" / "scratch").mkdir()
    _check(root, "test/scratch", "no image")


def test_missing_mask(tmp_path):
    root = make_category(tmp_path / "tile")
    (root / "ground_truth" / "hole" / "002_mask.png").unlink()
    _check(root, "hole/002.png", "mask is missing", "ground_truth/hole/002_mask.png")


@given(st.lists(st.text("ab019.é²_", max_size=6), unique=True), st.randoms())
def test_natural_order_is_total_and_stable(names, random):
    shuffled = list(names)
    random.shuffle(shuffled)
    assert sorted(shuffled, key=natural_key) == sorted(names, key=natural_key)


@given(st.lists(st.integers(0, 10**9), unique=True))
def test_natural_order_is_numeric(numbers):
    paths = natural_sorted(Path(f"image {number}.png") for number in numbers)
    assert [int(path.stem.split()[1]) for path in paths] == sorted(numbers)
