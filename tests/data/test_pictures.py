# SPDX-License-Identifier: Apache-2.0
"""What fine-tuning sees: whole images as squares, or windows of them."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seas_aug.config import DataConfig, VariationConfig
from seas_aug.data import pictures as module
from seas_aug.data.category import DefectSample, read_mvtec_folder
from seas_aug.data.datamodule import FewShotDataModule
from seas_aug.data.decode import read_mask, read_rgb, write_native
from seas_aug.data.few_shot import FewShotSplit, select_few_shot
from seas_aug.data.images import load_image, load_mask
from seas_aug.data.mixed_dataset import MixedDataset
from seas_aug.data.pictures import Squares, WindowPictures, needed_sides, read_pictures
from seas_aug.data.varied_dataset import VariedDataset
from seas_aug.data.windows import defect_boxes, fitting_side
from seas_aug.errors import SeasError

SIZE = 32


@pytest.fixture(scope="module")
def category(window_category):
    return read_mvtec_folder(window_category)


@pytest.fixture(scope="module")
def split(category):
    return select_few_shot(category, "1")


@pytest.fixture
def seen(monkeypatch):
    """The windows that are cut, in order, with the size of their image."""
    places = []
    original = module.view

    def view(pixels, place, size):
        places.append((place, pixels.shape[:2]))
        return original(pixels, place, size)

    monkeypatch.setattr(module, "view", view)
    return places


def test_squares_are_whole_images(category, split):
    config = DataConfig(resize="squash")
    squares = Squares(split, category.normals, config, SIZE)
    assert not squares.are_windows
    assert squares.types == ("crack", "crack", "hole", "hole", "hole") and squares.num_normals == 4
    for index, sample in enumerate(split.samples):
        expected = torch.cat([load_image(sample.image, SIZE, "squash"), load_mask(sample.mask, SIZE, "squash")])
        assert torch.equal(squares.anomaly(index), expected)
        assert squares.anomaly(index) is squares.anomaly(index)  # decoded once
    for index, path in enumerate(category.normals):
        assert torch.equal(squares.normal(index), load_image(path, SIZE, "squash"))


def test_squares_beyond_the_memory_are_read_again(category, split, monkeypatch):
    monkeypatch.setattr(module, "_CACHE_BYTES", 3 * SIZE * SIZE)
    squares = Squares(split, category.normals, DataConfig(), SIZE)
    first, second = (squares.normal(index) for index in range(2))
    assert squares.normal(0) is first and squares.normal(1) is not second
    assert torch.equal(squares.normal(1), second)


def test_windows_show_the_defects_at_their_own_scale(category, split, seen):
    sides = needed_sides(split, DataConfig(), SIZE)
    assert sides[0] == SIZE and len(sides) > 1 and sides[-1] <= 120
    windows = WindowPictures(split, category.normals, DataConfig(windows_per_defect=10), SIZE, sides, 3)
    assert windows.are_windows
    count = len(windows.types)
    places, number = seen[:count], 0
    for sample in split.samples:
        mask, image = read_mask(sample.mask), read_rgb(sample.image)
        boxes = defect_boxes(mask)
        allowed = {fitting_side(box.extent, sides, mask.shape) for box in boxes}
        allowed |= {next((one for one in sides if one > side), side) for side in set(allowed)}
        mine = []
        while number < count and len(mine) < 10 and places[number][1] == mask.shape:
            place, pair = places[number][0], windows.anomaly(number)
            if windows.types[number] != sample.anomaly_type or not np.array_equal(
                pair[:3].permute(1, 2, 0).numpy(), module.view(image, place, SIZE)
            ):
                break
            assert place.side in allowed and place not in mine
            assert place.cut(mask).sum() >= 6
            assert pair.dtype == torch.uint8 and pair.shape == (4, SIZE, SIZE)
            assert set(pair[3].unique().tolist()) == {0, 1}
            mine.append(place)
            number += 1
        assert len(mine) >= 8, sample
        assert len({(place.top, place.left) for place in mine}) > 5  # off the centre
        # Every defect of the image is shown.
        for box in boxes:
            assert any(box.cut(np.pad(_inside(place, mask.shape), 0)).all() for place in mine)
    assert number == count


def _inside(place, shape):
    inside = np.zeros(shape[:2], np.uint8)
    place.cut(inside)[:] = 1
    return inside


def test_windows_are_the_same_for_the_same_arguments(category, split):
    def cut(seed, normals=category.normals):
        return WindowPictures(split, normals, DataConfig(windows_per_defect=3), SIZE, (32, 64), seed)

    one, two, other = cut(1), cut(1), cut(2)
    assert one.types == two.types and one.num_normals == two.num_normals
    assert all(torch.equal(one.anomaly(index), two.anomaly(index)) for index in range(len(one.types)))
    assert all(torch.equal(one.normal(index), two.normal(index)) for index in range(one.num_normals))
    assert not all(
        torch.equal(one.anomaly(index), other.anomaly(index)) for index in range(min(len(one.types), len(other.types)))
    )
    fewer = cut(1, category.normals[:2])  # other normals: the same windows of defects
    assert all(torch.equal(one.anomaly(index), fewer.anomaly(index)) for index in range(len(one.types)))


def test_normal_windows_are_as_large_as_those_of_defects_and_many(category, split, seen):
    windows = WindowPictures(split, category.normals, DataConfig(), SIZE, (32, 45, 64), 0)
    defects, normals = seen[: len(windows.types)], seen[len(windows.types) :]
    assert len(normals) == windows.num_normals == len({(place, shape) for place, shape in normals})
    assert 100 < len(normals) <= 64 * len(category.normals)
    assert {place.side for place, _ in normals} <= {place.side for place, _ in defects}
    for place, shape in normals:
        assert place.top + place.side <= shape[0] and place.left + place.side <= shape[1]
    assert windows.normal(0).shape == (3, SIZE, SIZE) and windows.normal(0).dtype == torch.uint8


def written(folder, name, image, mask):
    for path, pixels in ((folder / f"{name}.png", image), (folder / f"{name}_mask.png", mask * np.uint8(255))):
        path.write_bytes(write_native(pixels))
    return DefectSample(folder / f"{name}.png", folder / f"{name}_mask.png", "crack")


@settings(max_examples=12, deadline=None)
@given(
    st.sampled_from([(64, 64), (64, 700), (300, 90), (1500, 1100), (70, 4000)]),
    st.sampled_from(["dot", "line", "border", "all", "corner"]),
    st.sampled_from(["grey", "colour", "alpha", "sixteen"]),
    st.integers(0, 99),
)
def test_images_of_any_size_and_kind(tmp_path_factory, shape, where, kind, seed):
    folder = tmp_path_factory.mktemp("any")
    height, width = shape
    mask = np.zeros(shape, np.uint8)
    part = {
        "dot": np.s_[height // 2 : height // 2 + 3, width // 3 : width // 3 + 3],
        "line": np.s_[height // 2 : height // 2 + 1, :],
        "border": np.s_[:5, width // 2 : width // 2 + 9],
        "all": np.s_[:, :],
        "corner": np.s_[height - 2 :, width - 1 :],
    }[where]
    mask[part] = 1
    random = np.random.default_rng(seed)
    image = random.integers(0, 65536 if kind == "sixteen" else 256, (*shape, 4)).astype(
        np.uint16 if kind == "sixteen" else np.uint8
    )
    image = {"grey": image[..., 0], "alpha": image}.get(kind, image[..., :3])
    sample = written(folder, "000", image, mask)
    normal = folder / "normal.png"
    normal.write_bytes(write_native(image))
    split = FewShotSplit({"crack": (sample,)}, {})
    sides = needed_sides(split, DataConfig(), SIZE)
    windows = WindowPictures(split, [normal], DataConfig(windows_per_defect=5), SIZE, sides, seed)
    assert 1 <= len(windows.types) <= 5
    for index in range(len(windows.types)):
        assert windows.anomaly(index).shape == (4, SIZE, SIZE) and windows.anomaly(index)[3].any()
    assert all(windows.normal(index).shape == (3, SIZE, SIZE) for index in range(windows.num_normals))


def test_a_long_thin_defect_is_always_found(tmp_path):
    """A diagonal scratch, longer than the largest window: one window that shows none of it is not the end."""
    mask = np.zeros((400, 400), np.uint8)
    cv2.line(mask, (10, 10), (390, 390), 1, 1)
    sample = written(tmp_path, "000", np.full((400, 400, 3), 99, np.uint8), mask)
    split = FewShotSplit({"crack": (sample,)}, {})
    config = DataConfig(windows=(32,), windows_per_defect=1)
    for seed in range(10):
        windows = WindowPictures(split, [sample.image], config, SIZE, (32,), seed)
        assert windows.anomaly(0)[3].sum() >= 6


def test_needed_sides(category, split, tmp_path):
    assert needed_sides(split, DataConfig(windows=(64, 32, 64)), SIZE) == (32, 64)
    automatic = needed_sides(split, DataConfig(), SIZE)
    largest = max(box.extent for sample in split.samples for box in defect_boxes(read_mask(sample.mask)))
    assert automatic[-1] == 120 or largest <= 0.4 * automatic[-1]
    empty = written(tmp_path, "000", np.zeros((64, 64, 3), np.uint8), np.zeros((64, 64), np.uint8))
    with pytest.raises(SeasError, match="every few-shot mask is empty"):
        needed_sides(FewShotSplit({"crack": (empty,)}, {}), DataConfig(), SIZE)
    with pytest.raises(SeasError, match=r"000_mask\.png: shows no defect"):
        WindowPictures(FewShotSplit({"crack": (empty,)}, {}), category.normals, DataConfig(), SIZE, (32,), 0)


def test_pictures_of_a_run(category, split):
    assert isinstance(read_pictures(split, category.normals, DataConfig(), SIZE, (), 0), Squares)
    windows = read_pictures(split, category.normals, DataConfig(windows_per_defect=1), SIZE, (32,), 0)
    assert isinstance(windows, WindowPictures)


def test_windows_go_through_the_training_sequence(category, split):
    windows = WindowPictures(split, category.normals, DataConfig(windows_per_defect=4), SIZE, (32, 64), 0)
    data = FewShotDataModule(windows, DataConfig(), 4, 0, 6, variation=VariationConfig())
    batches = list(data.train_dataloader())
    assert len(batches) == 6
    for batch in batches:
        assert sorted(set(batch["anomaly_type"])) == ["crack", "hole"]
        assert batch["anomaly_image"].shape == (4, 3, SIZE, SIZE) and batch["mask"].flatten(1).any(1).all()


class Striped:
    """One anomaly on stripes, and normals of which few have the same stripes."""

    are_windows = True
    types = ("crack",)
    sources = (0,)
    num_normals = 40

    def __init__(self):
        self.stripes = (torch.arange(SIZE) // 4 % 2 * 150 + 50).to(torch.uint8)

    def anomaly(self, index):
        image = self.stripes.expand(3, SIZE, SIZE).clone()
        mask = torch.zeros(1, SIZE, SIZE, dtype=torch.uint8)
        mask[:, 14:18, 14:18] = 1
        return torch.cat([image * (1 - mask), mask])

    def normal(self, index):
        fits = index % 4 == 0
        return (self.stripes.expand(3, SIZE, SIZE) if fits else self.stripes.expand(3, SIZE, SIZE).mT).clone()


def test_a_defect_of_a_window_is_copied_onto_the_window_that_looks_most_like_its_own():
    config = DataConfig(flip=False)
    mixed = MixedDataset(Striped(), config, 20, 0)
    varied = VariedDataset(mixed, VariationConfig(1.0, 0.0, move=False, light=False), 0)
    for index in range(20):
        image = varied[index]["anomaly_image"]
        top = image[:, :6]  # far from the defect
        assert (top.diff(dim=1).abs() < 1e-6).all() and top.diff(dim=2).abs().max() > 0.5


class Uneven:
    """Two images of one type, one with a single window and one with nine; another type with two of each."""

    are_windows = True
    types = ("crack",) * 10 + ("hole",) * 4
    sources = (0,) + (1,) * 9 + (2, 2, 3, 3)
    num_normals = 3


def test_images_are_seen_equally_often_however_many_windows_they_have():
    mixed = MixedDataset(Uneven(), DataConfig(), 360, 5)
    shown = [mixed.draw(index).anomaly_index for index in range(360)]
    of_image = [sum(Uneven.sources[one] == image for one in shown) for image in range(4)]
    assert of_image == [90] * 4
    assert {shown.count(window) for window in range(1, 10)} == {10}
    rest = MixedDataset(Uneven(), DataConfig(), 60, 5, 300)
    assert [rest.draw(index) for index in range(60)] == [mixed.draw(300 + index) for index in range(60)]
