# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import anomalib.models
import pandas as pd
import pytest
from anomalib.data import Folder

from seas_aug.anomalib_plugin import SeasAugmentation
from seas_aug.anomalib_plugin.one_class import normal_images, with_normals
from seas_aug.anomalib_plugin.registry import ONE_CLASS_DETECTORS, is_one_class, registered_detectors
from seas_aug.artifact.record import Record
from seas_aug.errors import SeasError
from seas_aug.generate.writer import PairWriter
from tests.anomalib_plugin.rendered import add_normals, make_generated
from tests.anomalib_plugin.stand_ins import FEW_SHOT, Draem, Padim, make_trainer, paths

MADE_FROM = Record(code="1", model="a", settings={"seed": 0})


@pytest.fixture
def with_good(category: Path, tmp_path: Path) -> Path:
    """Pairs and two generated normal images."""
    return add_normals(make_generated(tmp_path / "pairs", category))


def test_names_are_anomalibs() -> None:
    assert all(hasattr(anomalib.models, name) for name in ONE_CLASS_DETECTORS)
    assert not ONE_CLASS_DETECTORS & set(registered_detectors())
    assert is_one_class(type("Mine", (Padim,), {})())
    assert not is_one_class(Draem())


def test_a_stream_of_defects_is_refused(category: Path, generated: Path) -> None:
    with pytest.raises(SeasError, match="Padim learns from normal images alone; leave it out"):
        SeasAugmentation(run=str(generated), stream=True).setup(make_trainer(category), Padim(), "fit")


def test_normals_are_added_for_training_alone_and_taken_away(
    category: Path, with_good: Path, capsys: pytest.CaptureFixture
) -> None:
    trainer, untouched = make_trainer(category), make_trainer(category)
    callback = SeasAugmentation(generated=str(with_good))
    callback.setup(trainer, Padim(), "fit")
    samples = trainer.datamodule.train_data.samples
    own = untouched.datamodule.train_data.samples
    added = samples[~samples["image_path"].isin(own["image_path"])]
    assert [Path(path) for path in added["image_path"]] == normal_images(with_good)
    assert (samples["label_index"] == 0).all()
    assert samples.attrs == own.attrs and (samples.dtypes == own.dtypes).all()
    item = trainer.datamodule.train_data[int(added.index[0])]
    assert not item.gt_mask.any() and not item.gt_label
    assert paths(trainer, "test_data") == [path for path in paths(untouched, "test_data") if path not in FEW_SHOT]
    assert (
        "Padim learns from normal images alone; it gets 2 generated ones more, and no defect" in capsys.readouterr().out
    )
    callback.on_train_batch_start(trainer, Padim(), SimpleNamespace(), 0)
    callback.teardown(trainer, Padim(), "fit")
    pd.testing.assert_frame_equal(trainer.datamodule.train_data.samples, own)


@pytest.mark.parametrize("source", ["perlin", "none", "cutpaste"])
def test_other_sources_leave_a_one_class_detector_alone(category: Path, source: str) -> None:
    trainer, untouched = make_trainer(category), make_trainer(category)
    SeasAugmentation(source=source, few_shot="0.25").setup(trainer, Padim(), "fit")
    assert paths(trainer, "train_data") == paths(untouched, "train_data")
    assert not set(FEW_SHOT) & set(paths(trainer, "test_data"))


def test_folder_datamodule_without_masks(category: Path, with_good: Path) -> None:
    datamodule = Folder(seed=0, name="part", root=category, normal_dir="train/good", num_workers=0)
    datamodule.setup("fit")
    before = datamodule.train_data.samples
    after = with_normals(before, normal_images(with_good))
    assert len(after) == len(before) + 2
    assert (after.dtypes == before.dtypes).all()
    assert after.attrs == before.attrs
    datamodule.train_data.samples = after
    assert all(datamodule.train_data[index].image.shape == (3, 64, 64) for index in range(len(after)))


def test_refused_seeds_are_passed_over(category: Path, with_good: Path) -> None:
    before = normal_images(with_good)
    writer = PairWriter(with_good, MADE_FROM)
    for folder in ("hole", "good"):
        writer.refuse(folder, 7, {"rejected": ["seam"]})
    writer.finish()
    assert normal_images(with_good) == before
    trainer = make_trainer(category)
    SeasAugmentation(generated=str(with_good)).setup(trainer, Padim(), "fit")
    assert set(map(str, before)) <= set(trainer.datamodule.train_data.samples["image_path"])
    assert trainer.datamodule.train_data.samples["image_path"].notna().all()


def test_mistakes(category: Path, generated: Path, with_good: Path) -> None:
    with pytest.raises(SeasError, match="run `seas-aug generate` with --normal"):
        SeasAugmentation(generated=str(generated)).setup(make_trainer(category), Padim(), "fit")
    lines = [json.loads(line) for line in (with_good / "manifest.jsonl").read_text().splitlines()]
    good = next(line["file"] for line in lines if line["folder"] == "good")
    (with_good / good).unlink()
    with pytest.raises(SeasError, match=good):
        normal_images(with_good)
    samples = make_trainer(category).datamodule.train_data.samples
    with pytest.raises(SeasError, match="no normal image"):
        with_normals(samples.assign(label_index=1), [])
