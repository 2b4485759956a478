# SPDX-License-Identifier: Apache-2.0
import math

import pytest
import torch

from seas_aug.benchmark.grid import CategoryFolders
from seas_aug.benchmark.quality import make_images, measure_quality
from seas_aug.errors import SeasError


@pytest.mark.parametrize("source", ["perlin", "cutpaste", "seas"])
def test_images_and_masks(folders: CategoryFolders, source: str) -> None:
    images, masks = make_images(folders, source, "hole", 3, 64, seed=0)
    assert images.shape == (3, 3, 64, 64) and images.dtype == torch.uint8
    assert masks.shape == (3, 1, 64, 64) and masks.flatten(1).any(1).all()
    state = torch.random.get_rng_state()
    again, _ = make_images(folders, source, "hole", 3, 64, seed=0)
    assert torch.equal(images, again) and torch.equal(state, torch.random.get_rng_state())
    assert source == "seas" or not torch.equal(images, make_images(folders, source, "hole", 3, 64, seed=1)[0])


def test_figures(folders: CategoryFolders) -> None:
    found = {source: measure_quality(folders, source, 64, 3, seed=0) for source in ("perlin", "seas")}
    for one in found.values():
        assert set(one["types"]) == {"hole", "scratch"}
        assert math.isfinite(one["kid"]) and one["ic_lpips"] > 0 and one["ic_lpips_a"] > 0
        assert 1 <= one["is"] <= 2
        assert one["kid"] == pytest.approx(sum(t["kid"] for t in one["types"].values()) / 2)
    assert found["seas"]["kid"] < found["perlin"]["kid"]  # its images are the real ones, a little brighter


def test_mistakes(folders: CategoryFolders) -> None:
    with pytest.raises(SeasError, match="no source of images"):
        make_images(folders, "nonsense", "hole", 1, 64, 0)
    with pytest.raises(SeasError, match="features is 'nonsense'"):
        measure_quality(folders, "seas", 64, 2, 0, "nonsense")
