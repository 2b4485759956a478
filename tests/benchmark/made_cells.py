# SPDX-License-Identifier: Apache-2.0
"""Cells of a grid as if they had been measured: maps that are noise plus so much of the truth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from seas_aug.benchmark.grid import Cell
from seas_aug.benchmark.measure import CellScores
from seas_aug.benchmark.predictions import Predictions, evaluate
from seas_aug.benchmark.store import CellStore


def write_cell(
    folder: Path,
    category: str,
    source: str,
    skill: float,
    task: str = "detection",
    network: str = "draem-compact",
    seed: int = 0,
    status: Any = "done",
    settings: dict[str, Any] | None = None,
    **content: Any,
) -> tuple[Cell, dict[str, float]]:
    """Write a cell; return it and its metrics."""
    store = CellStore(folder)
    cell = Cell(task, category, network, source, seed, {"steps": 5} if settings is None else settings)
    rng = np.random.default_rng([seed, len(source)])
    masks = np.random.default_rng(0).random((6, 8, 8)) < 0.3
    masks[0] = False
    maps = (rng.random(masks.shape) + skill * masks).astype(np.float32)
    names = tuple(f"test/hole/{index}.png" for index in range(6))
    test = Predictions(maps, masks, maps.max((1, 2)), names, names)
    metrics, histograms, overlaps = evaluate(test)
    kept = CellScores(histograms, overlaps, test.scores, test.labels, np.array(names), np.array(names))
    kept.save(store.path(cell, ".npz"))
    store.write(cell, status, {"metrics": metrics, "seconds": 1.0, "peak_memory_mib": {}, **content})
    return cell, metrics
