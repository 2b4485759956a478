# SPDX-License-Identifier: Apache-2.0
from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seas_aug.config import DataConfig
from seas_aug.data.augmentation import Augmentation, apply_augmentation
from seas_aug.data.category import read_mvtec_folder
from seas_aug.data.datamodule import FewShotDataModule
from seas_aug.data.few_shot import select_few_shot
from seas_aug.data.images import load_image, load_mask, to_model_range
from seas_aug.data.mixed_dataset import MixedDataset
from seas_aug.data.pictures import Squares
from seas_aug.data.seeds import derive_seed
from seas_aug.errors import SeasError
from tests.data.helpers import make_category


@pytest.fixture(scope="module")
def category(tmp_path_factory):
    return read_mvtec_folder(make_category(tmp_path_factory.mktemp("data") / "t", normals=7))


@pytest.fixture(scope="module")
def split(category):
    return select_few_shot(category, "1")


def _dataset(split, category, num_items=90, seed=3, start_item=0, **changes):
    config = DataConfig(rotate=True, **changes)
    return MixedDataset(Squares(split, category.normals, config, 16), config, num_items, seed, start_item)


def test_types_images_and_normals_are_seen_equally_often(category, split):
    dataset = _dataset(split, category, num_items=84)
    draws = [dataset.draw(i) for i in range(84)]
    types = Counter(dataset.pictures.types[draw.anomaly_index] for draw in draws)
    assert types == {"crack": 42, "hole": 42}
    images = Counter(draw.anomaly_index for draw in draws)
    assert {images[i] for i in range(3)} == {14} and {images[i] for i in range(3, 9)} == {7}
    assert set(Counter(draw.normal_index for draw in draws).values()) == {12}


def test_images_of_all_types_are_seen_equally_often_if_asked_for(category, split):
    """Of the 9 images 3 are cracks; every pass has each image once, in an order of its own."""
    dataset = _dataset(split, category, num_items=36, order="images")
    seen = [dataset.draw(i).anomaly_index for i in range(36)]
    passes = [seen[start : start + 9] for start in range(0, 36, 9)]
    assert all(sorted(one) == list(range(9)) for one in passes)
    assert len({tuple(one) for one in passes}) > 1
    with pytest.raises(SeasError, match=r"data\.order is 'names'"):
        _dataset(split, category, order="names")


def test_normals_are_turned_as_their_anomalies_if_asked_for(category, split):
    together, apart = _dataset(split, category, turn_together=True), _dataset(split, category)
    draws = [(together.draw(i), apart.draw(i)) for i in range(60)]
    assert all(one.normal_augmentation == one.anomaly_augmentation for one, _ in draws)
    assert all(one.anomaly_augmentation == other.anomaly_augmentation for one, other in draws)
    assert len({one.normal_index for one, _ in draws}) == 7  # still any of them


def test_normals_do_not_follow_the_anomalies(category, split):
    dataset = _dataset(split, category, num_items=2000)
    pairs = {(draw.anomaly_index, draw.normal_index) for draw in map(dataset.draw, range(2000))}
    assert len(pairs) == 9 * 7
    augmentations = {(d.anomaly_augmentation.code, d.normal_augmentation.code) for d in map(dataset.draw, range(2000))}
    assert len(augmentations) == 64


def test_item_is_what_it_says(category, split):
    item = _dataset(split, category)[5]
    sample = split.samples[item["anomaly_index"]]
    augmentation = Augmentation.from_code(item["anomaly_augmentation"])
    image = to_model_range(load_image(sample.image, 16, "squash"))
    assert torch.equal(item["anomaly_image"], apply_augmentation(image, augmentation))
    assert torch.equal(item["mask"], apply_augmentation(load_mask(sample.mask, 16, "squash"), augmentation).float())
    normal = to_model_range(load_image(category.normals[item["normal_index"]], 16, "squash"))
    turned = apply_augmentation(normal, Augmentation.from_code(item["normal_augmentation"]))
    assert torch.equal(item["normal_image"], turned)
    assert item["anomaly_type"] == sample.anomaly_type


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 200), st.integers(1, 30), st.integers(0, 2**31))
def test_a_later_start_continues_the_sequence(category, split, start, count, seed):
    whole = _dataset(split, category, start + count, seed)
    rest = _dataset(split, category, count, seed, start)
    assert [whole.draw(start + i) for i in range(count)] == [rest.draw(i) for i in range(count)]


def test_seeds_differ(category, split):
    sequences = {tuple(_dataset(split, category, seed=s).draw(i).anomaly_index for i in range(40)) for s in range(5)}
    assert len(sequences) == 5
    assert derive_seed(1, "a", 23) != derive_seed(1, "a2", 3) != derive_seed(1, "a", "23")


def test_end_of_the_dataset(category, split):
    with pytest.raises(IndexError):
        _dataset(split, category, 4)[4]


@pytest.mark.parametrize("workers", [0, 1])
def test_batches_resume(category, split, workers):
    config = DataConfig(num_workers=workers)
    pictures = Squares(split, category.normals, config, 16)
    whole = list(FewShotDataModule(pictures, config, 4, 0, 6).train_dataloader())
    rest = list(FewShotDataModule(pictures, config, 4, 0, 6, start_step=4).train_dataloader())
    assert len(whole) == 6 and len(rest) == 2
    for expected, batch in zip(whole[4:], rest, strict=True):
        for key, value in expected.items():
            assert torch.equal(value, batch[key]) if isinstance(value, torch.Tensor) else value == batch[key]
    batch = whole[0]
    assert batch["anomaly_image"].shape == batch["normal_image"].shape == (4, 3, 16, 16)
    assert batch["mask"].shape == (4, 1, 16, 16) and batch["mask"].dtype == torch.float32
    assert isinstance(batch["anomaly_type"], list) and batch["normal_index"].dtype == torch.int64
