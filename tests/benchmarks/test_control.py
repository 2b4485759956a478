# SPDX-License-Identifier: Apache-2.0
"""Whether what is drawn obeys is counted rightly."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from benchmarks.control import main, off_part, random_region, random_shape, share_on_part
from benchmarks.drawing.drawer import Proposal
from benchmarks.drawing.parts import find_part, part_windows
from benchmarks.drawing.products import PRODUCTS
from seas_aug.config import DrawConfig
from seas_aug.draw.output import Pair, PairRecord
from seas_aug.errors import SeasError


def test_regions_and_shapes_are_of_the_image_and_the_same_for_the_same_seed() -> None:
    for shape in ((64, 64), (40, 300), (900, 700)):
        region, mask = random_region(shape, 3), random_shape(shape, 3)
        assert region.shape == mask.shape == shape
        assert region.mean() == pytest.approx(0.36, abs=0.03) and 0 < mask.sum() < 0.1 * mask.size
        assert np.array_equal(region, random_region(shape, 3)) and np.array_equal(mask, random_shape(shape, 3))
        assert not np.array_equal(mask, random_shape(shape, 4))


def test_pairs_off_the_part_are_counted_against_the_real_ones() -> None:
    found = off_part({"tip": [0.3, 0.9, 0.1, 1.0], "head": [1.0, 0.4]}, {"tip": [0.2, 0.8], "head": [0.9]})
    assert found["mostly"] == pytest.approx(3 / 6) and found["beyond_real"] == pytest.approx(2 / 6)
    assert found["by_type"]["tip"] == {"pairs": 4, "mostly": 0.5, "beyond_real": 0.25, "least_of_real": 0.2}
    part = np.zeros((4, 4), np.uint8)
    part[:2] = 1
    assert share_on_part(np.eye(4, dtype=np.uint8), part) == 0.5


def test_a_dark_part_on_a_bright_ground_is_found_with_its_glints(tmp_path: Path) -> None:
    image = np.full((120, 160, 3), 200, np.uint8)
    image[40:90, 30:130] = 70
    image[60:63, 70:74] = 250  # a glint
    image[5:8, 5:8] = 60  # dirt
    path = tmp_path / "screw" / "train" / "good" / "000.png"
    path.parent.mkdir(parents=True)
    cv2.imwrite(str(path), image)
    part = find_part(PRODUCTS["screw"], path)
    assert part is not None
    assert part[41:89, 31:129].all() and part.sum() < 1.1 * 50 * 100
    assert find_part(PRODUCTS["magnetic_tile"], path) is None
    with pytest.raises(SeasError, match=r"support.train_good.good.000\.png is missing"):
        find_part(PRODUCTS["rendered"], path)


def test_the_part_is_cut_as_the_window_is(tmp_path: Path) -> None:
    part = np.zeros((100, 140), np.uint8)
    part[:, 70:] = 255
    path = tmp_path / "support" / "train_good" / "good" / "007.png"
    path.parent.mkdir(parents=True)
    cv2.imwrite(str(path), part)
    empty = np.zeros((32, 32), np.uint8)
    name = str(tmp_path / "train" / "good" / "007.png")
    picture = np.zeros((32, 32, 3), np.uint8)
    places = [
        Proposal(picture, picture, empty, "pit", 0, name, "", window) for window in ((10, 38, 64), (0, 70, 70), None)
    ]
    half, full, unknown = part_windows(PRODUCTS["rendered"], places)
    assert half is not None and full is not None and unknown is None
    assert not half[:, :15].any() and half[:, 17:].all()
    assert full.all()


def test_the_command_counts_what_obeys(window_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def drawn(call: Any, seen: list[Any], seeds: list[int], kind: str, shapes: Any) -> Any:
        return seen, [(picture.mean(axis=2) < 90).astype(np.float32) for picture in seen]

    monkeypatch.setattr("seas_aug.draw.draw._draw_seen", drawn)  # what is drawn is the copy; its mask is what is dark
    output = tmp_path / "control.json"
    code = main(["--product", "magnetic_tile", "--run", str(window_run), "--pairs", "4", "--output", str(output)])
    found = json.loads(output.read_text())["magnetic_tile"]
    assert set(found) == {"region", "masks", "count", "size", "type", "environment"}
    for name in ("region", "masks", "count", "size", "type"):
        assert found[name]["pairs"] == found[name]["obeyed"] == 4, name
    assert code == 0


def test_what_does_not_obey_is_counted_and_ends_with_1(
    window_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pairs(pipe: Any, settings: DrawConfig, count: int) -> Any:
        """Pairs that change everything and mark it."""
        name = pipe.references.names[0]
        native = pipe.references.native(0)
        record = PairRecord(0, ("crack",), "", name, 1.0, 0, copied_from=("test/hole/000.png",))
        yield from [Pair(255 - native, np.ones(native.shape[:2], np.uint8), native, record)] * count

    monkeypatch.setattr("benchmarks.control.draw", pairs)
    output = tmp_path / "control.json"
    assert main(["--product", "pcb", "--run", str(window_run), "--pairs", "3", "--output", str(output)]) == 1
    found = json.loads(output.read_text())["pcb"]
    assert [found[name]["obeyed"] for name in ("region", "masks", "count", "size", "type")] == [0] * 5
    assert all(found[name]["pairs"] == 3 for name in ("region", "masks", "count", "size", "type"))


def test_a_run_of_whole_images_is_refused(run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--product", "pcb", "--run", str(run_folder), "--output", str(tmp_path / "a.json")]
    assert main(arguments) == 2
    assert "expected a run in windows" in capsys.readouterr().err
    assert not (tmp_path / "a.json").exists()
