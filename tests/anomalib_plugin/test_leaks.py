# SPDX-License-Identifier: Apache-2.0
"""No image that SeaS was shown, nor another of its group, is evaluated on: every way to SeaS, data set and split.

What SeaS is shown is asked of what it is fine-tuned on (automatic, root) or of the record (run, generated); groups are
told by content, without any of the package's own code.
"""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
from anomalib.data import Folder
from anomalib.data.utils import TestSplitMode as HowToTest
from anomalib.data.utils import ValSplitMode

from seas_aug.anomalib_plugin import SeasAugmentation
from seas_aug.data.anomalib_source import category_from_datamodule
from seas_aug.data.selection import Selection, select
from seas_aug.data.split_file import save_split
from seas_aug.errors import SeasError
from tests.anomalib_plugin import layouts, rendered
from tests.anomalib_plugin.stand_ins import Draem
from tests.anomalib_plugin.test_datamodules import BY_ITEM, EVALUATED, OLD_STRINGS, TYPES

KINDS = ("automatic", "root", "run", "generated")


def folder_of_normals(root: Path) -> Any:
    """Without ``normal_test_dir`` anomalib moves training normals to the test set."""
    layouts.mvtec_ad(root)
    return Folder(
        name="part",
        root=root / "part",
        normal_dir="train/good",
        abnormal_dir=[f"test/{name}" for name in rendered.TYPES],
        mask_dir=[f"ground_truth/{name}" for name in rendered.TYPES],
        test_split_ratio=0.4,
        num_workers=0,
    )


MODES = [f"val {mode.value}" for mode in ValSplitMode if mode is not ValSplitMode.FROM_DIR]
# Splits that make evaluation images of training normals.
FROM_TRAIN = ("val from_train", "val synthetic")
OWN_VALIDATION = (layouts.mvtec_ad_2, layouts.mvtec_loco, layouts.bmad)
CASES = list(
    dict.fromkeys(
        [
            *(
                (make, mode)
                for make in (layouts.mvtec_ad, layouts.folder)
                for mode in (*MODES, "test synthetic", "test none")
            ),
            *(
                (folder_of_normals, mode)
                for mode in ("val same_as_test", "val from_test", "val from_train", "val none")
            ),
            *((make, mode) for make in TYPES for mode in ("as it comes", "val from_train")),
            *((make, "val from_dir") for make in OWN_VALIDATION),
        ]
    )
)


def make_datamodule(make: Callable[[Path], Any], folder: Path, mode: str = "as it comes") -> Any:
    shutil.rmtree(folder, ignore_errors=True)  # some layouts are moved about while they are written
    datamodule = make(folder)
    datamodule.seed = 0
    which, _, name = mode.partition(" ")
    if which == "val":
        datamodule.val_split_mode = ValSplitMode(name)
    elif which == "test":
        datamodule.test_split_mode = HowToTest(name)
    with warnings.catch_warnings(), pd.option_context("future.infer_string", make not in OLD_STRINGS):
        warnings.simplefilter("ignore")
        datamodule.setup("fit")
    return datamodule


def rows(datamodule: Any, subset: str, label: int) -> list[Path]:
    dataset = getattr(datamodule, subset, None)
    if dataset is None:
        return []
    return [Path(path) for path in dataset.samples["image_path"][dataset.samples["label_index"] == label]]


def content(path: Path) -> bytes:
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    assert image is not None, path
    return np.array(image.shape).tobytes() + image.tobytes()


def write_groups(path: Path, groups: dict[str, list[Path]]) -> Path:
    lines = [f"{'/'.join(one.parts[-3:-1])},{one.name},{name}" for name, files in groups.items() for one in files]
    path.write_text("\n".join(["folder,file,group", *lines]) + "\n")
    return path


