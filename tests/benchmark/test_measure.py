# SPDX-License-Identifier: Apache-2.0
"""A grid of seconds from the cells to the headline."""

from pathlib import Path

import numpy as np
import pytest
import torch

from seas_aug.benchmark.gains import image_ap_of, pixel_ap_of, pixel_iou_of
from seas_aug.benchmark.grid import CategoryFolders, Cell, TaskGrid, plan_cells
from seas_aug.benchmark.measure import (
    CellScores,
    Measurement,
    detector_settings,
    precision_of,
    segmentation_settings,
)
from seas_aug.benchmark.predictions import Overlaps
from seas_aug.benchmark.runner import run_cells
from seas_aug.benchmark.scores import average_precision, make_histograms
from seas_aug.benchmark.store import CellStore
from seas_aug.benchmark.summary import summarise, table
from seas_aug.errors import SeasError

NETWORK = {"architecture": "Unet", "encoder": "resnet18", "options": {"decoder_channels": [32, 16, 16, 8, 8]}}
GRIDS = (
    TaskGrid("detection", {"draem-compact": detector_settings("draem-compact", size=64, steps=1)}, ("perlin", "seas")),
    TaskGrid("segmentation", {"unet": segmentation_settings(**NETWORK, size=64, steps=1)}, ("few_shot", "seas")),
)


def test_from_cells_to_the_headline(folders: CategoryFolders, tmp_path: Path) -> None:
    store = CellStore(tmp_path)
    cells = plan_cells(GRIDS, [folders.name], [0], {})
    assert run_cells(cells, Measurement({folders.name: folders}, store), store) == 0
    rows = table(cells, store)
    assert [(row["task"], row["source"], row["seeds"]) for row in rows] == [
        ("detection", "perlin", 1),
        ("detection", "seas", 1),
        ("segmentation", "few_shot", 1),
        ("segmentation", "seas", 1),
    ]
    found = summarise(cells, store, draws=50)
    assert found["cells"] == {"done": 4, "planned": 4}
    assert found["pixel_ap"]["part"]["seas"] == pytest.approx(100 * rows[1]["pixel_ap"]["mean"], abs=0.01)
    gained = found["draem_gain_vs_perlin"]
    difference = 100 * (rows[1]["pixel_ap"]["mean"] - rows[0]["pixel_ap"]["mean"])
    assert gained["mean"] == pytest.approx(difference, abs=0.006)  # rounded
    assert gained["low"] <= gained["mean"] <= gained["high"]
    assert found["segmentation_gain_vs_few_shot"]["low"] <= found["segmentation_gain_vs_few_shot"]["high"]
    assert found["draem_gain_vs_cutpaste"] is found["one_class_gain"] is None
    row = store.read(cells[0])
    assert row is not None and row["test_images"] == 9


@pytest.mark.parametrize("best", ["bf16-mixed", "32-true"])
def test_precision_is_that_of_the_hardware_and_in_the_row_not_in_the_key(
    best: str, folders: CategoryFolders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("segmentation", "detectors", "measure"):
        monkeypatch.setattr(f"seas_aug.benchmark.{module}.best_precision", lambda: best)
    seen = set()
    real = torch.nn.Conv2d.forward

    def forward(layer: torch.nn.Conv2d, images: torch.Tensor) -> torch.Tensor:
        made = real(layer, images)
        seen.add(made.dtype)
        return made

    monkeypatch.setattr(torch.nn.Conv2d, "forward", forward)
    store = CellStore(tmp_path)
    cells = plan_cells(GRIDS, [folders.name], [0], {})
    for cell in (cells[0], cells[2]):  # DRAEM and a segmentation network
        seen.clear()
        assert run_cells([cell], Measurement({folders.name: folders}, store), store) == 0
        row = store.read(cell)
        assert row is not None and row["precision"] == best
        assert (torch.bfloat16 in seen) == (best == "bf16-mixed")
        assert best not in str(cell.settings)
    one_class = Cell("one_class", "part", "padim-compact", "none", 0)
    assert precision_of(one_class) == "32-true"


def test_figures_of_weighted_images_are_those_of_repeated_ones() -> None:
    rng = np.random.default_rng(0)
    masks = rng.random((5, 8, 8)) < 0.3
    masks[0] = False
    maps = (rng.random(masks.shape) + 0.3 * masks).astype(np.float32)
    histograms = make_histograms(maps, masks, bins=400)
    names = np.array(list("abcde"))
    overlaps = Overlaps(np.arange(5), np.ones(5, int), np.full(5, 9))
    scores = CellScores(histograms, overlaps, maps.max((1, 2)), masks.any((1, 2)), names, names)
    weights = np.array([[1, 0, 2, 1, 1]])
    repeated = np.repeat(np.arange(5), weights[0])
    positives, negatives = (kind[repeated].sum(0) for kind in (histograms.positives, histograms.negatives))
    assert pixel_ap_of(scores)(weights)[0] == pytest.approx(average_precision(positives, negatives))
    assert pixel_iou_of(scores)(weights)[0] == pytest.approx((0 + 2 * 2 + 3 + 4) / (5 * (9 + 1)))
    images = make_histograms(
        maps.max((1, 2))[repeated][:, None, None], masks.any((1, 2))[repeated][:, None, None], bins=100
    )
    expected = average_precision(images.positives.sum(0), images.negatives.sum(0))
    assert image_ap_of(scores)(weights)[0] == pytest.approx(float(expected))


def test_scores_are_kept(tmp_path: Path) -> None:
    masks = np.zeros((2, 4, 4), bool)
    masks[1, 0] = True
    histograms = make_histograms(masks.astype(float), masks)
    names = np.array(["test/good/0.png", "test/hole/0.png"])
    overlaps = Overlaps(np.array([0, 3]), np.array([1, 0]), np.array([0, 4]))
    kept = CellScores(histograms, overlaps, np.array([0.0, 1.0]), masks.any((1, 2)), names, names)
    kept.save(tmp_path / "a.npz")
    again = CellScores.load(tmp_path / "a.npz")
    assert (again.histograms.positives == histograms.positives).all() and again.overlaps.found.tolist() == [0, 3]
    assert again.names.tolist() == names.tolist()
    whole = (tmp_path / "a.npz").read_bytes()
    for damaged in (b"PK", whole[: len(whole) // 2]):
        (tmp_path / "a.npz").write_bytes(damaged)
        with pytest.raises(SeasError, match="measured again"):
            CellScores.load(tmp_path / "a.npz")
