# SPDX-License-Identifier: Apache-2.0
"""The package's own drawer for the measures of drawing, on a fine-tuned tiny model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.drawing.gate import GateRecord, emptied, mask_inverted, unchanged
from benchmarks.drawing.window_drawer import WindowDrawer, gate
from seas_aug.errors import SeasError
from tests.data.helpers import make_window_category


@pytest.fixture(scope="module")
def drawer(window_run: Path) -> WindowDrawer:
    return WindowDrawer(window_run)


def test_proposals_hold_together(drawer: WindowDrawer) -> None:
    places = drawer.propose("crack", range(4))
    for one in places:
        assert one.reference.shape == one.start.shape == (drawer.size, drawer.size, 3)
        assert one.mask.any() and one.source_name.endswith(".png")
        changed = (one.start != one.reference).any(-1)
        assert changed[one.mask > 0].mean() > 0.5
    again = drawer.propose("crack", range(4))
    assert all(np.array_equal(one.start, two.start) for one, two in zip(places, again, strict=True))


def test_prompt_seed_start_and_severity_reach_the_pixels(drawer: WindowDrawer) -> None:
    places = drawer.propose("crack", [0, 1])
    seeds = [5, 6]
    crack = drawer.draw(places, [("crack",)] * 2, seeds)
    assert crack.dtype == np.uint8 and np.array_equal(crack, drawer.draw(places, [("crack",)] * 2, seeds))
    for other in (
        drawer.draw(places, [("hole",)] * 2, seeds),
        drawer.draw(places, [()] * 2, seeds),
        drawer.draw(places, [("crack",)] * 2, [7, 8]),
        drawer.draw(places, [("crack",)] * 2, seeds, reference="seen"),
        drawer.draw(places, [("crack",)] * 2, seeds, severity=0.5),
    ):
        assert not np.array_equal(crack, other)
    mixed = drawer.draw(places, [("crack",), ()], seeds)
    assert np.array_equal(mixed[0], crack[0])


def test_masks_lie_near_the_places(drawer: WindowDrawer) -> None:
    places = drawer.propose("hole", [0, 1])
    images = drawer.draw(places, [("hole",)] * 2, [0, 1])
    found = drawer.find_masks(images, ["hole", "hole"])
    assert found.shape == (2, drawer.size, drawer.size) and 0 <= found.min() <= found.max() <= 1
    masks = drawer.masks_of(places, images)
    for mask, one in zip(masks, places, strict=True):
        rows, columns = np.nonzero(mask)
        for row, column in zip(rows, columns, strict=True):
            assert one.mask[max(0, row - 3) : row + 4, max(0, column - 3) : column + 4].any()
    assert drawer.through_codec(images).shape == images.shape


def test_a_whole_image_model_is_refused(run_folder: Path) -> None:
    with pytest.raises(SeasError, match="sees whole images"):
        WindowDrawer(run_folder)


def test_the_gate_rejects_what_is_spoilt(tmp_path: Path) -> None:
    root = make_window_category(tmp_path / "part")
    names = '{"crack": {"few_shot": ["000.png"], "test": ["001.png"]}, "hole": {"few_shot": ["000.png"], "test": []}}'
    (root / "split.json").write_text(names)
    check = gate(root, root)
    rng = np.random.default_rng(0)
    reference = rng.integers(100, 110, (128, 128, 3)).astype(np.uint8)
    mask = np.zeros((128, 128), np.uint8)
    mask[60:66, 50:80] = 1
    image = reference.copy()
    image[mask > 0] += 60
    good = GateRecord(image, reference, mask, "crack")
    assert not set(check(good)) - {"off the part", "mask too large"}
    assert "empty mask" in check(emptied(good, rng))
    assert "nothing to see" in check(unchanged(good, rng))
    assert {"nothing to see", "change outside the mask"} & set(check(mask_inverted(good, rng)))
