# SPDX-License-Identifier: Apache-2.0
"""Regions and masks of the user, and one sentence for each mistake in them."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from seas_aug.draw.control import Control
from seas_aug.errors import SeasError


def write(path, mask):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(path.suffix, mask * np.uint8(255))[1].tobytes())
    return path


def half(height, width):
    mask = np.zeros((height, width), np.uint8)
    mask[: height // 2] = 1
    return mask


def test_nothing_said():
    control = Control(None, None, None)
    assert control.region("a.png", (4, 5, 3)) is None
    assert not control.gives_masks


def test_one_region_for_all_references(tmp_path):
    control = Control(write(tmp_path / "region.png", half(40, 60)), None, None)
    for name in ("a.png", "deep/b.jpg", "references[0]"):
        assert np.array_equal(control.region(name, (40, 60, 3)), half(40, 60))


def test_a_region_for_each_reference(tmp_path):
    write(tmp_path / "a.png", half(40, 60))
    write(tmp_path / "b_mask.png", 1 - half(30, 20))
    control = Control(tmp_path, None, None)
    assert np.array_equal(control.region("train/good/a.jpg", (40, 60)), half(40, 60))
    assert np.array_equal(control.region("b.png", (30, 20, 4)), 1 - half(30, 20))
    with pytest.raises(SeasError, match=r"region has 0 files for the reference c\.tif; expected one named c\.png"):
        control.region("c.tif", (40, 60))
    write(tmp_path / "a_mask.png", half(40, 60))
    with pytest.raises(SeasError, match="region has 2 files for the reference a"):
        Control(tmp_path, None, None).region("a.png", (40, 60))


def test_masks_come_again_after_the_last(tmp_path):
    expected = [half(20, 30 + index) for index in range(3)]
    for index, mask in enumerate(expected):
        write(tmp_path / f"{index}.png", mask)
    control = Control(None, tmp_path, None)
    assert control.gives_masks
    for index in range(7):
        assert np.array_equal(control.mask(index, "a.png", (20, 30 + index % 3, 3)), expected[index % 3])
    one = Control(None, tmp_path / "1.png", None)
    assert all(np.array_equal(one.mask(index, "a.png", (20, 31)), expected[1]) for index in range(3))


@pytest.mark.parametrize("square", [None, (16, "squash")])
def test_mistakes_give_one_sentence(tmp_path, square):
    black = write(tmp_path / "black.png", np.zeros((16, 16), np.uint8))
    (tmp_path / "torn.png").write_bytes(b"no image")
    (tmp_path / "empty").mkdir()
    for path, message in (
        (black, r"black\.png.* is empty \(all black\)"),
        (tmp_path / "torn.png", r"torn\.png: corrupt or no image"),
    ):
        for control in (Control(path, None, square), Control(None, path, square)):
            with pytest.raises(SeasError, match=message) as error:
                control.region("a.png", (16, 16))
                control.mask(0, "a.png", (16, 16))
            assert "\n" not in str(error.value)
    for path in (tmp_path / "empty", tmp_path / "missing"):
        with pytest.raises(SeasError, match=r"region is .*, where there is no image"):
            Control(path, None, square)
        with pytest.raises(SeasError, match=r"masks is .*, where there is no image"):
            Control(None, path, square)


def test_another_size_than_the_reference(tmp_path):
    path = write(tmp_path / "region.png", half(40, 60))
    message = r"region\.png is 60x40 pixels and the reference a\.png 61x40; expected the same size"
    with pytest.raises(SeasError, match=message):
        Control(path, None, None).region("a.png", (40, 61, 3))
    with pytest.raises(SeasError, match=message):
        Control(None, path, None).mask(0, "a.png", (40, 61, 3))


def test_for_a_model_of_whole_images_everything_is_scaled_like_them(tmp_path):
    path = write(tmp_path / "region.png", half(40, 60))
    for found in (
        Control(path, None, (16, "squash")).region("a.png", (16, 16, 3)),
        Control(None, path, (16, "squash")).mask(3, "a.png", (16, 16, 3)),
    ):
        assert np.array_equal(found, half(16, 16)) and found.dtype == np.uint8


def test_masks_named_as_references_are_theirs(tmp_path):
    write(tmp_path / "b.png", half(20, 30))
    write(tmp_path / "c_mask.png", 1 - half(24, 36))
    control = Control(None, tmp_path, None)
    names = ["train/good/a.png", "train/good/b.png", "train/good/c.png"]
    assert control.with_masks(names, [0, 1, 2]) == [1, 2]
    for index in range(4):
        assert np.array_equal(control.mask(index, names[1], (20, 30)), half(20, 30))
        assert np.array_equal(control.mask(index, names[2], (24, 36)), 1 - half(24, 36))
    with pytest.raises(SeasError, match="masks has none for the references that are asked for"):
        control.with_masks(names, [0])
    control.check([(names[1], (20, 30)), (names[2], (24, 36))])
    with pytest.raises(SeasError, match="expected the same size"):
        control.check([(names[1], (20, 31)), (names[2], (24, 36))])
    write(tmp_path / "other.png", half(5, 5))
    assert Control(None, tmp_path, None).with_masks(names, [0, 1]) == [0, 1]


def test_regions_are_looked_at_before_anything_is_drawn(tmp_path):
    region = write(tmp_path / "region.png", half(40, 60))
    Control(region, None, None).check([("a.png", (40, 60))])
    with pytest.raises(SeasError, match="expected the same size"):
        Control(region, None, None).check([("a.png", (40, 60)), ("b.png", (40, 61))])
