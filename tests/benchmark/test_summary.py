# SPDX-License-Identifier: Apache-2.0
import statistics
from pathlib import Path

import pytest

from seas_aug.benchmark.grid import Cell
from seas_aug.benchmark.store import CellStore
from seas_aug.benchmark.summary import format_figure, table


def test_seeds_are_averaged_and_a_single_one_has_no_spread(tmp_path: Path) -> None:
    store = CellStore(tmp_path)
    measured = {"perlin": [0.25], "seas": [0.5, 0.75, 0.5]}
    cells = [
        Cell("detection", "part", "draem-compact", source, seed)
        for source, values in measured.items()
        for seed in range(len(values))
    ]
    for cell in cells:
        store.write(cell, "done", {"metrics": {"pixel_ap": measured[cell.source][cell.seed], "pixel_iou": None}})
    failed = Cell("detection", "part", "draem-compact", "perlin", 1)
    store.write(failed, "failed", {"error": "diverged"})
    perlin, seas = table([*cells, failed], store)
    assert perlin["seeds"] == 1 and seas["seeds"] == 3
    assert perlin["pixel_ap"] == {"mean": 0.25, "std": None} and "pixel_iou" not in perlin
    assert seas["pixel_ap"]["std"] == pytest.approx(statistics.stdev(measured["seas"]))
    assert format_figure(perlin["pixel_ap"], 100) == "25.00"
    assert format_figure(seas["pixel_ap"], 100) == "58.33 ± 14.43"


def test_figures_as_text() -> None:
    assert format_figure(None, 100) == "-"
    assert format_figure({"mean": 0.0, "std": 0.0}, 100) == "0.00 ± 0.00"
    assert format_figure({"mean": 1.25, "std": 0.5}, 1) == "1.250 ± 0.500"
