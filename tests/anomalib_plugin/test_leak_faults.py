# SPDX-License-Identifier: Apache-2.0
"""Ways in which an image that SeaS was shown got past the filter, or a clean one would be taken for it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from seas_aug.anomalib_plugin import SeasAugmentation
from seas_aug.anomalib_plugin.selection import check_same_split
from seas_aug.data.category import read_mvtec_folder
from seas_aug.data.few_shot import select_few_shot
from seas_aug.data.split_file import save_split
from seas_aug.errors import SeasError
from tests.anomalib_plugin import rendered
from tests.anomalib_plugin.stand_ins import FEW_SHOT, Draem, make_trainer, paths


@pytest.fixture
def data(tmp_path: Path) -> tuple[Path, Path]:
    """A category, and pairs of a model that was fine-tuned on it."""
    category = rendered.make_category(tmp_path / "first" / "part")
    return category, rendered.make_generated(tmp_path / "pairs", category)


def change(path: Path, how: Any) -> None:
    assert cv2.imwrite(str(path), how(cv2.imread(str(path), cv2.IMREAD_UNCHANGED)))


def one_level(image: np.ndarray) -> np.ndarray:
    changed = image.copy()
    changed[0, 0, 0] += 1
    return changed


def half(image: np.ndarray) -> np.ndarray:
    return cv2.resize(image, (32, 32), interpolation=cv2.INTER_NEAREST if image.ndim == 2 else cv2.INTER_LINEAR)


def moved(category: Path, how: Any = None) -> Path:
    """The data set in another place, perhaps changed there; the first place is gone."""
    target = category.parents[1] / "second" / category.name
    target.parent.mkdir()
    shutil.move(category, target)
    for path in sorted(target.rglob("*.png")) if how else []:
        change(path, how)
    return target


def set_up(category: Path, **options: Any) -> Any:
    trainer = make_trainer(category)
    SeasAugmentation(**options).setup(trainer, Draem(), "fit")
    return trainer


@pytest.mark.parametrize("place", ["as it was", "moved", "linked"])
@pytest.mark.parametrize("kind", ["generated", "run"])
def test_a_few_shot_image_that_was_edited_is_refused(data: Any, kind: str, place: str, tmp_path: Path) -> None:
    category, generated = data
    if place == "moved":
        category = moved(category)
    elif place == "linked":
        (tmp_path / "link").symlink_to(category.parent)
        category = tmp_path / "link" / "part"
    change(category / FEW_SHOT[0], one_level)
    options = {"generated": str(generated)} if kind == "generated" else {"run": str(generated), "source": "cutpaste"}
    with pytest.raises(
        SeasError, match=r"hole/000\.png is not the picture any more that SeaS was shown as .*; expected"
    ):
        set_up(category, **options)


def test_an_edited_image_is_refused_though_its_original_is_there_under_another_name(data: Any) -> None:
    category, generated = data
    for folder, ending in (("test", ""), ("ground_truth", "_mask")):
        shutil.copy(category / folder / "hole" / f"000{ending}.png", category / folder / "hole" / f"900{ending}.png")
    change(category / FEW_SHOT[0], one_level)
    with pytest.raises(SeasError, match="is not the picture any more"):
        set_up(category, generated=str(generated))


def test_an_edited_image_leaves_where_few_shot_images_lie_elsewhere(data: Any, tmp_path: Path) -> None:
    category, _ = data
    root = Path(shutil.copytree(category, tmp_path / "few" / "part"))
    change(category / FEW_SHOT[0], one_level)
    trainer = set_up(category, source="perlin", root=str(root), few_shot="0.25")
    assert not set(FEW_SHOT) & set(paths(trainer, "test_data"))


@pytest.mark.parametrize("known", ["thumbnail", "by name alone"])
def test_a_resized_copy_is_taken_out_by_path(data: Any, known: str) -> None:
    category, generated = data
    if known == "by name alone":  # as version 0.1 wrote it
        record = json.loads((generated / "split.json").read_text())
        for entry in [*record["normals"], *(one for entries in record["few_shot"].values() for one in entries)]:
            del entry["thumbnail"], entry["size"]
        (generated / "split.json").write_text(json.dumps(record))
    trainer = set_up(moved(category, half), generated=str(generated))
    assert not set(FEW_SHOT) & set(paths(trainer, "test_data"))
    assert len(paths(trainer, "test_data")) == 9


def test_normal_images_of_a_resized_copy_are_known_too(data: Any) -> None:
    category, generated = data
    trainer = make_trainer(moved(category, half), val_split_mode="from_train", seed=0)
    with pytest.raises(SeasError, match="All 3 normal images of val_data"):
        SeasAugmentation(generated=str(generated)).setup(trainer, Draem(), "fit")


def renamed(category: Path) -> Path:
    for path in sorted(category.rglob("*.png")):
        path.rename(path.with_name(f"x{path.name}"))
    return category


def test_a_copy_in_which_nothing_is_found_is_refused_unless_it_is_meant(data: Any) -> None:
    category, generated = data
    copy = renamed(moved(category, half))
    with pytest.raises(SeasError, match=r"none of the 2 few-shot images .* resized copy .*few_shot_elsewhere"):
        set_up(copy, generated=str(generated))
    trainer = set_up(copy, generated=str(generated), few_shot_elsewhere=True)
    assert len(paths(trainer, "test_data")) == 11


def test_few_shot_images_may_have_been_moved_away(data: Any, caplog: pytest.LogCaptureFixture) -> None:
    """The normal images show that the data set is no resized copy."""
    category, generated = data
    for name in FEW_SHOT:
        (category / name).unlink()
        (category / name.replace("test", "ground_truth").replace(".png", "_mask.png")).unlink()
    trainer = set_up(category, generated=str(generated))
    assert len(paths(trainer, "test_data")) == 9
    assert "None of the 2 few-shot images" in caplog.text and "moved away" in caplog.text


def test_few_shot_images_that_are_not_found_are_told(data: Any, caplog: pytest.LogCaptureFixture) -> None:
    category, generated = data
    (category / FEW_SHOT[0]).unlink()
    (category / "ground_truth/hole/000_mask.png").unlink()
    set_up(category, generated=str(generated))
    assert "1 of the 2 few-shot images are not in the datamodule, such as" in caplog.text
    assert "hole/000.png" in caplog.text


def test_another_picture_of_the_same_name_stays(data: Any) -> None:
    """As of another product, or where images were numbered anew after few-shot images were taken away."""
    category, generated = data
    category = moved(category)
    cv2.imwrite(str(category / FEW_SHOT[0]), rendered.defect(990, "hole")[0])
    trainer = set_up(category, generated=str(generated))
    tested = paths(trainer, "test_data")
    assert FEW_SHOT[0] in tested and FEW_SHOT[1] not in tested and len(tested) == 10


def test_references_of_pairs_without_a_record_are_not_evaluated_on(data: Any) -> None:
    category, _ = data
    pairs = rendered.make_generated(category.parent / "bare", None)
    shutil.copy(sorted((pairs / "reference").rglob("*.png"))[0], category / "test" / "good" / "900.png")
    trainer = set_up(category, generated=str(pairs))
    assert "test/good/900.png" not in paths(trainer, "test_data") and len(paths(trainer, "test_data")) == 11


def test_groups_count_for_a_run_and_its_normal_images(data: Any) -> None:
    category, generated = data
    rows = ["./test/hole,000.png,a", "test/scratch/,003.png,a", "train/good,000.png,b", "test/good,001.png,b"]
    (category / "groups.csv").write_text("\n".join(["folder,file,group", *rows]) + "\n")
    trainer = set_up(category, generated=str(generated))
    gone = {*FEW_SHOT, "test/scratch/003.png", "test/good/001.png"}
    assert not gone & set(paths(trainer, "test_data")) and len(paths(trainer, "test_data")) == 11 - len(gone)


@pytest.mark.parametrize("mode", ["from_train", "synthetic"])
def test_root_is_not_fine_tuned_on_what_is_evaluated_on(
    data: Any, mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    category, _ = data
    root = Path(shutil.copytree(category, tmp_path / "few" / "part"))
    given: list[Any] = []

    def prepare_pool(settings: Any, run: Any, selection: Any, normals: bool = False) -> Path:
        del settings, run, normals
        given.append(selection)
        return rendered.make_generated(tmp_path / "made", None, pairs=8)

    monkeypatch.setattr("seas_aug.anomalib_plugin.callback.prepare_pool", prepare_pool)
    trainer = make_trainer(category, val_split_mode=mode, val_split_ratio=0.5, seed=0)
    SeasAugmentation(root=str(root), few_shot="0.25").setup(trainer, Draem(), "fit")
    samples = trainer.datamodule.val_data.samples
    evaluated = {Path(path).name for path in samples["image_path"][samples["label_index"] == 0]}
    assert evaluated and not evaluated & {path.name for path in given[0].normals}
    with pytest.raises(SeasError, match="of 6 normal images only 1 are not evaluated on"):
        trainer = make_trainer(category, val_split_mode="from_train", val_split_ratio=0.9, seed=0)
        SeasAugmentation(root=str(root), few_shot="0.25").setup(trainer, Draem(), "fit")


def test_rows_of_groups_beside_a_run_are_looked_at(data: Any, tmp_path: Path) -> None:
    category, generated = data
    (tmp_path / "groups.csv").write_text("folder,file,group\ntests/hole,000.png,a\ntests/hole,001.png,a\n")
    with pytest.raises(SeasError, match="lists none of the"):
        set_up(category, generated=str(generated), groups=str(tmp_path / "groups.csv"))


def test_pairs_of_another_run_are_refused(category: Path, tmp_path: Path) -> None:
    """Their few-shot images would be evaluated on."""
    generated, run = rendered.make_generated(tmp_path / "pairs", category), tmp_path / "run"
    read = read_mvtec_folder(category)
    for share in ("0.25", "0.75"):
        run.mkdir(exist_ok=True)
        save_split(run / "split.json", select_few_shot(read, share), read.normals)
        if share == "0.25":
            check_same_split(run, generated)
            continue
        with pytest.raises(SeasError, match="was made by a run that was fine-tuned on other images"):
            check_same_split(run, generated)
