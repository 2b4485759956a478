# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest

from seas_aug.data.category import read_mvtec_folder
from seas_aug.data.selection import choose_normals, select
from seas_aug.errors import SeasError
from tests.data.helpers import make_category, write_groups


def test_choose_normals(tmp_path: Path) -> None:
    normals = read_mvtec_folder(make_category(tmp_path / "t", normals=6)).normals
    assert choose_normals(normals, None) == choose_normals(normals, 99) == normals
    assert [path.stem for path in choose_normals(normals, 3)] == ["000", "002", "004"]
    with pytest.raises(SeasError, match="num_normals is 0"):
        choose_normals(normals, 0)


def test_a_normal_image_of_a_tested_part_is_not_fine_tuned_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = make_category(tmp_path / "t", normals=6)
    rows = [("train/good", "000.png", "A"), ("test/good", "001.png", "A"), ("train/good", "001.png", "B")]
    rows += [("test/hole", "005.png", "B"), ("train/good", "002.png", "C"), ("test/hole", "000.png", "C")]
    write_groups(root, rows)
    selection = select(read_mvtec_folder(root), "0.3333")
    assert [path.stem for path in selection.normals] == ["002", "003", "004", "005"]  # C is few-shot
    assert selection.split.excluded == ()
    assert "4 of 6 normal images are fine-tuned on" in caplog.text


def test_mates_of_normal_images_are_excluded(tmp_path: Path) -> None:
    root = make_category(tmp_path / "t", normals=6)
    write_groups(root, [("train/good", "000.png", "A"), ("train/good", "001.png", "A")])
    selection = select(read_mvtec_folder(root), "0.3333", num_normals=3)
    assert [path.stem for path in selection.normals] == ["000", "002", "004"]
    assert selection.split.excluded == (root / "train" / "good" / "001.png",)


def test_too_few_normal_images(tmp_path: Path) -> None:
    root = make_category(tmp_path / "t", normals=3)
    rows = [("train/good", f"00{index}.png", "A") for index in range(2)]
    write_groups(root, [*rows, ("test/good", "001.png", "A")])
    with pytest.raises(SeasError, match="of 3 normal images only 1 share no group with an image to test on; expected"):
        select(read_mvtec_folder(root), "0.3333")


@pytest.mark.parametrize("folder", ["./test/hole", "test//hole/", "test\\hole", "part/../test/hole", "/x/t/test/hole"])
def test_spellings_of_a_folder(tmp_path: Path, folder: str) -> None:
    root = make_category(tmp_path / "x" / "t")
    write_groups(root, [(folder, "000.png", "A"), (folder, "005.png", "A")])
    split = select(read_mvtec_folder(root), "0.3333").split
    assert [sample.image.name for sample in split.few_shot["hole"]] == ["000.png", "005.png"]


def test_rows_that_match_nothing_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = make_category(tmp_path / "t")
    write_groups(root, [("test/hole", "000.png", "A"), ("test/Hole", "001.png", "A"), ("test/hole", "9.png", "A")])
    select(read_mvtec_folder(root), "0.3333")
    assert (
        "2 of 3 rows name no image, such as test/Hole/001.png; expected rows such as test/crack,000.png" in caplog.text
    )
    write_groups(root, [("tests/hole", "000.png", "A"), ("tests/hole", "001.png", "A")])
    with pytest.raises(
        SeasError, match=r"groups.csv: lists none of the \d+ images, but tests/hole/000.png and the like"
    ):
        select(read_mvtec_folder(root), "0.3333")
