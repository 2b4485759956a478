# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest

from seas_aug.anomalib_plugin import PairPool, SeasAugmentation
from seas_aug.anomalib_plugin.pool import PoolEntry, read_manifest
from seas_aug.anomalib_plugin.synthetic_split import reserve, synthetic_subsets, with_same_number
from seas_aug.config import DrawConfig
from seas_aug.data.category import read_mvtec_folder
from seas_aug.data.few_shot import select_few_shot
from seas_aug.data.split_file import save_split
from seas_aug.errors import SeasError
from tests.anomalib_plugin import rendered
from tests.anomalib_plugin.stand_ins import Draem, make_trainer


def entry(number: int) -> PoolEntry:
    return PoolEntry(Path(f"{number}.png"), Path(f"{number}_mask.png"), Path(f"{number}_ref.png"), "hole")


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory, category: Path) -> Path:
    """Pairs of a model that was fine-tuned on none of the normal images that go to validation."""
    folder = rendered.make_generated(tmp_path_factory.mktemp("many") / "pairs", None, pairs=8)
    save_split(folder / "split.json", select_few_shot(read_mvtec_folder(category), "0.25"), [])
    return folder


def test_reserved_pairs_are_few_and_in_one_set_only() -> None:
    entries = [entry(number) for number in range(20)]
    chosen = reserve(entries, {"val_data": 3, "test_data": 50}, seed=1)
    assert [len(chosen["val_data"]), len(chosen["test_data"])] == [3, 5]
    assert len({one.image for group in chosen.values() for one in group}) == 8
    assert chosen == reserve(entries, {"val_data": 3, "test_data": 50}, seed=1)
    assert chosen != reserve(entries, {"val_data": 3, "test_data": 50}, seed=2)
    with pytest.raises(SeasError, match="1 pairs are too few for val_data, test_data"):
        reserve(entries[:1], {"val_data": 3, "test_data": 3}, 0)


def test_pairs_of_the_same_photo_and_place_stay_together() -> None:
    entries = [
        PoolEntry(Path(f"{kind}/{i}.png"), Path(f"{kind}/{i}_mask.png"), Path(f"{i}.png"), kind)
        for kind in ("crack", "hole", "stain")
        for i in range(12)
    ]
    chosen = reserve(entries, {"val_data": 4, "test_data": 50}, seed=1)
    assert [len(chosen[name]) for name in ("val_data", "test_data")] == [4, 9]
    stems = [{entry.image.stem for entry in chosen[name]} for name in ("val_data", "test_data")]
    assert not stems[0] & stems[1]
    left_out = with_same_number(entries, [*chosen["val_data"], *chosen["test_data"]])
    assert len(left_out) == 3 * len(stems[0] | stems[1]) < len(entries)
    assert not {entry.image.stem for entry in set(entries) - set(left_out)} & (stems[0] | stems[1])
    with pytest.raises(SeasError, match="3 pairs are too few for val_data and the training"):
        reserve(entries[::12], {"val_data": 1}, seed=1)


@pytest.mark.parametrize("stage", ["fit", "validate"])
def test_perlin_anomalies_of_val_become_pairs_that_are_not_trained_on(
    category: Path, many: Path, stage: str, capsys: pytest.CaptureFixture
) -> None:
    trainer = make_trainer(category, val_split_mode="synthetic", val_split_ratio=0.7, seed=0)
    data = trainer.datamodule
    before = data.val_data.samples
    assert synthetic_subsets(data) == {"val_data": int((before["label_index"] == 1).sum())}
    callback = SeasAugmentation(generated=str(many))
    callback.setup(trainer, Draem(), stage)
    samples = data.val_data.samples
    defects = samples[samples["label_index"] == 1]
    assert len(defects) == int((before["label_index"] == 1).sum()) > 0
    known = {str(one.image): str(one.mask) for one in read_manifest(many)}
    assert [known[path] for path in defects["image_path"]] == list(defects["mask_path"])
    normals = list(samples["image_path"][samples["label_index"] == 0])
    assert len(set(normals)) == len(normals) == int((before["label_index"] == 0).sum())
    assert set(normals) <= set(data.val_data.source_samples["image_path"])
    assert samples.attrs == before.attrs
    item = data.val_data[int(defects.index[0])]
    assert item.gt_mask.any() and item.gt_label
    assert "generated pairs instead of Perlin" in capsys.readouterr().out
    if stage == "fit":
        assert callback._defects is not None
        pool = callback._defects.pool
        assert isinstance(pool, PairPool)
        trained = {str(one.image) for one in pool.entries}
        assert not trained & set(defects["image_path"])
        assert len(trained) == len(known) - len(defects)
    callback.setup(trainer, Draem(), "validate")
    assert list(data.val_data.samples["image_path"]) == list(samples["image_path"])


