# SPDX-License-Identifier: Apache-2.0
"""The benchmark's report: gains, tables, precision-recall curves and pictures, as one page and as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from seas_aug.artifact.atomic import atomic_write_text
from seas_aug.benchmark.gains import ALL, HEADLINE
from seas_aug.benchmark.grid import CategoryFolders, Cell
from seas_aug.benchmark.measure import CellScores
from seas_aug.benchmark.prepare import seconds_of
from seas_aug.benchmark.scores import best_iou_per_image
from seas_aug.benchmark.store import CellStore
from seas_aug.benchmark.summary import format_figure, table
from seas_aug.benchmark.test_set import TruePictures, read_test_set
from seas_aug.environment import describe_environment
from seas_aug.report.benchmark_plots import TITLES, draw_bars, draw_curves, draw_gains
from seas_aug.report.contact_sheet import Picture
from seas_aug.report.page import png_uri, render_template, strip_uri
from seas_aug.report.pictures import flat_picture, heat_picture, picture_of

_TILE = 96
_CHANCE = 0.5
_BASELINES = {"detection": "perlin", "one_class": "none", "segmentation": "few_shot"}
QUALITY_TITLES = {"kid": "KID", "ic_lpips": "IC-LPIPS", "ic_lpips_a": "IC-LPIPS(a)", "is": "IS"}
MASK_TITLES = {"mask_iou": "mask IoU", "mask_iou_per_image": "mask IoU per image"}


def write_report(
    output: Path,
    cells: Sequence[Cell],
    store: CellStore,
    folders: Mapping[str, CategoryFolders],
    summary: Mapping[str, Any],
    settings: Mapping[str, Any],
) -> None:
    """Write ``index.html`` and ``table.md`` into a folder.

    Args:
        output: the benchmark's folder.
        cells: the grid; cells that are not done are left out.
        store: the results.
        folders: where each category lies.
        summary: the headline.
        settings: of the benchmark, as plain values.
    """
    rows = table(cells, store)
    tasks = [task for task in HEADLINE if any(row["task"] == task for row in rows)]
    done = [(cell, row) for cell in cells if (row := store.read(cell)) is not None]
    page = render_template(
        "benchmark.html",
        summary=summary,
        rows=rows,
        tasks=tasks,
        titles=TITLES,
        quality_titles=QUALITY_TITLES,
        mask_titles=MASK_TITLES,
        format_figure=format_figure,
        gain_name=_name,
        unlearnt=unlearnt(rows),
        gains=png_uri(draw_gains(summary["gains"])) if summary["gains"] else "",
        bars={task: png_uri(draw_bars(rows, task)) for task in tasks},
        curves={task: png_uri(draw_curves(cells, store, task)) for task in tasks},
        grids=picture_grids(cells, store, folders),
        seconds=sum(row["seconds"] for _, row in done),
        preparing=sum(seconds_of(name, output) for name in folders),
        slowest=sorted(((row["seconds"], str(cell)) for cell, row in done), reverse=True)[:5],
        memory={
            kind: max((row["peak_memory_mib"].get(kind, 0.0) for _, row in done), default=0.0)
            for kind in ("host", "cuda")
        },
        failed=[(str(cell), row["error"]) for cell, row in done if row["status"] == "failed"],
        settings=settings,
        environment=describe_environment(),
    )
    atomic_write_text(output / "index.html", page)
    atomic_write_text(output / "table.md", markdown_tables(rows, summary["gains"]))


def markdown_tables(rows: Sequence[Mapping[str, Any]], gains: Sequence[Mapping[str, Any]]) -> str:
    """Return gains and figures as Markdown.

    Args:
        rows: of :func:`~seas_aug.benchmark.summary.table`.
        gains: of :func:`~seas_aug.benchmark.gains.gain_rows`.
    """
    head = ["gain of SeaS in", "over", "network", "category", "seeds", "points", "95 % interval"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in gains:
        metric = f"{row['task']}, {TITLES[row['metric']]}"
        known = [metric, row["baseline"], _name(row, "network"), _name(row, "category"), str(row["seeds"])]
        interval = f"{row['low']:+.2f} to {row['high']:+.2f}"
        lines.append("| " + " | ".join([*known, f"{row['mean']:+.2f}", interval]) + " |")
    parts = ["\n".join(lines)] if gains else []
    if poor := unlearnt(rows):
        parts.append(f"No better than chance at telling images apart, so no fair opponent: {'; '.join(poor)}.")
    return "\n\n".join([*parts, markdown_table(rows)]) + "\n"


def unlearnt(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return which opponents rank images no better than chance (image AUROC 0.5), so that a gain over them says little.

    Args:
        rows: of :func:`~seas_aug.benchmark.summary.table`.
    """
    poor = [row for row in rows if row["source"] not in ("seas", "none") and row["task"] in HEADLINE]
    poor += [row for row in rows if row["source"] == "none" and row["task"] == "one_class"]
    return [
        f"{row['category']}, {row['network']}, {row['source']}" for row in poor if row["image_auroc"]["mean"] <= _CHANCE
    ]


