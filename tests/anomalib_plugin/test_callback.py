# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import cv2
import pytest
import torch
from anomalib.data import Folder
from anomalib.data.utils.generators.perlin import PerlinAnomalyGenerator
from lightning.pytorch import LightningModule

from seas_aug.anomalib_plugin import SeasAugmentation
from seas_aug.anomalib_plugin.paste import PasteAugmenter
from seas_aug.config import DrawConfig
from seas_aug.data.decode import content_hash
from seas_aug.data.split_file import load_split
from seas_aug.errors import SeasError
from tests.anomalib_plugin import rendered
from tests.anomalib_plugin.stand_ins import FEW_SHOT, Draem, Padim, make_trainer, paths


@pytest.mark.parametrize("stage", ["fit", "validate", "test"])
def test_few_shot_images_leave_val_and_test(category: Path, generated: Path, stage: str) -> None:
    trainer, untouched = make_trainer(category), make_trainer(category)
    SeasAugmentation(generated=str(generated)).setup(trainer, Draem(), stage)
    for subset in ("val_data", "test_data"):
        assert paths(trainer, subset) == [path for path in paths(untouched, subset) if path not in FEW_SHOT]
        assert set(FEW_SHOT) <= set(paths(untouched, subset))
        samples = getattr(trainer.datamodule, subset).samples
        assert samples.attrs == getattr(untouched.datamodule, subset).samples.attrs
    assert paths(trainer, "train_data") == paths(untouched, "train_data")
    assert trainer.datamodule.test_data[0].gt_mask is not None


def test_predict_is_left_alone(category: Path, generated: Path) -> None:
    trainer, model = make_trainer(category), Draem()
    SeasAugmentation(generated=str(generated)).setup(trainer, model, "predict")
    assert set(FEW_SHOT) <= set(paths(trainer, "test_data"))
    assert isinstance(model.augmenter, PerlinAnomalyGenerator)