def test_test_set_of_pairs(category: Path, many: Path) -> None:
    """Only of the types that are asked for; val is a copy of test then."""
    trainer = make_trainer(category, test_split_mode="synthetic", test_split_ratio=0.5, seed=0)
    callback = SeasAugmentation(generated=str(many), anomaly_types=["hole"])
    callback.setup(trainer, Draem(), "fit")
    samples = trainer.datamodule.test_data.samples
    defects = set(samples["image_path"][samples["label_index"] == 1])
    assert defects and defects < {str(one.image) for one in read_manifest(many) if one.anomaly_type == "hole"}
    assert callback.pool is not None and callback.pool.anomaly_types == ("hole",)


def test_a_synthetic_test_set_leaves_no_defect_to_learn_from(category: Path) -> None:
    trainer = make_trainer(category, test_split_mode="synthetic", test_split_ratio=0.5, seed=0)
    with pytest.raises(SeasError, match=r"test_split_mode synthetic .*augmentation\.root"):
        SeasAugmentation(few_shot="0.25").setup(trainer, Draem(), "fit")


@pytest.mark.parametrize("mode", ["val_split_mode", "test_split_mode"])
def test_all_sources_are_evaluated_on_the_same_images(category: Path, many: Path, mode: str) -> None:
    """anomalib draws anew, for each of them, which normal images become defects, and the defects."""
    options = {mode: "synthetic", mode.replace("mode", "ratio"): 0.7, "seed": 0}
    evaluated = {}
    for source in ("seas", "none", "perlin", "cutpaste"):
        trainer = make_trainer(category, **options)
        SeasAugmentation(source=source, generated=str(many)).setup(trainer, Draem(), "fit")
        tables = [getattr(trainer.datamodule, name).samples for name in ("val_data", "test_data")]
        evaluated[source] = [list(zip(table["image_path"], table["label_index"], strict=True)) for table in tables]
        assert any(str(many) in path for table in evaluated[source] for path, _ in table)
    assert all(evaluated[source] == evaluated["seas"] for source in evaluated)


def test_drawing_counts_for_every_source_where_pairs_are_evaluated_on(category: Path, tmp_path: Path) -> None:
    options = {"source": "perlin", "run": str(tmp_path), "drawing": DrawConfig(severity=0.5)}
    with pytest.raises(SeasError, match="drawing says how pairs are made"):
        SeasAugmentation(**options).setup(make_trainer(category), Draem(), "fit")
    trainer = make_trainer(category, val_split_mode="synthetic", val_split_ratio=0.7, seed=0)
    with pytest.raises(SeasError, match=r"no split of a run"):  # the next mistake
        SeasAugmentation(**options).setup(trainer, Draem(), "fit")


def test_nothing_synthetic_is_left_alone(category: Path, many: Path) -> None:
    assert synthetic_subsets(make_trainer(category).datamodule) == {}


def test_no_pair_left_to_train_on(many: Path) -> None:
    with pytest.raises(SeasError, match="none is left"):
        PairPool(many, without=read_manifest(many))
