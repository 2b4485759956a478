# SPDX-License-Identifier: Apache-2.0
"""The table and the headline of a benchmark: means by category and source, and the gains."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import mean, stdev
from typing import Any

from seas_aug.benchmark.gains import ALL, gain_of, gain_rows
from seas_aug.benchmark.grid import Cell
from seas_aug.benchmark.store import CellStore


def table(cells: Iterable[Cell], store: CellStore) -> list[dict[str, Any]]:
    """Return a row per task, category, network and source: means over seeds, with their standard deviation.

    Args:
        cells: the grid; cells that are not done are left out.
        store: the results.

    Returns:
        Rows with ``task``, ``category``, ``network``, ``source``, ``seeds``, and for each metric ``{mean, std}``, where
        ``std`` is None with a single seed.
    """
    groups: dict[tuple[str, str, str, str], list[dict[str, Any]]] = {}
    for cell in cells:
        row = store.read(cell)
        if row is not None and row["status"] == "done":
            groups.setdefault((cell.task, cell.category, cell.network, cell.source), []).append(row["metrics"])
    rows = []
    for key, found in groups.items():
        figures = {
            name: _spread([metrics[name] for metrics in found]) for name in found[0] if found[0][name] is not None
        }
        rows.append({**dict(zip(("task", "category", "network", "source"), key, strict=True)), "seeds": len(found)})
        rows[-1].update(figures)
    return rows


def _spread(values: Sequence[float]) -> dict[str, float | None]:
    return {"mean": mean(values), "std": stdev(values) if len(values) > 1 else None}


def format_figure(figure: Mapping[str, float | None] | None, factor: float) -> str:
    """Return a mean as text, with its standard deviation if there are several seeds; a dash where there is none.

    Args:
        figure: of a row of :func:`table`.
        factor: 100 for points (two digits), else the figure's own unit (three digits).
    """
    if figure is None:
        return "-"
    digits = 2 if factor == 100 else 3
    parts = [figure["mean"], figure["std"]]
    return " ± ".join(f"{factor * part:.{digits}f}" for part in parts if part is not None)


def summarise(cells: Sequence[Cell], store: CellStore, draws: int = 2000) -> dict[str, Any]:
    """Return the headline.

    Args:
        cells: the grid.
        store: the results.
        draws: samples of the bootstrap.

    Returns:
        ``pixel_ap`` (DRAEM, or other detectors where there is none) and ``iou`` (segmentation) in points by category
        and source, means over seeds and over the networks that were measured with all of the category's sources;
        ``draem_gain_vs_perlin``, ``draem_gain_vs_cutpaste`` (pixel AP), ``segmentation_gain_vs_few_shot``,
        ``segmentation_gain_vs_cutpaste`` (IoU) and ``one_class_gain`` (image AP): means over categories and networks,
        see :meth:`~seas_aug.benchmark.gains.Gains.of`, or None where nothing was measured with both; ``gains``, all of
        :func:`~seas_aug.benchmark.gains.gain_rows`; and ``cells``, how many of how many are done.

    Raises:
        SeasError: what would be compared was trained with different settings, or tested on different images.
    """
    rows, gains = table(cells, store), gain_rows(cells, store, draws)
    detectors = sorted({cell.network for cell in cells if cell.task == "detection"})
    draem = next((name for name in detectors if name.startswith("draem")), None)

    def gained(task: str, baseline: str, network: str = ALL) -> dict[str, Any] | None:
        found = gain_of(gains, task, baseline, network)
        return found and {name: found[name] for name in ("mean", "low", "high", "categories", "networks", "seeds")}

    return {
        "pixel_ap": _points([row for row in rows if draem in (None, row["network"])], "detection", "pixel_ap"),
        "iou": _points(rows, "segmentation", "pixel_iou"),
        "draem_gain_vs_perlin": gained("detection", "perlin", draem) if draem else None,
        "draem_gain_vs_cutpaste": gained("detection", "cutpaste", draem) if draem else None,
        "segmentation_gain_vs_few_shot": gained("segmentation", "few_shot"),
        "segmentation_gain_vs_cutpaste": gained("segmentation", "cutpaste"),
        "one_class_gain": gained("one_class", "none"),
        "gains": gains,
        "cells": {"done": sum(store.is_done(cell) for cell in cells), "planned": len(cells)},
    }


def _points(rows: Sequence[Mapping[str, Any]], task: str, metric: str) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, dict[str, float]]] = {}
    for row in rows:
        if row["task"] == task:
            by_source = found.setdefault(row["category"], {})
            by_source.setdefault(row["source"], {})[row["network"]] = row[metric]["mean"]
    result = {}
    for category, sources in found.items():
        common = set.intersection(*(set(networks) for networks in sources.values()))
        result[category] = {
            source: round(100 * mean(networks[name] for name in sorted(common)), 2)
            for source, networks in sources.items()
            if common
        }
    return result