def test_same_picture_under_another_name_and_format(category: Path, generated: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(category, tmp_path / "part")
    cv2.imwrite(str(copy / "test" / "hole" / "900.png"), cv2.imread(str(copy / FEW_SHOT[0])), [16, 0])
    shutil.copy(copy / "ground_truth/hole/000_mask.png", copy / "ground_truth/hole/900_mask.png")
    trainer = make_trainer(copy)
    SeasAugmentation(generated=str(generated)).setup(trainer, Draem(), "test")
    assert not {"test/hole/000.png", "test/hole/900.png"} & set(paths(trainer, "test_data"))


def test_augmenter_is_swapped_for_fit_only_and_restored(category: Path, generated: Path) -> None:
    trainer, model = make_trainer(category), Draem()
    original, callback = model.augmenter, SeasAugmentation(generated=str(generated))
    callback.setup(trainer, model, "validate")
    assert model.augmenter is original
    for leave in (
        lambda: callback.teardown(trainer, model, "fit"),
        lambda: callback.on_exception(trainer, model, RuntimeError()),
    ):
        callback.setup(trainer, model, "fit")
        assert isinstance(model.augmenter, PasteAugmenter)
        callback.on_train_start(trainer, model)
        leave()
        assert model.augmenter is original
        callback.on_train_batch_start(trainer, model, SimpleNamespace(), 0)


def test_draws_depend_on_seed_and_step(category: Path, generated: Path) -> None:
    def first(seed: int, step: int) -> torch.Tensor:
        trainer, model = make_trainer(category), Draem()
        trainer.global_step = step
        callback = SeasAugmentation(generated=str(generated), seed=seed, probability=1.0)
        callback.setup(trainer, model, "fit")
        callback.on_train_start(trainer, model)
        batch = SimpleNamespace(image=torch.rand(4, 3, 64, 64))
        callback.on_train_batch_start(trainer, model, batch, 0)
        return batch.image

    assert torch.equal(first(0, 0), first(0, 0))
    assert not torch.equal(first(0, 0), first(1, 0))
    assert not torch.equal(first(0, 0), first(0, 50))


def test_run_folder_tells_the_few_shot_images(category: Path, generated: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    shutil.copy(generated / "split.json", run)
    bare = rendered.make_generated(tmp_path / "pairs", None)
    trainer = make_trainer(category)
    SeasAugmentation(run=str(run), generated=str(bare)).setup(trainer, Draem(), "fit")
    assert not set(FEW_SHOT) & set(paths(trainer, "test_data"))


def test_generated_folder_without_split_warns(category: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    bare = rendered.make_generated(tmp_path / "pairs", None)
    trainer = make_trainer(category)
    SeasAugmentation(generated=str(bare)).setup(trainer, Draem(), "fit")
    assert "it is not known which images" in caplog.text
    assert set(FEW_SHOT) <= set(paths(trainer, "test_data"))


def test_perlin_needs_no_model_and_evaluates_on_the_same_images(category: Path) -> None:
    trainer, model = make_trainer(category), Padim()
    SeasAugmentation(source="perlin", few_shot="0.25").setup(trainer, model, "fit")
    assert len(paths(trainer, "test_data")) == 9
    assert not set(FEW_SHOT) & set(paths(trainer, "test_data"))


def test_whole_groups_leave(category: Path, tmp_path: Path) -> None:
    groups = tmp_path / "groups.csv"
    rows = ["folder,file,group", "test/hole,000.png,a", "test/scratch,003.png,a", "test/good,001.png,a"]
    groups.write_text("\n".join(rows) + "\n")
    trainer = make_trainer(category)
    callback = SeasAugmentation(source="perlin", few_shot="0.25", groups=str(groups))
    callback.setup(trainer, Draem(), "test")
    gone = {*FEW_SHOT, "test/scratch/003.png", "test/good/001.png"}
    assert not gone & set(paths(trainer, "test_data"))
    assert len(paths(trainer, "test_data")) == 11 - len(gone)


def test_folder_datamodule(category: Path) -> None:
    datamodule = Folder(
        seed=0,
        name="part",
        root=category,
        normal_dir="train/good",
        normal_test_dir="test/good",
        abnormal_dir="test/hole",
        mask_dir="ground_truth/hole",
        num_workers=0,
    )
    datamodule.setup("fit")
    before = {name: set(getattr(datamodule, name).samples["image_path"]) for name in ("val_data", "test_data")}
    SeasAugmentation(source="perlin", few_shot="0.25").setup(SimpleNamespace(datamodule=datamodule), Draem(), "fit")
    gone = {str(category / "test" / "hole" / "000.png")}
    assert gone <= before["val_data"] | before["test_data"]  # a Folder's val set is drawn from its test set
    for name, images in before.items():
        assert set(getattr(datamodule, name).samples["image_path"]) == images - gone


def test_nothing_left_to_evaluate_on(category: Path, generated: Path) -> None:
    with pytest.raises(SeasError, match="All 8 defect images of val_data"):
        SeasAugmentation(source="perlin", few_shot="1").setup(make_trainer(category), Draem(), "fit")
    with pytest.raises(SeasError, match="normal images of val_data"):
        trainer = make_trainer(category, val_split_mode="from_train")
        SeasAugmentation(generated=str(generated)).setup(trainer, Draem(), "fit")


def test_user_mistakes(category: Path, generated: Path, tmp_path: Path) -> None:
    with pytest.raises(SeasError, match="probability is 2"):
        SeasAugmentation(probability=2).setup(make_trainer(category), Draem(), "fit")
    with pytest.raises(SeasError, match="num_images is 0"):
        SeasAugmentation(num_images=0).setup(make_trainer(category), Draem(), "fit")
    with pytest.raises(SeasError, match="no datamodule"):
        SeasAugmentation(generated=str(generated)).setup(SimpleNamespace(datamodule=None), Draem(), "fit")
    with pytest.raises(SeasError, match="WinClip has no adapter"):
        SeasAugmentation(generated=str(generated)).setup(
            make_trainer(category), type("WinClip", (LightningModule,), {})(), "fit"
        )
    with pytest.raises(SeasError, match=r"split\.json"):
        SeasAugmentation(run=str(tmp_path)).setup(make_trainer(category), Draem(), "fit")


@pytest.mark.parametrize("name", ["region", "masks"])
def test_a_missing_region_or_mask_is_told_before_anything_is_made(category: Path, tmp_path: Path, name: str) -> None:
    cache = tmp_path / "cache"
    drawing = DrawConfig(**{name: tmp_path / "nowhere.png"})  # type: ignore[arg-type]
    with pytest.raises(
        SeasError, match=rf"augmentation\.drawing\.{name} is .*nowhere\.png, which does not exist; give"
    ):
        SeasAugmentation(few_shot=0.25, cache=str(cache), drawing=drawing).setup(make_trainer(category), Draem(), "fit")
    assert not cache.exists()


def test_pairs_smaller_than_the_detector_warn_once(
    category: Path, generated: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trainer, model = make_trainer(category), Draem()
    callback = SeasAugmentation(generated=str(generated))
    callback.setup(trainer, model, "fit")
    for side in (64, 96, 96):
        callback.on_train_batch_start(trainer, model, SimpleNamespace(image=torch.rand(2, 3, side, side)), 0)
    assert caplog.text.count("trains at 96 px on pairs of 64 px") == 1


def test_fine_tuning_images_of_the_split_are_absent_by_hash(category: Path, generated: Path) -> None:
    forbidden = load_split(generated / "split.json").forbidden_hashes
    trainer = make_trainer(category)
    SeasAugmentation(generated=str(generated)).setup(trainer, Draem(), "fit")
    for subset in (trainer.datamodule.val_data, trainer.datamodule.test_data):
        assert not {content_hash(Path(path)) for path in subset.samples["image_path"]} & forbidden


SHARED = Path(__file__).parents[3] / "shared" / "data"


@pytest.mark.parametrize("name", ["magnetic_tile", "screw"])
def test_real_category_by_content_hash(name: str) -> None:
    if not (SHARED / name / "split.json").is_file():
        pytest.skip(f"{SHARED / name} is not there")
    trainer, untouched = make_trainer(SHARED / name), make_trainer(SHARED / name)
    callback = SeasAugmentation(source="perlin", few_shot=str(SHARED / name / "split.json"))
    callback.setup(trainer, Draem(), "fit")
    content = json.loads((SHARED / name / "split.json").read_text())
    few_shot = {
        content_hash(SHARED / name / "test" / kind / file)
        for kind, entry in content.items()
        for file in entry["few_shot"]
    }
    assert callback._selection is not None
    excluded = {str(path) for path in callback._selection.split.excluded}
    for subset in ("val_data", "test_data"):
        before, after = (list(getattr(t.datamodule, subset).samples["image_path"]) for t in (untouched, trainer))
        hashes = {path: content_hash(Path(path)) for path in before}
        assert not {hashes[path] for path in after} & few_shot
        assert set(before) - set(after) == {p for p in before if hashes[p] in few_shot or str(Path(p)) in excluded}
        assert len(after) < len(before)
