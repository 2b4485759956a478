# SPDX-License-Identifier: Apache-2.0
"""No few-shot image, nor another of its group, is evaluated on; the rest of val and test is exactly anomalib's."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from seas_aug.anomalib_plugin import SeasAugmentation
from seas_aug.data.decode import content_hash
from tests.anomalib_plugin import layouts
from tests.anomalib_plugin.stand_ins import Draem

BOTH = ("hole", "scratch")
# What each data set calls its anomaly types.
TYPES: dict[Callable[[Path], Any], tuple[str, ...]] = {
    layouts.mvtec_ad: BOTH,
    layouts.folder: BOTH,
    layouts.tabular: BOTH,
    layouts.visa: ("bad",),
    layouts.btech: ("ko",),
    layouts.mvtec_3d: BOTH,
    layouts.mvtec_ad_2: ("bad",),
    layouts.mvtec_loco: ("logical_anomalies", "structural_anomalies"),
    layouts.real_iad: ("AK", "HS"),
    layouts.kolektor: ("Bad",),
    layouts.mpdd: BOTH,
    layouts.vad: ("bad",),
    layouts.auto_vi: BOTH,
    layouts.bmad: ("Ungood",),
}
EVALUATED = ("val_data", "test_data")
BY_ITEM = (layouts.real_iad, layouts.kolektor)
# These two of anomalib 2.7.0 read nothing, or fail, with the strings of pandas 3.
OLD_STRINGS = (layouts.auto_vi, layouts.mvtec_loco)


@pytest.fixture(params=TYPES, ids=lambda make: make.__name__)
def case(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Any, tuple[str, ...], Callable[[Path], Any]]:
    return set_up(request.param, tmp_path), TYPES[request.param], request.param


def set_up(make: Callable[[Path], Any], folder: Path) -> Any:
    datamodule = make(folder)
    if make in OLD_STRINGS:
        with warnings.catch_warnings(), pd.option_context("future.infer_string", False):
            warnings.simplefilter("ignore")
            datamodule.setup("fit")
    else:
        datamodule.setup("fit")
    return datamodule


def _samples(datamodule: Any) -> dict[str, pd.DataFrame]:
    return {name: getattr(datamodule, name).samples.copy() for name in EVALUATED}


def _augment(datamodule: Any, **options: Any) -> Any:
    callback = SeasAugmentation(source="cutpaste", few_shot="0.25", **options)
    callback.setup(SimpleNamespace(datamodule=datamodule), Draem(), "fit")
    assert callback._selection is not None
    return callback._selection.split


def _check_evaluated(datamodule: Any, before: dict[str, pd.DataFrame], gone: set[str]) -> None:
    """``gone`` has left val and test, and every other row, its order and its attributes are anomalib's."""
    hashes = {content_hash(Path(path)) for path in gone}
    for name, table in before.items():
        after = getattr(datamodule, name).samples
        kept = table[~table["image_path"].isin(gone)].reset_index(drop=True)
        pd.testing.assert_frame_equal(after, kept)
        assert after.attrs == table.attrs
        assert not {content_hash(Path(path)) for path in after["image_path"]} & hashes
    assert gone <= {path for table in before.values() for path in table["image_path"]}


def test_few_shot_images_leave_and_nothing_else(case: Any) -> None:
    datamodule, types, make = case
    before, trained = _samples(datamodule), datamodule.train_data.samples.copy()
    split = _augment(datamodule)
    assert split.anomaly_types == types
    few_shot = {str(sample.image) for sample in split.samples}
    assert len(few_shot) >= len(types)
    gone = few_shot | {str(path) for path in split.excluded}
    if make not in BY_ITEM:
        assert gone == few_shot
    _check_evaluated(datamodule, before, gone)
    pd.testing.assert_frame_equal(datamodule.train_data.samples, trained)
    item = datamodule.test_data[0]
    assert item.image is not None


def test_whole_groups_leave(case: Any, tmp_path: Path) -> None:
    datamodule, types, _ = case
    before = _samples(datamodule)
    first = _augment_of(datamodule, before)
    tested = before["test_data"]
    normals = [str(path) for path in tested["image_path"][tested["label_index"] == 0][:1]]  # some keep none in test
    other = str(tested["image_path"][(tested["label_index"] == 1) & (tested["image_path"] != first)].iloc[-1])
    rows = [f"{'/'.join(Path(path).parts[-3:-1])},{Path(path).name},a" for path in (first, other, *normals)]
    (tmp_path / "groups.csv").write_text("\n".join(["folder,file,group", *rows]) + "\n")
    split = _augment(datamodule, groups=str(tmp_path / "groups.csv"))
    few_shot = {str(sample.image) for sample in split.samples}
    gone = few_shot | {str(path) for path in split.excluded}
    assert split.anomaly_types == types
    assert first in few_shot and {other, *normals} <= gone
    _check_evaluated(datamodule, before, gone)


def _augment_of(datamodule: Any, before: dict[str, pd.DataFrame]) -> str:
    """Return the image that is chosen first, without changing the datamodule."""
    split = _augment(datamodule)
    for name, table in before.items():
        restored = table.copy()
        restored.attrs = dict(table.attrs)
        getattr(datamodule, name).samples = restored
    return str(split.samples[0].image)


@pytest.mark.parametrize("make", BY_ITEM, ids=lambda make: make.__name__)
def test_items_of_the_data_set_are_groups(make: Callable[[Path], Any], tmp_path: Path) -> None:
    datamodule = set_up(make, tmp_path)
    split = _augment(datamodule)
    items = {sample.image.parent for sample in split.samples}
    for name in EVALUATED:
        assert not items & {Path(path).parent for path in getattr(datamodule, name).samples["image_path"]}
    if make is layouts.real_iad:  # one of four images would be one view; both views of the item are taken
        assert [len(samples) for samples in split.few_shot.values()] == [2, 2]


def test_defects_with_several_masks_are_not_learnt_from(tmp_path: Path) -> None:
    datamodule = set_up(layouts.mvtec_loco, tmp_path)
    callback = SeasAugmentation(source="cutpaste", few_shot="1")
    callback.setup(SimpleNamespace(datamodule=datamodule), Draem(), "fit")
    assert callback._selection is not None
    assert len(callback._selection.split.samples) == 2 * layouts.DEFECTS - 1
    left = datamodule.test_data.samples
    assert [Path(path).name for path in left["image_path"][left["label_index"] == 1]] == ["203.png"]
