# SPDX-License-Identifier: Apache-2.0
"""Few-shot defects where SeaS would draw them: the same places and shapes, and no diffusion."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from seas_aug.anomalib_plugin.automatic import AutomaticSettings
from seas_aug.anomalib_plugin.opponents import opponent_pool
from seas_aug.anomalib_plugin.placed_paste import PlacedPastePool
from seas_aug.config import DrawConfig
from seas_aug.data.category import read_mvtec_folder
from seas_aug.data.few_shot import select_few_shot
from seas_aug.draw.attempt import Request
from seas_aug.draw.compose import put_copies
from seas_aug.draw.draw import begin
from seas_aug.draw.pipeline import SeaSPipeline
from seas_aug.errors import SeasError
from seas_aug.generate.plan import plan_image

SIZE = (48, 64)


@pytest.fixture
def pool(window_category: Path) -> PlacedPastePool:
    read = read_mvtec_folder(window_category)
    return PlacedPastePool(select_few_shot(read, "1"), read.normals, num_images=3)


def drawn(pool: PlacedPastePool, count: int = 6, seed: int = 0) -> tuple[torch.Tensor, ...]:
    pool.reshuffle()
    return pool.draw(torch.Generator().manual_seed(seed), count, SIZE)


def test_triples_match_and_change_nothing_but_the_defect(pool: PlacedPastePool) -> None:
    images, masks, references = drawn(pool)
    assert images.shape == references.shape == (6, 3, *SIZE) and masks.shape == (6, 1, *SIZE)
    assert set(masks.unique().tolist()) == {0.0, 1.0} and masks.flatten(1).any(1).all()
    near = torch.nn.functional.max_pool2d(masks, 13, stride=1, padding=6).expand_as(images) > 0
    assert torch.equal(images[~near], references[~near])
    assert pool.anomaly_types == ("crack", "hole") and len(pool) == 6


def test_the_same_seed_gives_the_same_triples_and_another_does_not(window_category: Path) -> None:
    read = read_mvtec_folder(window_category)
    split = select_few_shot(read, "1")
    first, again, other = (PlacedPastePool(split, read.normals, num_images=3, seed=seed) for seed in (0, 0, 1))
    assert all(torch.equal(one, two) for one, two in zip(drawn(first), drawn(again), strict=True))
    assert not torch.equal(drawn(first)[0], drawn(other)[0])


def test_shapes_and_places_are_those_of_seas(window_category: Path, window_run: Path) -> None:
    """Made from the model itself, with the seeds that ``seas-aug generate`` gives its images."""
    read = read_mvtec_folder(window_category)
    pool = PlacedPastePool(select_few_shot(read, "1"), read.normals, ["crack"], num_images=2)
    pipe = SeaSPipeline.from_pretrained(window_run)
    call = pipe.make_call(("crack",), DrawConfig())
    for index in range(2):
        planned = plan_image(("crack",), index, 0, range(len(read.normals)))
        attempt = begin(call, Request(planned.seed, planned.reference), "copy")
        expected = put_copies(attempt.before, attempt.spots[0], 1.0)
        image, mask = pool._paste(planned, attempt.before)
        assert np.array_equal(mask, attempt.spots[0].area(*mask.shape))
        assert np.array_equal(image, expected)


def test_region_count_and_size_are_obeyed(window_category: Path, tmp_path: Path) -> None:
    read = read_mvtec_folder(window_category)
    regions = tmp_path / "regions"
    regions.mkdir()
    for path in read.normals:
        height, width = cv2.imread(str(path), cv2.IMREAD_UNCHANGED).shape[:2]
        left = np.zeros((height, width), np.uint8)
        left[:, : width // 2] = 255
        cv2.imwrite(str(regions / f"{path.stem}.png"), left)
    settings = DrawConfig(region=regions, count=2, size=(6, 10))
    pool = PlacedPastePool(select_few_shot(read, "1"), read.normals, ["hole"], 4, drawing=settings)
    for entry in pool.entries:
        reference = pool._references.native(entry.reference)
        image = reference if reference.ndim == 3 else np.repeat(reference[..., None], 3, 2)
        if image.dtype != np.uint8 or image.shape[2] != 3:
            continue
        _, mask = pool._paste(entry, np.ascontiguousarray(image))
        assert not mask[:, mask.shape[1] // 2 :].any()
        count, _, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
        assert count - 1 >= 2
        assert max(stats[1:, cv2.CC_STAT_WIDTH].max(), stats[1:, cv2.CC_STAT_HEIGHT].max()) <= 10


def test_mistakes(window_category: Path) -> None:
    read = read_mvtec_folder(window_category)
    split = select_few_shot(read, "1")
    with pytest.raises(SeasError, match="unknown anomaly type 'rust'"):
        PlacedPastePool(split, read.normals, ["rust"])
    with pytest.raises(SeasError, match="at least one of each"):
        PlacedPastePool(split, [])


def test_opponents_by_name(window_category: Path) -> None:
    read = read_mvtec_folder(window_category)
    split = select_few_shot(read, "1")
    settings = AutomaticSettings(None, "1", None, "embedded", None, None, None, 5, 0)
    pool = opponent_pool("placed_paste", None, lambda: (split, read.normals), settings)
    assert isinstance(pool, PlacedPastePool) and len(pool) == 10
    assert len(opponent_pool("none", None, lambda: pytest.fail("nothing is read"), settings)) == 0
