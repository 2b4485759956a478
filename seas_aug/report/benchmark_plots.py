# SPDX-License-Identifier: Apache-2.0
"""Plots of a benchmark: gains with intervals, figures by source, precision-recall curves. Each is a PNG file."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seas_aug.benchmark.gains import ALL, HEADLINE
from seas_aug.benchmark.grid import Cell
from seas_aug.benchmark.measure import CellScores
from seas_aug.benchmark.store import CellStore

# In this order, and the same colour in every picture.
COLOURS = {"none": "#999999", "few_shot": "C0", "perlin": "C9", "cutpaste": "C2", "placed_paste": "C1", "seas": "C3"}
TITLES = {
    "image_auroc": "image AUROC",
    "image_ap": "image AP",
    "image_f1_max": "image F1-max",
    "pixel_auroc": "pixel AUROC",
    "pixel_ap": "pixel AP",
    "pixel_f1_max": "pixel F1-max",
    "pixel_aupro": "pixel AUPRO",
    "pixel_iou": "pixel IoU",
    "iou_best_per_image": "best IoU per image",
}


def draw_gains(gains: Sequence[Mapping[str, Any]]) -> bytes:
    """Draw the gains of SeaS, a panel per task and a line per category: mean over networks, and the interval.

    Args:
        gains: of :func:`~seas_aug.benchmark.gains.gain_rows`, at least one.
    """
    chosen = widest(gains)
    tasks = [task for task in HEADLINE if any(row["task"] == task for row in chosen)]
    names = list(dict.fromkeys(row["category"] for row in chosen if row["category"] != ALL))
    names += [ALL] if any(row["category"] == ALL for row in chosen) else []
    figure, panels = _figure(1.5 + 3.2 * len(tasks), 1.4 + 0.45 * len(names), len(tasks))
    for axes, task in zip(np.atleast_1d(panels), tasks, strict=True):
        own = [row for row in chosen if row["task"] == task]
        baselines = [one for one in COLOURS if any(row["baseline"] == one for row in own)]
        for offset, baseline in enumerate(baselines):
            rows = [row for row in own if row["baseline"] == baseline]
            means = np.array([row["mean"] for row in rows])
            places = [names.index(row["category"]) + (offset - (len(baselines) - 1) / 2) * 0.3 for row in rows]
            reach = np.abs(np.array([[row["low"], row["high"]] for row in rows]).T - means)
            axes.errorbar(
                means,
                places,
                xerr=reach,
                fmt="o",
                color=COLOURS[baseline],
                capsize=3,
                label=f"over {baseline.replace('_', ' ')}",
            )
        axes.axvline(0, color="#555", linewidth=0.8)
        axes.set(
            title=task.replace("_", " "),
            xlabel=f"{TITLES[HEADLINE[task]]}, points",
            yticks=range(len(names)),
            yticklabels=["mean" if name == ALL else name for name in names],
            ylim=(len(names) - 0.4, -0.6),
        )
        axes.legend(fontsize=8, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.22), ncols=2)
    return _png(figure)


def widest(gains: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return of each task, opponent and category the gain over all networks, where a single one is all.

    Args:
        gains: of :func:`~seas_aug.benchmark.gains.gain_rows`.
    """
    best: dict[tuple[str, str, str], Mapping[str, Any]] = {}
    for row in gains:
        key = (row["task"], row["baseline"], row["category"])
        if key not in best or len(row["networks"]) > len(best[key]["networks"]):
            best[key] = row
    return list(best.values())


def draw_bars(rows: Sequence[Mapping[str, Any]], task: str) -> bytes:
    """Draw a group of bars per category, a bar per source: mean over networks, and standard deviation of the seeds.

    Args:
        rows: of :func:`~seas_aug.benchmark.summary.table`.
        task: which of them; its headline metric is drawn.

    Returns:
        A PNG file.
    """
    from matplotlib.patches import Patch

    metric = HEADLINE[task]
    chosen = [row for row in rows if row["task"] == task]
    categories = list(dict.fromkeys(row["category"] for row in chosen))
    sources = [source for source in COLOURS if any(row["source"] == source for row in chosen)]
    figure, axes = _figure(1.5 + 2.2 * len(categories))
    width = 0.8 / len(sources)
    for offset, source in enumerate(sources):
        for place, category in enumerate(categories):
            found = [row[metric] for row in chosen if (row["category"], row["source"]) == (category, source)]
            if not found:
                continue
            at = place + (offset - (len(sources) - 1) / 2) * width
            height = float(np.mean([one["mean"] for one in found]))
            spread = float(np.mean([one["std"] or 0.0 for one in found]))
            axes.bar(at, height, width * 0.92, yerr=spread, color=COLOURS[source], ecolor="#555")
            axes.text(at, height + spread + 0.01, f"{100 * height:.0f}", ha="center", fontsize=8)
    axes.set(ylabel=TITLES[metric], xticks=range(len(categories)), xticklabels=categories, ylim=(0, 1.15))
    handles = [Patch(color=COLOURS[source], label=source) for source in sources]
    axes.legend(handles=handles, fontsize=8, ncols=len(sources), loc="upper center", frameon=False)
    return _png(figure)


def draw_curves(cells: Sequence[Cell], store: CellStore, task: str) -> bytes:
    """Draw precision against recall of the pixels, a panel per category: first network, first seed.

    Args:
        cells: the grid.
        store: the results.
        task: which of them.

    Returns:
        A PNG file.
    """
    chosen = [cell for cell in cells if cell.task == task and store.is_done(cell)]
    chosen = [cell for cell in chosen if (cell.network, cell.seed) == (chosen[0].network, chosen[0].seed)]
    categories = list(dict.fromkeys(cell.category for cell in chosen))
    figure, panels = _figure(2.8 * len(categories), columns=len(categories))
    for axes, category in zip(np.atleast_1d(panels), categories, strict=True):
        own = {cell.source: cell for cell in chosen if cell.category == category}
        for cell in (own[source] for source in COLOURS if source in own):
            precision, recall = precision_recall(CellScores.load(store.path(cell, ".npz")))
            axes.plot(recall, precision, label=cell.source, color=COLOURS[cell.source])
        axes.set(title=f"{category}\n{chosen[0].network}", xlabel="recall", ylabel="precision", ylim=(0, 1.02))
        axes.legend(fontsize=8, frameon=False)
    return _png(figure)


def precision_recall(scores: CellScores) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return precision and recall of the pixels at every bin's lower border, from the highest score on."""
    found, wrong = (
        np.cumsum(kind.sum(0)[::-1], dtype=np.float64)
        for kind in (scores.histograms.positives, scores.histograms.negatives)
    )
    seen = found + wrong > 0
    return found[seen] / (found + wrong)[seen], found[seen] / found[-1]


def _figure(width: float, height: float = 3, columns: int = 1) -> tuple[Any, Any]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(1, columns)


def _png(figure: Any) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()
