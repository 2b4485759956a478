# SPDX-License-Identifier: Apache-2.0
import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from seas_aug.data.category import DefectSample, read_mvtec_folder
from seas_aug.data.decode import read_mask, read_rgb
from seas_aug.data.few_shot import select_few_shot
from seas_aug.data.images import (
    check_category_images,
    check_pair,
    from_model_range,
    load_image,
    load_mask,
    resize_mask,
    to_model_range,
)
from seas_aug.errors import SeasError
from tests.data.helpers import make_category, write_image, write_mask


def _sample(folder, **mask):
    image = write_image(folder / "a.png")
    return DefectSample(image, write_mask(folder / "a_mask.png", **mask), "crack")


def _check(sample, *words):
    with pytest.raises(SeasError) as caught:
        check_pair(sample)
    assert all(word in str(caught.value) for word in words), caught.value
    assert "\n" not in str(caught.value)


def test_good_pair(tmp_path):
    check_pair(_sample(tmp_path))


def test_missing_mask(tmp_path):
    sample = _sample(tmp_path)
    sample.mask.unlink()
    _check(sample, "a_mask.png", "a.png", "is missing")


def test_mask_of_another_size(tmp_path):
    _check(_sample(tmp_path, height=20), "a_mask.png", "32x20", "32x24", "expected the same size")


def test_empty_mask(tmp_path):
    _check(_sample(tmp_path, box=(0, 0, 0, 0)), "a_mask.png", "empty")


@pytest.mark.parametrize("extension", [".png", ".jpg", ".bmp", ".tif", ".webp"])
@pytest.mark.parametrize("damage", ["cut", "text", "nothing"])
def test_corrupt_file(tmp_path, extension, damage):
    path = write_image(tmp_path / f"a{extension}")
    data = path.read_bytes()
    path.write_bytes({"cut": data[: len(data) * 2 // 3], "text": b"not an image", "nothing": b""}[damage])
    mask = write_mask(tmp_path / "a_mask.png")
    _check(DefectSample(path, mask, "crack"), str(path), "corrupt")
    _check(DefectSample(write_image(tmp_path / "b.png"), path, "crack"), str(path), "corrupt")


def test_missing_image(tmp_path):
    sample = _sample(tmp_path)
    sample.image.unlink()
    _check(sample, "a.png", "cannot be read")


def test_whole_set_is_checked(tmp_path):
    category = read_mvtec_folder(make_category(tmp_path / "t"))
    split = select_few_shot(category, "0.3333")
    check_category_images(split, category.normals)
    category.normals[3].write_bytes(b"oops")
    with pytest.raises(SeasError, match=r"003\.png: corrupt"):
        check_category_images(split, category.normals)
    check_category_images(split, category.normals[:3])


@pytest.mark.parametrize(
    "shape,dtype", [((9, 7), "uint8"), ((9, 7, 4), "uint8"), ((9, 7), "uint16"), ((9, 7, 3), "uint16")]
)
def test_every_kind_becomes_rgb(tmp_path, shape, dtype):
    scale = 257 if dtype == "uint16" else 1
    pixels = (np.random.default_rng(0).integers(0, 256, shape) * scale).astype(dtype)
    path = tmp_path / "ä.png"
    path.write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
    expected = pixels // scale
    expected = np.stack([expected] * 3, -1) if expected.ndim == 2 else expected[:, :, 2::-1]
    assert np.array_equal(read_rgb(path), expected.astype(np.uint8))


def test_float_image_is_refused(tmp_path):
    path = tmp_path / "a.tif"
    path.write_bytes(cv2.imencode(".tif", np.ones((4, 4), np.float32))[1].tobytes())
    with pytest.raises(SeasError, match="float32"):
        read_rgb(path)


def test_changed_file_is_read_again(tmp_path):
    path = write_image(tmp_path / "a.png", seed=1)
    first = read_rgb(path)
    write_image(path, height=23, seed=2)
    assert read_rgb(path).shape != first.shape


def test_faint_masks(tmp_path):
    mask = np.zeros((8, 8), np.uint8)
    mask[2:4] = 1
    (tmp_path / "a.png").write_bytes(cv2.imencode(".png", mask)[1].tobytes())
    assert read_mask(tmp_path / "a.png").sum() == 16
    noisy = write_mask(tmp_path / "b.jpg")
    assert read_mask(noisy).sum() == 36


@pytest.mark.parametrize("resize", ["squash", "crop"])
@pytest.mark.parametrize("shape", [(50, 20), (20, 50), (10, 10), (10, 50), (17, 33)])
def test_squares(tmp_path, resize, shape):
    path = tmp_path / "a.png"
    path.write_bytes(cv2.imencode(".png", np.full((*shape, 3), (10, 20, 200), np.uint8))[1].tobytes())
    image = load_image(path, 20, resize)
    assert image.shape == (3, 20, 20) and image.dtype == torch.uint8
    assert image[:, 3, 4].tolist() == [200, 20, 10] and (image == image[:, :1, :1]).all()
    mask = load_mask(write_mask(tmp_path / "m.png", *shape, box=(0, 99, 0, 99)), 20, resize)
    assert mask.shape == (1, 20, 20) and mask.dtype == torch.uint8 and mask.all()


def test_image_and_mask_stay_aligned(tmp_path):
    write_mask(tmp_path / "m.png", 90, 60, box=(30, 60, 20, 50))
    for resize in ("squash", "crop"):
        image = load_image(tmp_path / "m.png", 30, resize)[:1] > 127
        assert torch.equal(image, load_mask(tmp_path / "m.png", 30, resize).bool())


def test_crop_that_loses_the_defect(tmp_path):
    path = write_mask(tmp_path / "m.png", 20, 60, box=(2, 5, 0, 3))
    with pytest.raises(SeasError, match="crop cuts the whole defect away"):
        load_mask(path, 20, "crop")
    assert load_mask(path, 20, "squash").any()


def test_empty_mask_is_not_loaded(tmp_path):
    with pytest.raises(SeasError, match="empty"):
        load_mask(write_mask(tmp_path / "m.png", box=(0, 0, 0, 0)), 20, "squash")


def test_thin_crack_stays_a_line():
    mask = np.zeros((128, 128), np.uint8)
    cv2.line(mask, (3, 7), (120, 101), 1, 1)
    small = resize_mask(mask, 32, 32)
    assert cv2.connectedComponents(small, connectivity=8)[0] == 2
    assert 29 <= small.sum() <= 60


def test_large_defect_keeps_its_area():
    mask = np.zeros((128, 128), np.uint8)
    cv2.circle(mask, (60, 64), 40, 1, -1)
    assert abs(resize_mask(mask, 32, 32).mean() - mask.mean()) < 0.02


_sizes = st.integers(1, 40)


@settings(max_examples=200)
@given(
    hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=40), elements=st.integers(0, 1)),
    _sizes,
    _sizes,
)
def test_no_mask_becomes_empty_or_grows_from_nothing(mask, width, height):
    small = resize_mask(mask, width, height)
    assert small.shape == (height, width) and small.dtype == np.uint8 and small.max(initial=0) <= 1
    assert small.any() == mask.any()


def test_ranges_round_trip():
    pixels = torch.arange(256, dtype=torch.uint8)
    assert to_model_range(pixels).aminmax() == (-1, 1)
    assert torch.equal(from_model_range(to_model_range(pixels)), pixels)
    assert from_model_range(torch.tensor([-3.0, 3.0])).tolist() == [0, 255]
