# SPDX-License-Identifier: Apache-2.0
"""The whole benchmark: prepare every category, run every cell, write the headline."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from seas_aug.artifact.atomic import atomic_write_text
from seas_aug.artifact.lock import only_writer
from seas_aug.benchmark.config import BenchmarkConfig, CategoryEntry
from seas_aug.benchmark.devices import check_devices
from seas_aug.benchmark.estimate import cell_work, seas_work
from seas_aug.benchmark.grid import CategoryFolders, Cell, needs_seas, plan_cells
from seas_aug.benchmark.prepare import textures_of
from seas_aug.benchmark.runner import run_cells
from seas_aug.benchmark.schedule import Schedule
from seas_aug.benchmark.store import CellStore
from seas_aug.benchmark.summary import format_figure, summarise, table
from seas_aug.config import as_plain
from seas_aug.data.category import read_mvtec_folder

_SHOWN = {
    "detection": ("pixel_ap", "pixel_iou", "image_ap"),
    "one_class": ("image_ap", "pixel_ap"),
    "segmentation": ("pixel_iou", "pixel_ap", "iou_best_per_image"),
    "masks": ("mask_iou", "mask_iou_per_image"),
}


class ReportWriter(Protocol):
    """Writes the pages of a benchmark."""

    def __call__(
        self,
        output: Path,
        cells: Sequence[Cell],
        store: CellStore,
        folders: Mapping[str, CategoryFolders],
        summary: dict[str, Any],
        settings: dict[str, Any],
    ) -> None:
        """Write them into ``output``."""


def run_benchmark(config: BenchmarkConfig, write_report: ReportWriter | None = None) -> dict[str, Any]:
    """Measure what is missing and write ``summary.json``, ``config.json`` and the report beside the cells.

    Args:
        config: all settings.
        write_report: writes the pages; None leaves them out.

    Returns:
        The headline, see :func:`~seas_aug.benchmark.summary.summarise`, with ``failed``, the number of cells that
        failed in this call; of a dry run the plan, see :func:`plan`.

    Raises:
        SeasError: a category, network or source that cannot be used.
    """
    if config.dry_run:
        return plan(config)
    for entry in config.categories:
        read_mvtec_folder(entry.root)  # all mistakes before anything that takes hours
    grids = config.grids()
    config.seas_settings()
    plan_cells(grids, [entry.root.name for entry in config.categories], config.seeds, {})
    textures = textures_of(config.textures)
    check_devices(config.devices)
    with only_writer(config.output, "benchmarking"):
        return _run(config, textures, write_report)


def _run(config: BenchmarkConfig, textures: dict[str, str], write_report: ReportWriter | None) -> dict[str, Any]:
    store = CellStore(config.output / "cells")
    schedule = Schedule(config, textures, store)
    store.tidy()
    atomic_write_text(config.output / "config.json", json.dumps(as_plain(config), indent=1, sort_keys=True) + "\n")
    failed = run_cells(schedule.now(), schedule.measurement(), store, config.places(), schedule.preparations())
    cells = schedule.cells()
    found = summarise(cells, store, config.draws)
    atomic_write_text(config.output / "summary.json", json.dumps(found, indent=1, sort_keys=True) + "\n")
    if write_report is not None:
        write_report(config.output, cells, store, schedule.folders(), found, as_plain(config))
    print(format_table(table(cells, store)))
    return {**found, "failed": failed + schedule.impossible}


def plan(config: BenchmarkConfig) -> dict[str, Any]:
    """Return what would be done, without doing it.

    Args:
        config: all settings.

    Returns:
        ``categories`` (types, images), ``cells`` (number by task and network), ``updates`` (optimiser updates) and
        ``hours``: of one device, estimated by :mod:`seas_aug.benchmark.estimate`.

    Raises:
        SeasError: a category, network or source that cannot be used.
    """
    grids = config.grids()
    cells = plan_cells(grids, [entry.root.name for entry in config.categories], config.seeds, {})
    categories, with_seas = {}, needs_seas(grids)
    for entry in config.categories:
        counts = _count_images(entry)
        categories[entry.root.name] = {
            **counts,
            "fine_tune": with_seas and entry.run is None,
            "pairs": config.pairs * counts["anomaly_types"] if with_seas and entry.generated is None else 0,
        }
    counted: dict[str, int] = {}
    for cell in cells:
        counted[f"{cell.task} {cell.network}"] = counted.get(f"{cell.task} {cell.network}", 0) + 1
    return {
        "categories": categories,
        "cells": counted,
        "updates": sum(updates_of(cell) for cell in cells),
        "hours": estimate_hours(config, categories, cells),
    }


def _count_images(entry: CategoryEntry) -> dict[str, int]:
    if entry.expected is not None and not entry.root.exists():
        return dict(entry.expected)
    category = read_mvtec_folder(entry.root)
    return {
        "anomaly_types": len(category.anomaly_types),
        "defects": sum(len(samples) for samples in category.defects.values()),
        "normals": len(category.normals),
    }


def estimate_hours(
    config: BenchmarkConfig, categories: Mapping[str, Mapping[str, Any]], cells: Sequence[Cell]
) -> dict[str, float]:
    """Return the estimated hours of one device, for fine-tuning, generating, and the cells of each network.

    Args:
        config: its preset, base, numbers of images and ``tflops`` count.
        categories: the plan's.
        cells: the whole grid; what may be measured already is counted too.
    """
    work = seas_work(config.seas_settings())
    types = {False: 0, True: 0}
    for entry in categories.values():
        types[entry["fine_tune"]] += entry["anomaly_types"]
    generating = [entry for entry in categories.values() if entry["pairs"]]
    normals = config.normals * len(generating) if config.one_class else 0
    tflop = {
        "fine_tune": types[True] * work.fine_tune,
        "generate": sum(entry["pairs"] for entry in generating) * work.pair + normals * work.normal,
    }
    counted: dict[str, float] = {}  # seeds, sources and categories cost the same
    for cell in cells:
        key = json.dumps([cell.task, cell.network, cell.settings], sort_keys=True)
        if key not in counted:
            counted[key] = work.real_mask if cell.task == "masks" else cell_work(cell)
        entry = categories[cell.category]
        times = {"quality": entry["anomaly_types"], "masks": entry["defects"]}.get(cell.task, 1)
        tflop[cell.network] = tflop.get(cell.network, 0.0) + times * counted[key]
    hours = {name: round(value / config.tflops / 3600, 2) for name, value in tflop.items() if value}
    return {**hours, "total": round(sum(tflop.values()) / config.tflops / 3600, 2)}


def updates_of(cell: Cell) -> int:
    """Return the optimiser updates of a cell; 0 for a detector that learns in one pass."""
    return int(cell.settings.get("steps", 0))


def format_table(rows: list[dict[str, Any]]) -> str:
    """Return the rows of :func:`~seas_aug.benchmark.summary.table` as text, in points."""
    lines = []
    for task, metrics in _SHOWN.items():
        chosen = [row for row in rows if row["task"] == task]
        if not chosen:
            continue
        heads = [task, "network", "source", "seeds", *metrics]
        lines.append(f"{heads[0]:<16}{heads[1]:<20}{heads[2]:<10}{heads[3]:>6}" + "".join(f"{n:>20}" for n in metrics))
        for row in chosen:
            figures = "".join(f"{format_figure(row[name], 100):>20}" for name in metrics)
            lines.append(f"{row['category']:<16}{row['network']:<20}{row['source']:<10}{row['seeds']:>6}{figures}")
        lines.append("")
    return "\n".join(lines).rstrip()