def _name(row: Mapping[str, Any], kind: str) -> str:
    """Return the name of a gain's network or category, or of how many it is the mean."""
    names = row["networks" if kind == "network" else "categories"]
    return f"mean of {len(names)}" if row[kind] == ALL else str(row[kind])


def markdown_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the rows of :func:`~seas_aug.benchmark.summary.table` as Markdown: mean ± standard deviation, in points.

    The images' own quality, in its own units, and that of the masks are tables of their own.
    """
    parts = []
    for tasks, titles, factor in (
        (HEADLINE, TITLES, 100),
        ({"quality"}, QUALITY_TITLES, 1),
        ({"masks"}, MASK_TITLES, 100),
    ):
        chosen = [row for row in rows if row["task"] in tasks]
        if not chosen:
            continue
        head = ["task", "category", "network", "source", "seeds", *titles.values()]
        lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
        for row in chosen:
            known = [str(row[name]) for name in ("task", "category", "network", "source", "seeds")]
            lines.append("| " + " | ".join([*known, *(format_figure(row.get(name), factor) for name in titles)]) + " |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def picture_grids(
    cells: Sequence[Cell], store: CellStore, folders: Mapping[str, CategoryFolders]
) -> list[dict[str, Any]]:
    """Return, per task and category, test images with their truth and what a network says with and without SeaS.

    The first seed of the first network is shown. Images are the one where SeaS gains most, the median one, the one
    where it loses most, and the one that it finds worst, by the best IoU of each.

    Args:
        cells: the grid.
        store: the results.
        folders: where each category lies.

    Returns:
        ``title`` and ``lines``: a label and the address of an embedded PNG.
    """
    grids = []
    for task, baseline in _BASELINES.items():
        for category in dict.fromkeys(cell.category for cell in cells if cell.task == task):
            own, other = (_first(cells, store, task, category, source) for source in ("seas", baseline))
            if own is None or other is None or own.network != other.network:
                continue
            if not all(store.path(cell, ".maps.npz").is_file() for cell in (own, other)):
                continue  # collected cells are without maps
            pictures = read_test_set(folders[category])
            scores = [best_iou_per_image(CellScores.load(store.path(cell, ".npz")).histograms) for cell in (own, other)]
            chosen = choose_images(scores[0], scores[1])
            lines = [("image", [picture_of(pictures.images[index], _TILE) for index in chosen])]
            lines.append(("truth", [_truth(pictures, index) for index in chosen]))
            for cell in (other, own):
                with np.load(store.path(cell, ".maps.npz")) as content:
                    maps = content["maps"]
                heat = [heat_picture(torch.from_numpy(maps[index])[None] / 255, _TILE) for index in chosen]
                lines.append((cell.source, heat))
            title = f"{category}, {own.network}"
            grids.append({"title": title, "lines": [(label, strip_uri(found)) for label, found in lines]})
    return grids


def choose_images(own: NDArray[np.float64], other: NDArray[np.float64]) -> list[int]:
    """Return which images to show: largest gain, median gain, largest loss, and the worst found.

    Args:
        own: best IoU of each image, NaN for normal ones, ``[N]``.
        other: the same of the baseline.

    Returns:
        Up to four different indices.
    """
    order = np.argsort(own - other)
    order = order[~np.isnan((own - other)[order])]
    worst = int(np.nanargmin(own))
    return list(dict.fromkeys([int(order[-1]), int(order[len(order) // 2]), int(order[0]), worst]))


def _first(cells: Sequence[Cell], store: CellStore, task: str, category: str, source: str) -> Cell | None:
    wanted = (task, category, source)
    return next((c for c in cells if (c.task, c.category, c.source) == wanted and store.is_done(c)), None)


def _truth(pictures: TruePictures, index: int) -> Picture:
    one = TruePictures(*(values[index : index + 1] for values in vars(pictures).values()))
    return flat_picture(torch.from_numpy(one.load(_TILE)[1]).float(), _TILE)
