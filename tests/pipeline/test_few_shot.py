# SPDX-License-Identifier: Apache-2.0
"""Copies of few-shot defects: where they lie, what they leave alone, and how they are kept."""

from __future__ import annotations

import pytest
import torch

from seas_aug.errors import SeasError
from seas_aug.pipeline.few_shot import FILE_NAME, FewShotDefects


def defects(**changes):
    """Two dark holes, each in a corner of its own, and a bright crack in the middle."""
    images, masks = torch.full((3, 3, 32, 32), 128, dtype=torch.uint8), torch.zeros(3, 1, 32, 32, dtype=torch.uint8)
    for index, (rows, columns, value) in enumerate(
        [(slice(2, 6), slice(3, 7), 20), (slice(25, 30), slice(24, 29), 30), (slice(15, 17), slice(8, 24), 250)]
    ):
        images[index, :, rows, columns], masks[index, :, rows, columns] = value, 1
    names = ("hole/0.png", "hole/1.png", "crack/0.png")
    return FewShotDefects(images, masks, ("hole", "hole", "crack"), names, **changes)


def reference():
    return torch.full((3, 32, 32), 100, dtype=torch.uint8)


def copy(types=("hole",), seed=0, **changes):
    return defects(**changes).copy_onto(reference(), types, torch.Generator().manual_seed(seed))


def test_a_copy_shows_the_defect_where_its_mask_lies_and_nothing_else():
    for seed in range(20):
        image, area, names = copy(seed=seed)
        assert image.dtype == torch.uint8 and image.shape == (3, 32, 32) and area.shape == (1, 32, 32)
        assert set(area.unique().tolist()) == {0.0, 1.0}
        dark = image[0] < 60
        assert (dark & (area[0] > 0)).sum() >= 0.6 * area.sum()
        away = torch.nn.functional.max_pool2d(area, 9, stride=1, padding=4)[0] == 0  # four pixels, see paste_defect
        assert away.any() and torch.equal(image[:, away], reference()[:, away])
        assert names in {("hole/0.png",), ("hole/1.png",)}


def test_copies_differ_by_seed_and_are_the_same_for_the_same_one():
    assert torch.equal(copy(seed=3)[0], copy(seed=3)[0])
    assert len({copy(seed=seed)[0].numpy().tobytes() for seed in range(20)}) > 10


def test_copies_are_turned_as_in_training():
    """Without flips a hole stays at its own side of the image, whatever part of the image is enlarged."""
    sides = {}
    for flip in (True, False):
        copies = [copy(seed=seed, flip=flip) for seed in range(40)]
        sides[flip] = {int(area[0].sum(1).argmax()) // 16 for _, area, names in copies if names == ("hole/0.png",)}
    assert sides == {True: {0, 1}, False: {0}}
    tall = [bool(copy(("crack",), seed, rotate=True)[1][0].any(1).sum() > 10) for seed in range(20)]
    assert any(tall) and not all(tall)
    assert not any(bool(copy(("crack",), seed)[1][0].any(1).sum() > 10) for seed in range(20))


def test_several_types_are_copied_onto_one_image():
    image, area, names = copy(("crack", "hole"))
    assert names[0] == "crack/0.png" and names[1].startswith("hole/")
    assert (image[0][area[0] > 0] < 60).any() and (image[0][area[0] > 0] > 150).any()


def test_saved_and_loaded_again(tmp_path):
    before = defects(rotate=True, flip=False)
    before.save(tmp_path)
    after = FewShotDefects.load(tmp_path)
    assert torch.equal(after.images, before.images) and torch.equal(after.masks, before.masks)
    assert (after.anomaly_types, after.names, after.rotate, after.flip) == (
        before.anomaly_types,
        before.names,
        True,
        False,
    )
    assert len(after) == 3
    assert FewShotDefects.load(tmp_path / "elsewhere") is None


def test_damaged_file(tmp_path):
    (tmp_path / FILE_NAME).write_bytes(b"no tensors")
    with pytest.raises(SeasError, match=r"few_shot\.safetensors is damaged"):
        FewShotDefects.load(tmp_path)


def test_a_defect_is_copied_where_it_fits():
    """A hole of an upright bar, on bars elsewhere: on the bar, though most copies would lie beside it."""

    def bar(column):
        image = torch.full((3, 64, 64), 200, dtype=torch.uint8)
        image[:, 6:58, column : column + 8] = 90
        return image

    images, masks = torch.stack([bar(12), bar(28)]), torch.zeros(2, 1, 64, 64, dtype=torch.uint8)
    for index, column in enumerate((14, 30)):
        images[index, :, 20:24, column : column + 4], masks[index, :, 20:24, column : column + 4] = 10, 1
    fitting = FewShotDefects(images, masks, ("hole", "hole"), ("hole/0.png", "hole/1.png"))
    for seed in range(12):
        column = (14, 26, 44)[seed % 3]
        image, area, _ = fitting.copy_onto(bar(column), ("hole",), torch.Generator().manual_seed(seed))
        columns = area[0].any(0).nonzero().flatten()
        assert column <= int(columns.min()) and int(columns.max()) < column + 8
        assert (image[0][area[0] > 0] < 60).any()
