# SPDX-License-Identifier: Apache-2.0
"""The only file here that imports anomalib (10 to 20 seconds)."""

from pathlib import Path

import pytest

from seas_aug.data.anomalib_source import read_anomalib_datamodule
from seas_aug.data.category import read_mvtec_folder
from seas_aug.errors import SeasError
from seas_aug.generate.run import generate
from tests.data.helpers import make_category, write_image
from tests.generate.fake import FakePipeline, make_run


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return make_category(tmp_path_factory.mktemp("mvtec") / "tile", normals=6)


def _mvtec(root: Path, name="MVTecAD", **init_args):
    return {"class_path": name, "init_args": {"root": str(root.parent), "category": root.name, **init_args}}


@pytest.mark.parametrize(
    "options", [{}, {"val_split_mode": "from_test", "seed": 3}, {"name": "anomalib.data.MVTecAD", "num_workers": 0}]
)
def test_same_as_reading_the_folder(root, options):
    assert read_anomalib_datamodule(_mvtec(root, **options)) == read_mvtec_folder(root)


def test_folder_datamodule(root):
    init_args = {
        "name": "mine",
        "root": str(root),
        "normal_dir": "train/good",
        "abnormal_dir": ["test/crack", "test/hole"],
        "mask_dir": ["ground_truth/crack", "ground_truth/hole"],
        "normal_test_dir": "test/good",
        "train_augmentations": {"class_path": "ignored"},
    }
    assert read_anomalib_datamodule({"class_path": "Folder", "init_args": init_args}) == read_mvtec_folder(root)


@pytest.mark.parametrize("mode", ["from_train", "synthetic"])
def test_normals_for_validation_stay_out(root, mode):
    expected = read_mvtec_folder(root)
    category = read_anomalib_datamodule(_mvtec(root, val_split_mode=mode, seed=3))
    assert len(category.normals) == 3 and set(category.normals) < set(expected.normals)
    assert set(category.normals) | set(category.test_others) == {*expected.normals, *expected.test_others}
    assert category.defects == expected.defects


def _check(spec, *words):
    with pytest.raises(SeasError) as caught:
        read_anomalib_datamodule(spec)
    assert all(word in str(caught.value) for word in words), caught.value
    assert "\n" not in str(caught.value)


def test_mistakes(root, tmp_path):
    _check({}, "class_path")
    _check({"class_path": "MVTecAD", "init_args": [1]}, "class_path")
    _check({"class_path": "NoSuchData"}, "unknown class NoSuchData")
    _check({"class_path": "no_such_module.Data"}, "unknown class no_such_module.Data")
    _check({"class_path": "pathlib.Path"}, "no anomalib datamodule")
    _check(_mvtec(root, colour="red"), "cannot read it", "colour")
    _check(_mvtec(tmp_path / "nowhere"), "cannot read it")
    (root / "ground_truth" / "crack" / "000_mask.png").rename(tmp_path / "000_mask.png")
    try:
        _check(_mvtec(root), "cannot read it")
    finally:
        (tmp_path / "000_mask.png").rename(root / "ground_truth" / "crack" / "000_mask.png")


@pytest.fixture(scope="module")
def generated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("generated")
    types = [["crack"], ["hole"], ["hole", "crack"]]
    generate(make_run(folder / "run"), folder / "out", 3, types, normal=True, pipeline=FakePipeline())
    return folder / "out"


def test_generated_folder_is_read_by_folder(generated):
    from anomalib.data import Folder

    for name in ("crack", "crack+hole"):
        datamodule = Folder(
            name="seas",
            root=generated,
            normal_dir="train/good",
            abnormal_dir=f"test/{name}",
            mask_dir=f"ground_truth/{name}",
            val_split_mode="same_as_test",
        )
        datamodule.setup()
        assert int((datamodule.test_data.samples.label_index == 1).sum()) == 3


def test_generated_folder_is_read_by_mvtec(generated):
    from anomalib.data import MVTecAD

    write_image(generated / "test" / "good" / "000.png", 8, 8)
    datamodule = MVTecAD(root=generated.parent, category=generated.name)
    datamodule.setup()
    assert len(datamodule.train_data) == 3
    samples = datamodule.test_data.samples
    assert sorted(samples.label) == ["crack"] * 3 + ["crack+hole"] * 3 + ["good"] + ["hole"] * 3
    assert not any("reference" in path for path in samples.image_path)
    item = datamodule.test_data[0]
    assert item.gt_mask.any() and item.gt_mask.shape == (8, 8)