@dataclass
class Data:
    """A data set with whatever SeaS may be given beside it."""

    plain: Any
    datamodule: Any
    folder: Path
    many: Path
    groups: dict[str, list[Path]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Group a few-shot defect with another defect and a normal image, and a training normal with a defect."""
        defects, normals = rows(self.plain, "test_data", 1), rows(self.plain, "test_data", 0)
        trained = rows(self.plain, "train_data", 0)
        first = self.selection("0.25").split.samples[0].image
        others = [path for path in sorted(set(defects)) if path != first]
        self.groups = {"a": [first, others[-1], *sorted(normals)[:1]], "b": [sorted(trained)[0], others[-2]]}

    def selection(self, few_shot: str, groups: Path | None = None) -> Selection:
        return select(category_from_datamodule(self.plain, where="test"), few_shot, groups)

    def root(self, groups: Path | None) -> tuple[Path, Path | None]:
        """A folder of all normal images that there are, and of the first defect, with its groups."""
        root = self.folder / f"root_{groups is not None}" / "part"
        normals = {*rows(self.plain, "train_data", 0), *rows(self.plain, "test_data", 0)}
        normals |= {*rows(self.plain, "val_data", 0)}
        for index, path in enumerate(sorted(normals)):
            rendered.write(root / "train" / "good" / f"n{index:03d}.png", cv2.imread(str(path)))
        sample = self.selection("0.25").split.samples[0]
        rendered.write(root / "test" / "few" / "x.png", cv2.imread(str(sample.image)))
        mask = cv2.imread(str(sample.mask), cv2.IMREAD_GRAYSCALE)
        rendered.write(root / "ground_truth" / "few" / "x_mask.png", mask)
        if groups is None:
            return root, None
        return root, write_groups(
            root / "groups.csv", {**self.groups, "a": [*self.groups["a"], root / "test" / "few" / "x.png"]}
        )

    def recorded(self, kind: str) -> Path:
        """A run, or pairs, of a model that was fine-tuned before anyone thought of groups or of this split."""
        folder = self.folder / kind
        if not folder.exists():
            shutil.copytree(self.many, folder, copy_function=os.link)
            selection = self.selection("0.25")
            save_split(folder / "split.json", selection.split, selection.normals)
        return folder


def evaluated(datamodule: Any) -> list[Path]:
    return [path for subset in EVALUATED for label in (0, 1) for path in rows(datamodule, subset, label)]


def check(data: Data, make: Callable[[Path], Any], shown: list[Path], groups: bool) -> None:
    """Compare by pixels; a group is a row of the CSV, or an item of the data set."""
    left = {content(path): path for path in evaluated(data.datamodule)}
    seen = {content(path): path for path in shown}
    assert not set(left) & set(seen)
    if groups:
        group_of = {content(path): name for name, files in data.groups.items() for path in files}
    elif make in BY_ITEM:
        everything = [*rows(data.plain, "train_data", 0), *evaluated(data.plain)]
        group_of = {content(path): str(path.parent) for path in everything}
    else:
        return
    taken = {group_of[one] for one in seen if one in group_of}
    assert not taken & {group_of[one] for one in left if one in group_of}
    if groups and make not in BY_ITEM:
        assert "a" in taken  # else the line above says nothing


def augment(data: Data, kind: str, groups: Path | None, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Set the callback up, as a training does, and return what SeaS was shown."""
    chosen: list[Selection] = []

    def prepare_pool(settings: Any, run: Path | None, selection: Selection | None, normals: bool = False) -> Path:
        del settings, normals
        if run is None:
            assert selection is not None
            chosen.append(selection)
        return data.many

    monkeypatch.setattr("seas_aug.anomalib_plugin.callback.prepare_pool", prepare_pool)
    options: dict[str, Any] = {"few_shot": "0.25"}
    if kind == "root":
        root, groups = data.root(groups)
        options = {"few_shot": "1", "root": str(root)}
    elif kind != "automatic":
        options = {kind: str(data.recorded(kind))}
    callback = SeasAugmentation(**options, groups=str(groups) if groups else None)
    callback.setup(SimpleNamespace(datamodule=data.datamodule), Draem(), "fit")
    if not chosen:
        saved = data.selection("0.25")
        return [*saved.normals, *(sample.image for sample in saved.split.samples)]
    return [*chosen[0].normals, *(sample.image for sample in chosen[0].split.samples)]


def refusal(make: Callable[[Path], Any], mode: str, kind: str, groups: bool) -> str | None:
    """Return what is said where nothing would be left to evaluate on; a group takes the last normal image with it."""
    if kind == "automatic" and mode == "test synthetic":
        return "no real defect to learn from"
    if kind in ("run", "generated") and mode in FROM_TRAIN:
        return "normal images of val_data were used for fine-tuning"
    last = ((layouts.folder, "test synthetic"), (folder_of_normals, "val from_test"))
    return "All 1 normal images" if groups and (make, mode) in last else None


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return rendered.make_generated(tmp_path_factory.mktemp("many") / "pairs", None, pairs=8)


@pytest.mark.parametrize("make, mode", CASES, ids=lambda one: getattr(one, "__name__", one))
def test_nothing_that_seas_was_shown_is_evaluated_on(
    make: Callable[[Path], Any], mode: str, tmp_path: Path, many: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = make_datamodule(make, tmp_path / "data")
    data = Data(plain, make_datamodule(make, tmp_path / "data", mode), tmp_path, many)
    table = write_groups(tmp_path / "groups.csv", data.groups)
    for groups in (None, table):
        for kind in KINDS:
            expected = refusal(make, mode, kind, groups is not None)
            try:
                shown = augment(data, kind, groups, monkeypatch)
            except SeasError as error:
                assert expected is not None and expected in str(error), (kind, groups, str(error))
                continue
            assert expected is None or make in BY_ITEM, (kind, groups)  # normals of some items were not shown
            check(data, make, shown, groups is not None)
