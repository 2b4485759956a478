# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import pytest
import torch
from diffusers import StableDiffusionPipeline

from seas_aug.anomalib_plugin import SeasAugmentation
from seas_aug.anomalib_plugin.automatic import _link_layout, prepare_pool, prepare_run
from seas_aug.anomalib_plugin.paste import PasteAugmenter
from seas_aug.anomalib_plugin.selection import select_from_datamodule
from seas_aug.anomalib_plugin.shown import ShownImages
from seas_aug.config import DrawConfig
from seas_aug.data.category import DefectSample
from seas_aug.data.decode import content_hash
from seas_aug.data.few_shot import FewShotSplit
from seas_aug.data.selection import Selection
from seas_aug.generate.run import plain_settings
from tests import tiny_models
from tests.anomalib_plugin import rendered
from tests.anomalib_plugin.stand_ins import FEW_SHOT, Draem, make_trainer, paths
from tests.generate.fake import make_run


def test_automatic_fine_tuning_is_done_once(category: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    drawings: list[DrawConfig] = []

    def finetune(config: Any) -> Path:
        calls.append("finetune")
        assert config.generator.max_steps == config.masks.max_steps == 2
        linked = sorted(str(path.relative_to(config.data.root)) for path in config.data.root.rglob("*.png"))
        assert [path for path in linked if not path.startswith("train")] == [
            "ground_truth/hole/000_mask.png",
            "ground_truth/scratch/000_mask.png",
            "test/hole/000.png",
            "test/scratch/000.png",
        ]
        assert content_hash(config.data.root / "test/hole/000.png") == content_hash(category / FEW_SHOT[0])
        torch.rand(1)
        (config.output / "model").mkdir(parents=True)
        (config.output / "model" / "model_index.json").write_text("{}")
        return config.output / "model"

    def generate(**options: Any) -> None:
        calls.append("generate")
        assert options["num_images"] == 3
        assert options["anomaly_types"] is None
        drawings.append(options["settings"])
        rendered.make_generated(options["output"], None)

    for name, function in {"finetune": finetune, "generate": generate}.items():
        module = ModuleType(f"seas_aug.{name}.run")
        setattr(module, name, function)
        module.plain_settings = plain_settings  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, f"seas_aug.{name}.run", module)

    options: dict[str, Any] = {"few_shot": 0.25, "max_steps": 2, "num_images": 3, "cache": str(tmp_path / "cache")}
    for _ in range(2):
        trainer, model = make_trainer(category), Draem()
        torch.manual_seed(5)
        SeasAugmentation(**options).setup(trainer, model, "fit")
        assert isinstance(model.augmenter, PasteAugmenter)
        assert not set(FEW_SHOT) & set(paths(trainer, "test_data"))
        state = torch.random.get_rng_state()
        torch.manual_seed(5)
        assert torch.equal(state, torch.random.get_rng_state())  # the detector's own draws do not change
    assert calls == ["finetune", "generate"]
    with monkeypatch.context() as patch:  # a finished cache may be read-only: no lock is taken
        patch.setattr("seas_aug.anomalib_plugin.automatic.only_writer", None)
        SeasAugmentation(**options).setup(make_trainer(category), Draem(), "fit")
    SeasAugmentation(**{**options, "seed": 1}).setup(make_trainer(category), Draem(), "fit")
    assert calls == ["finetune", "generate"] * 2
    SeasAugmentation(**{**options, "drawing": DrawConfig(severity=0.5)}).setup(make_trainer(category), Draem(), "fit")
    assert calls == ["finetune", "generate"] * 2 + ["generate"]  # other pairs of the same model
    assert drawings == [DrawConfig(), DrawConfig(), DrawConfig(severity=0.5)]


