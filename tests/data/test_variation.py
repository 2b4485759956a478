# SPDX-License-Identifier: Apache-2.0
"""Variations of training images: light, zoom, and defects copied onto normal images."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seas_aug.config import DataConfig, VariationConfig
from seas_aug.data.category import read_mvtec_folder
from seas_aug.data.datamodule import FewShotDataModule
from seas_aug.data.few_shot import select_few_shot
from seas_aug.data.mixed_dataset import MixedDataset
from seas_aug.data.pictures import Squares
from seas_aug.data.variation import move_defect, vary_light, warp, zoom
from seas_aug.data.varied_dataset import VariedDataset
from seas_aug.errors import SeasError
from tests.data.helpers import make_category


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 3), st.integers(2, 20), st.integers(2, 20), st.integers(0, 999))
def test_light_keeps_shape_range_and_colour(channels, height, width, seed):
    grey = torch.rand(1, height, width, generator=generator(seed)).expand(channels, -1, -1)
    changed = vary_light(grey, generator(seed))
    assert changed.shape == grey.shape
    assert changed.min() >= 0 and changed.max() <= 1
    torch.testing.assert_close(changed, changed[:1].expand_as(changed))


def test_light_changes_the_image_and_never_its_order_without_shading():
    """A darker pixel stays darker under every lamp that shines evenly."""
    ramp = torch.linspace(0, 1, 16).expand(1, 16, 16)
    seen = [vary_light(ramp, generator(seed)) for seed in range(20)]
    even = [picture for picture in seen if torch.equal(picture[0, 0], picture[0, -1])]
    assert 4 <= len(even) <= 16
    assert all((picture.diff(dim=-1) >= 0).all() for picture in even)
    assert len({round(float(picture.mean()), 3) for picture in seen}) > 15


@settings(max_examples=40, deadline=None)
@given(st.integers(8, 24), st.floats(0.3, 1), st.integers(0, 999))
def test_zoom_keeps_half_of_the_defect_and_image_and_mask_together(size, smallest, seed):
    """The image here is its own mask, so that both can be compared."""
    mask = torch.zeros(1, size, size)
    top, left = (int(torch.randint(0, size - 3, (), generator=generator(seed + i))) for i in range(2))
    mask[:, top : top + 3, left : left + 3] = 1
    image, marked = zoom(mask.expand(3, -1, -1), mask, smallest, generator(seed))
    assert image.shape == (3, size, size) and marked.shape == (1, size, size)
    assert set(marked.unique().tolist()) == {0.0, 1.0}
    assert marked.sum() >= 4  # enlarged, never made smaller
    assert image[0][marked[0] > 0].mean() > image[0][marked[0] == 0].mean() + 0.5


def test_zoom_of_one_is_the_whole_image():
    image, mask = torch.rand(3, 9, 9), torch.zeros(1, 9, 9)
    torch.testing.assert_close(zoom(image, mask, 1.0, generator())[0], image)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 3), st.integers(16, 40), st.integers(16, 40), st.integers(0, 999))
def test_warp_bends_image_and_mask_together(channels, height, width, seed):
    """The image here is its own mask, so that both can be compared."""
    mask = torch.zeros(1, height, width)
    mask[:, height // 2 - 3 : height // 2 + 3, width // 2 - 3 : width // 2 + 3] = 1
    image, marked = warp(mask.expand(channels, -1, -1), mask, generator(seed))
    assert image.shape == (channels, height, width) and marked.shape == mask.shape
    assert image.min() >= 0 and image.max() <= 1
    # OpenCV interpolates in steps of 1/32 of a pixel, not alike for every number of channels.
    assert (image[0][marked[0] > 0] > 0.30).all() and (image[0][marked[0] == 0] < 0.40).all()
    assert 0.5 * 36 < marked.sum() < 2 * 36  # a little


def test_warp_keeps_a_line_whole_and_bends_it():
    mask = torch.zeros(1, 64, 64)
    mask[:, :, 32] = 1
    for seed in range(20):
        _, marked = warp(mask.expand(3, -1, -1), mask, generator(seed))
        rows = marked[0].sum(dim=1)
        assert (rows > 0).all() and rows.max() <= 3
    assert len({float((warp(mask, mask, generator(seed))[1] - mask).abs().sum()) for seed in range(20)}) > 5


def test_warp_loses_no_defect_of_a_pixel():
    for seed in range(40):
        mask = torch.zeros(1, 16, 16)
        mask[:, 0, 0] = 1
        assert warp(mask, mask, generator(seed))[1].any()


def test_moved_defect_is_whole_and_comes_everywhere():
    mask = torch.zeros(1, 8, 10)
    mask[:, 3:5, 4:7] = 1
    image = torch.rand(3, 8, 10) * (1 - mask) + 2 * mask
    found = set()
    for seed in range(900):
        moved, marked = move_defect(image, mask, generator(seed))
        assert moved.shape == image.shape
        assert torch.equal(marked[0] > 0, moved[0] == 2)
        rows, columns = marked[0].nonzero(as_tuple=True)
        top, left = int(rows.min()), int(columns.min())
        assert torch.equal(marked[0, top : top + 2, left : left + 3], torch.ones(2, 3)) and marked.sum() == 6
        found.add((top, left))
    assert found == {(top, left) for top in range(7) for left in range(8)}


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 3), st.integers(0, 999))
def test_moved_defect_at_a_border_stays_there(side, seed):
    mask = torch.zeros(1, 12, 12)
    mask[:, :2, 5:7] = 1
    mask = mask.rot90(side, (1, 2))
    moved, marked = move_defect(mask.expand(3, -1, -1), mask, generator(seed))
    marked = marked.rot90(-side, (1, 2))
    assert marked.sum() == 4 and marked[:, :2].sum() == 4
    assert torch.equal(moved[:1].rot90(-side, (1, 2)), marked)


def test_nothing_to_move():
    image, mask = torch.rand(3, 8, 8), torch.zeros(1, 8, 8)
    assert torch.equal(move_defect(image, mask, generator())[0], image)
    whole = torch.ones(1, 8, 8)
    assert torch.equal(move_defect(image, whole, generator())[0], image)


@pytest.fixture(scope="module")
def category(tmp_path_factory):
    return read_mvtec_folder(make_category(tmp_path_factory.mktemp("data") / "t", normals=7))


def varied(category, config, start=0, count=12):
    split = select_few_shot(category, "1")
    mixed = MixedDataset(Squares(split, category.normals, DataConfig(), 32), DataConfig(), count, 3, start)
    return VariedDataset(mixed, config, 3, start), mixed


def test_varied_items_depend_on_their_number_alone(category):
    everything = VariationConfig(warp_share=0.5)
    whole, _ = varied(category, everything)
    later, _ = varied(category, everything, start=5, count=4)
    for index in range(4):
        for name in ("anomaly_image", "mask", "normal_image"):
            assert torch.equal(whole[5 + index][name], later[index][name])
    assert len(whole) == 12


def test_varied_items_keep_what_the_models_expect(category):
    dataset, mixed = varied(category, VariationConfig(paste_share=0.5, zoom_share=0.5, warp_share=0.5))
    for index in range(12):
        item = dataset[index]
        assert set(item) == set(mixed[index])
        assert item["anomaly_index"] == item["normal_index"] == -1  # the light is another every time
        assert item["anomaly_type"] == mixed[index]["anomaly_type"]
        for name in ("anomaly_image", "normal_image"):
            assert item[name].shape == (3, 32, 32)
            assert item[name].min() >= -1 and item[name].max() <= 1
        assert set(item["mask"].unique().tolist()) == {0.0, 1.0}
    assert any(not torch.equal(dataset[i]["anomaly_image"], mixed[i]["anomaly_image"]) for i in range(12))


def test_pictures_as_they_are_keep_their_index(category):
    """Defects that were not copied, and all normal images, can be remembered."""
    dataset, mixed = varied(category, VariationConfig(0.5, 0, warp_share=0, move=False, light=False), count=40)
    pasted = 0
    for index in range(40):
        item, plain = dataset[index], mixed[index]
        torch.testing.assert_close(item["normal_image"], plain["normal_image"])
        assert item["normal_index"] == plain["normal_index"]
        same = torch.allclose(item["anomaly_image"], plain["anomaly_image"], atol=1e-6)
        assert item["anomaly_index"] == (plain["anomaly_index"] if same else -1)
        assert torch.equal(item["mask"], plain["mask"])
        pasted += not same
    assert 10 < pasted < 30


def test_nothing_varied_is_the_mixed_sequence(category):
    still = VariationConfig(paste_share=0, zoom_share=0, warp_share=0, light=False)
    assert not still.varies
    dataset, mixed = varied(category, still)
    for index in range(12):
        for name, value in mixed[index].items():
            if isinstance(value, torch.Tensor):
                torch.testing.assert_close(dataset[index][name], value)
            else:
                assert dataset[index][name] == value
    split = select_few_shot(category, "1")
    arguments = (Squares(split, category.normals, DataConfig(), 32), DataConfig(), 2, 0, 3, 0)
    assert isinstance(FewShotDataModule(*arguments, still).dataset, MixedDataset)
    assert isinstance(FewShotDataModule(*arguments, VariationConfig(light=False)).dataset, VariedDataset)


@pytest.mark.parametrize(
    "values", [{"paste_share": -0.1}, {"zoom_share": 1.1}, {"warp_share": 2}, {"smallest_zoom": 0.0}]
)
def test_out_of_range(values):
    with pytest.raises(SeasError, match="of variation is"):
        VariationConfig(**values)
