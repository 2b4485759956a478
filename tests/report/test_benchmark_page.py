# SPDX-License-Identifier: Apache-2.0
from pathlib import Path
from typing import Any

import numpy as np

from seas_aug.benchmark.store import CellStore
from seas_aug.benchmark.summary import summarise
from seas_aug.report.benchmark_page import choose_images, markdown_tables, unlearnt, write_report
from tests.benchmark.made_cells import write_cell


def test_images_that_are_shown() -> None:
    own = np.array([np.nan, 0.9, 0.5, 0.4, 0.1, np.nan])
    other = np.array([np.nan, 0.1, 0.4, 0.8, 0.1, np.nan])
    assert choose_images(own, other) == [1, 2, 3, 4]
    assert choose_images(own[:2], other[:2]) == [1]


def _row(task: str, source: str, auroc: float) -> dict[str, Any]:
    known: dict[str, Any] = {"task": task, "category": "nut", "network": "net", "source": source, "seeds": 1}
    return {**known, "image_auroc": {"mean": auroc, "std": None}}


def test_opponents_that_have_learnt_nothing_are_named() -> None:
    rows = [
        _row("detection", "none", 0.3),  # no anomalies to learn from: nobody expects more
        _row("detection", "perlin", 0.38),
        _row("detection", "cutpaste", 0.6),
        _row("detection", "seas", 0.2),
        _row("one_class", "none", 0.5),
    ]
    assert unlearnt(rows) == ["nut, net, perlin", "nut, net, none"]
    text = markdown_tables(rows, [])
    assert "no fair opponent: nut, net, perlin; nut, net, none." in text
    assert "no fair opponent" not in markdown_tables(rows[2:3], [])


def test_markdown_of_gains() -> None:
    gain = {"task": "detection", "metric": "pixel_ap", "baseline": "perlin", "mean": 3.5, "low": -1.0, "high": 8.0}
    parts = {"networks": ["net"], "categories": ["nut", "tile"], "seeds": 3}
    lines = markdown_tables([], [{**gain, **parts, "network": "net", "category": "all"}]).splitlines()
    assert lines[2] == "| detection, pixel AP | perlin | net | mean of 2 | 3 | +3.50 | -1.00 to +8.00 |"


def test_a_page_of_cells_without_maps_and_of_two_machines(tmp_path: Path) -> None:
    cells = [
        write_cell(tmp_path / "cells", "tile", source, skill, precision=precision)[0]
        for source, skill, precision in (("perlin", 0.1, "32-true"), ("seas", 0.5, "bf16-mixed"))
    ]
    store = CellStore(tmp_path / "cells")
    write_report(tmp_path, cells, store, {}, summarise(cells, store, draws=20), {})
    page = (tmp_path / "index.html").read_text()
    assert "different\nprecisions" in page and "mean of" not in page and "+" in page
