# SPDX-License-Identifier: Apache-2.0
"""The headline of a benchmark: means by category and source, and the gains with their intervals."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import mean, stdev
from typing import Any

import numpy as np

from seas_aug.benchmark.bootstrap import Comparison, Figure, Interval, paired_gain
from seas_aug.benchmark.grid import Cell
from seas_aug.benchmark.measure import CellScores
from seas_aug.benchmark.scores import average_precision
from seas_aug.benchmark.store import CellStore
from seas_aug.errors import SeasError


def pixel_ap_of(scores: CellScores) -> Figure:
    """Return pixel AP as a function of image weights ``[draws, N]``."""
    positives, negatives = scores.histograms.positives, scores.histograms.negatives
    return lambda weights: average_precision(weights @ positives, weights @ negatives)


def pixel_iou_of(scores: CellScores) -> Figure:
    """Return the IoU at the chosen threshold as a function of image weights ``[draws, N]``."""
    return scores.overlaps.iou


def image_ap_of(scores: CellScores) -> Figure:
    """Return image AP as a function of image weights ``[draws, N]``."""
    order = np.argsort(scores.image_scores, kind="stable")
    _, place = np.unique(scores.image_scores[order], return_inverse=True)
    bins = np.zeros((len(order), int(place.max()) + 1), np.int64)
    bins[order, place] = 1
    positives, negatives = bins * scores.labels[:, None], bins * ~scores.labels[:, None]
    return lambda weights: average_precision(weights @ positives, weights @ negatives)


FIGURES: dict[str, Callable[[CellScores], Figure]] = {
    "pixel_ap": pixel_ap_of,
    "pixel_iou": pixel_iou_of,
    "image_ap": image_ap_of,
}


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


def gain(
    cells: Sequence[Cell], store: CellStore, task: str, figure: str, source: str, baseline: str, draws: int = 2000
) -> Interval | None:
    """Return how much a source gains over another one, mean over networks and categories.

    Args:
        cells: the grid.
        store: the results.
        task: see :class:`~seas_aug.benchmark.grid.Cell`.
        figure: a key of :data:`FIGURES`.
        source: such as ``seas``.
        baseline: such as ``perlin``.
        draws: samples of the bootstrap.

    Returns:
        The gain, or None where a category or network was not measured with both. Categories that have only one of
        both are left out.

    Raises:
        SeasError: cells of a category were tested on different images.
    """
    found: dict[str, dict[str, tuple[list[Figure], list[Figure]]]] = {}
    images: dict[str, CellScores] = {}
    for cell in cells:
        if cell.task != task or cell.source not in (source, baseline) or not store.is_done(cell):
            continue
        scores = CellScores.load(store.path(cell, ".npz"))
        first = images.setdefault(cell.category, scores)
        if scores.names.tolist() != first.names.tolist():
            message = f"{store.path(cell)}: has other test images than the cells before; delete it to measure it again."
            raise SeasError(message)
        pair = found.setdefault(cell.category, {}).setdefault(cell.network, ([], []))
        pair[cell.source == baseline].append(FIGURES[figure](scores))
    comparisons = {
        category: Comparison(images[category].groups.tolist(), both)
        for category, networks in found.items()
        if (both := [pair for pair in networks.values() if all(pair)])
    }
    return paired_gain(comparisons, draws=draws) if comparisons else None


def summarise(cells: Sequence[Cell], store: CellStore, draws: int = 2000) -> dict[str, Any]:
    """Return the headline.

    Args:
        cells: the grid.
        store: the results.
        draws: samples of the bootstrap.

    Returns:
        ``pixel_ap`` (detection) and ``iou`` (segmentation) in points by category and source, means over networks and
        seeds; ``draem_gain_vs_perlin``, ``draem_gain_vs_cutpaste`` (pixel AP), ``segmentation_gain_vs_few_shot``,
        ``segmentation_gain_vs_cutpaste`` (IoU) and ``one_class_gain`` (image AP), each ``{mean, low, high}`` in points
        or None where it was not measured; and ``cells``, how many of how many are done.
    """
    rows = table(cells, store)
    draem = [cell for cell in cells if cell.network.startswith("draem")]

    def points(task: str, metric: str) -> dict[str, dict[str, float]]:
        result: dict[str, dict[str, list[float]]] = {}
        for row in rows:
            if row["task"] == task:
                result.setdefault(row["category"], {}).setdefault(row["source"], []).append(row[metric]["mean"])
        return {
            category: {source: round(100 * mean(values), 2) for source, values in sources.items()}
            for category, sources in result.items()
        }

    def gained(chosen: Sequence[Cell], task: str, figure: str, baseline: str) -> dict[str, float] | None:
        found = gain(chosen, store, task, figure, "seas", baseline, draws)
        return None if found is None else found.as_points()

    return {
        "pixel_ap": points("detection", "pixel_ap"),
        "iou": points("segmentation", "pixel_iou"),
        "draem_gain_vs_perlin": gained(draem, "detection", "pixel_ap", "perlin"),
        "draem_gain_vs_cutpaste": gained(draem, "detection", "pixel_ap", "cutpaste"),
        "segmentation_gain_vs_few_shot": gained(cells, "segmentation", "pixel_iou", "few_shot"),
        "segmentation_gain_vs_cutpaste": gained(cells, "segmentation", "pixel_iou", "cutpaste"),
        "one_class_gain": gained(cells, "one_class", "image_ap", "none"),
        "cells": {"done": sum(store.is_done(cell) for cell in cells), "planned": len(cells)},
    }
