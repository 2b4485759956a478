# SPDX-License-Identifier: Apache-2.0
import dataclasses
import math
from pathlib import Path

import pytest
import torch

from seas_aug.benchmark import quality
from seas_aug.benchmark.grid import CategoryFolders
from seas_aug.benchmark.quality import make_images, measure_quality
from seas_aug.benchmark.test_set import read_test_set
from seas_aug.data.split_file import load_split
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


def test_group_mates_of_few_shot_images_are_no_real_defects(
    folders: CategoryFolders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Photographs of one part are alike, so that they would make a source of few-shot texture look good."""
    shots = load_split(folders.run / "split.json").split.few_shot["hole"]
    tested = [one for one in read_test_set(folders).images if one.parent.name == "hole"]
    rows = [f"test/hole,{image.name},one" for image in (shots[0].image, tested[0])]
    (tmp_path / "groups.csv").write_text("\n".join(["folder,file,group", *rows]))
    seen: set[Path] = set()
    load = quality._load
    monkeypatch.setattr(
        quality, "_load", lambda samples, size: (seen.update(s.image for s in samples), load(samples, size))[1]
    )
    measure_quality(dataclasses.replace(folders, groups=tmp_path / "groups.csv"), "seas", 64, 3, seed=0)
    assert tested[0] not in seen
    assert set(tested[1:]) <= seen


def test_mistakes(folders: CategoryFolders) -> None:
    with pytest.raises(SeasError, match="no source of images"):
        make_images(folders, "nonsense", "hole", 1, 64, 0)
    with pytest.raises(SeasError, match="features is 'nonsense'"):
        measure_quality(folders, "seas", 64, 2, 0, "nonsense")