def test_other_normals_make_another_model(category: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a model that was shown a normal image would be used where that image is a test image."""
    runs: list[Path] = []

    def finetune(config: Any) -> None:
        assert config.accelerator == "cpu"
        runs.append(config.output)
        (config.output / "model").mkdir(parents=True)
        (config.output / "model" / "model_index.json").write_text("{}")

    module = ModuleType("seas_aug.finetune.run")
    module.finetune = finetune  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "seas_aug.finetune.run", module)
    callback = SeasAugmentation(few_shot="0.25", cache=str(tmp_path / "cache"))
    settings = dataclasses.replace(callback.settings, accelerator="cpu")
    found = []
    for ratio in (0.2, 0.2, 0.6):
        trainer = make_trainer(category, val_split_mode="from_train", val_split_ratio=ratio, seed=0)
        selection = select_from_datamodule(trainer.datamodule, settings)
        found.append(prepare_run(settings, None, selection))
    assert len(runs) == 2 and found[0] == found[1] != found[2]


def test_a_damaged_pool_is_made_whole(category: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Path] = []

    def generate(**options: Any) -> None:
        made.append(options["output"])
        assert options["accelerator"] == "auto"
        if not options["output"].exists():
            rendered.make_generated(options["output"], None)
        else:  # as the real one, it makes what is missing
            missing.write_bytes(content)

    module = ModuleType("seas_aug.generate.run")
    module.generate = generate  # type: ignore[attr-defined]
    module.plain_settings = plain_settings  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "seas_aug.generate.run", module)
    run = make_run(tmp_path / "run")
    settings = SeasAugmentation(num_images=3, cache=str(tmp_path / "cache")).settings
    pool = prepare_pool(settings, run)
    missing = sorted(pool.rglob("test/hole/*.png"))[0]
    content = missing.read_bytes()
    assert prepare_pool(settings, run) == pool
    assert len(made) == 1
    missing.unlink()
    assert prepare_pool(settings, run) == pool
    assert len(made) == 2 and missing.is_file()


def test_group_mates_of_a_separate_folder_stay_out(category: Path, tmp_path: Path) -> None:
    root = tmp_path / "few" / "part"
    shutil.copytree(category, root)
    for path in sorted(root.glob("test/hole/*.png"))[1:]:
        path.unlink()
        (root / "ground_truth" / "hole" / f"{path.stem}_mask.png").unlink()
    rows = ["test/hole,000.png,a", "test/hole,002.png,a", "test/good,001.png,a"]
    (tmp_path / "groups.csv").write_text("\n".join(["folder,file,group", *rows]) + "\n")
    callback = SeasAugmentation(root=str(root), few_shot="1", groups=str(tmp_path / "groups.csv"))
    trainer = make_trainer(category)
    selection = select_from_datamodule(trainer.datamodule, callback.settings)
    found = [path for path in selection.split.excluded if path.is_relative_to(category)]
    mates = {path.relative_to(category).as_posix() for path in found}
    assert mates == {"test/hole/000.png", "test/hole/002.png", "test/good/001.png"}
    shown = ShownImages.from_files(selection.split, selection.normals)
    assert content_hash(category / "test/hole/002.png") in shown.hashes


def test_a_second_callback_starts_from_anomalibs_own_sets(category: Path, generated: Path) -> None:
    """Two sources in one notebook have the same few-shot and the same test images."""
    trainer = make_trainer(category)
    before = paths(trainer, "test_data")
    first, second = (SeasAugmentation(source=source, few_shot="0.25") for source in ("perlin", "cutpaste"))
    first.setup(trainer, Draem(), "fit")
    tested = paths(trainer, "test_data")
    assert set(before) - set(tested) == set(FEW_SHOT)
    second.setup(trainer, Draem(), "fit")
    assert paths(trainer, "test_data") == tested
    assert first._selection is not None and second._selection is not None
    assert first._selection.split == second._selection.split


def test_one_callback_for_two_categories(category: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(category, tmp_path / "other"))
    for index, path in enumerate(sorted(other.glob("test/*/*.png"))):
        cv2.imwrite(str(path), rendered.normal(900 + index)[..., ::-1])
    callback = SeasAugmentation(source="perlin", few_shot="0.25")
    for folder in (category, other):
        trainer = make_trainer(folder)
        callback.setup(trainer, Draem(), "fit")
        assert not set(FEW_SHOT) & set(paths(trainer, "test_data"))


def test_automatic_with_a_real_model(category: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # An untrained mask predictor is sure that all is normal; one that is unsure leaves no mask empty.
    monkeypatch.setattr("seas_aug.masks.detail._IMAGE_PRIOR", 0.0)
    tokenizer = tiny_models.tiny_tokenizer()
    StableDiffusionPipeline(
        vae=tiny_models.tiny_vae(),
        text_encoder=tiny_models.tiny_text_encoder(tokenizer),
        tokenizer=tokenizer,
        unet=tiny_models.tiny_unet(sample_size=32),
        scheduler=tiny_models.tiny_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(tmp_path / "base")
    trainer, model = make_trainer(category), Draem()
    callback = SeasAugmentation(
        few_shot=0.25, base=str(tmp_path / "base"), max_steps=1, num_images=1, cache=str(tmp_path / "cache")
    )
    callback.setup(trainer, model, "fit")
    assert isinstance(model.augmenter, PasteAugmenter)
    assert callback._defects is not None
    assert callback._defects.pool.anomaly_types == rendered.TYPES
    images, masks, references = callback._defects.pool.draw(torch.Generator(), 2, (64, 64))
    assert masks.flatten(1).any(1).all()
    assert not torch.equal(images, references)


def test_linked_images_keep_their_names_and_masks_follow_their_images(tmp_path: Path) -> None:
    """Images of two folders share a name, a mask is called otherwise than its image."""
    for name in ("x/a.png", "y/a.png", "y/b.jpg", "m/label_of_a.bmp", "m/b.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    samples = (
        DefectSample(tmp_path / "x/a.png", tmp_path / "m/label_of_a.bmp", "crack"),
        DefectSample(tmp_path / "y/b.jpg", tmp_path / "m/b.png", "crack"),
    )
    split = FewShotSplit({"crack": samples}, {"crack": ()})
    _link_layout(
        tmp_path / "data", Selection((tmp_path / "x/a.png", tmp_path / "y/a.png", tmp_path / "y/b.jpg"), split)
    )
    linked = {
        path.relative_to(tmp_path / "data").as_posix(): path.read_text()
        for path in (tmp_path / "data").rglob("*.*")
        if path.is_file()
    }
    assert linked == {
        "train/good/a_00000.png": "x/a.png",
        "train/good/a_00001.png": "y/a.png",
        "train/good/b.jpg": "y/b.jpg",
        "test/crack/a.png": "x/a.png",
        "test/crack/b.jpg": "y/b.jpg",
        "ground_truth/crack/a_mask.bmp": "m/label_of_a.bmp",
        "ground_truth/crack/b_mask.png": "m/b.png",
    }
