# SPDX-License-Identifier: Apache-2.0
"""Runs the cells of a grid that are not measured yet: one after the other, or as many at a time as there are places."""

from __future__ import annotations

import logging
import sys
import time
import traceback
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Any

from seas_aug.benchmark.devices import DevicePool, Job
from seas_aug.benchmark.grid import Cell
from seas_aug.benchmark.memory import peak_memory, reset_peak_memory
from seas_aug.benchmark.store import CellStore
from seas_aug.errors import SeasError

logger = logging.getLogger(__name__)
Measure = Callable[[Cell], dict[str, Any]]
UNMEASURED: dict[str, Any] = {"seconds": 0.0, "peak_memory_mib": {}}  # of a cell that did not come to its end


@dataclass(frozen=True)
class Preparation:
    """What has to be done before some cells are known, such as the fine-tuning of SeaS.

    Args:
        job: does it; can be pickled.
        cells: from the exit code of its process to the cells that can be measured now.
    """

    job: Job
    cells: Callable[[int], Sequence[Cell]]


def run_cells(
    cells: Sequence[Cell],
    measure: Measure,
    store: CellStore,
    devices: Sequence[str] = (),
    preparations: Sequence[Preparation] = (),
) -> int:
    """Measure what is missing; a cell that fails is recorded with its error and does not stop the others.

    Args:
        cells: the whole grid, without what becomes known by preparations.
        measure: measures a cell and returns its figures, plain JSON values; it can be pickled if there are devices.
        store: where the rows lie.
        devices: numbers of the CUDA devices, each of which takes a cell at a time (or as many as it is named here), in
            a process of its own; none runs everything in this process.
        preparations: begun before all cells, which are measured beside them, a seed after the other; needs devices.

    Returns:
        How many cells failed.
    """
    from tqdm import tqdm

    with tqdm(total=len(cells), unit="cell") as progress:
        if devices:
            results = _on_devices(cells, measure, store, devices, preparations, progress)
        else:
            results = ((cell, measure_cell(cell, measure, store)) for cell in _missing(cells, store, progress))
        failed = 0
        with closing(results):
            for cell, error in results:
                progress.update()
                if error is not None:
                    failed += 1
                    progress.write(f"failed: {cell}: {error}", file=sys.stderr)
    return failed


def _missing(cells: Sequence[Cell], store: CellStore, progress: Any) -> list[Cell]:
    missing = [cell for cell in cells if not store.is_done(cell)]
    progress.initial += len(cells) - len(missing)  # so that the time left is that of the missing ones
    progress.update(len(cells) - len(missing))
    return missing


def _on_devices(
    cells: Sequence[Cell],
    measure: Measure,
    store: CellStore,
    devices: Sequence[str],
    preparations: Sequence[Preparation],
    progress: Any,
) -> Generator[tuple[Cell, str | None]]:
    pool, measured = DevicePool(devices), {}
    ranks: dict[int, int] = {}  # of the seeds, in the order of the grid

    def add(more: Sequence[Cell]) -> None:
        for cell in _missing(more, store, progress):
            rank = ranks.setdefault(cell.seed, len(ranks))
            measured[pool.add(partial(measure_cell, cell, measure, store), rank)] = cell

    prepared = {pool.add(one.job, rank=-1): one for one in preparations}
    add(cells)
    with closing(pool.run()) as ended:
        for number, code in ended:
            if number in prepared:
                more = prepared[number].cells(code)
                progress.total += len(more)
                add(more)
                continue
            cell = measured[number]
            row = store.read(cell)
            if code or row is None:
                error = (
                    f"its process ended with code {code}; below 0 is killed, perhaps for want of memory; run it again."
                )
                store.write(cell, "failed", {"error": error, **UNMEASURED})
                yield cell, error
            else:
                yield cell, row["error"] if row["status"] == "failed" else None


def measure_cell(cell: Cell, measure: Measure, store: CellStore) -> str | None:
    """Measure a cell and write its row.

    Args:
        cell: what to measure.
        measure: see :func:`run_cells`.
        store: where the row is written.

    Returns:
        None, or the error in one line.

    Raises:
        OSError: the row cannot be written.
    """
    from seas_aug.environment import describe_environment

    reset_peak_memory()
    started = time.perf_counter()
    error, content = None, {}
    try:
        content = measure(cell)
    except SeasError as found:
        error = str(found)
    except Exception as found:  # whatever a network may raise belongs into its row, and the grid goes on
        logger.debug("cell %s", cell.key, exc_info=True)
        error = f"{type(found).__name__}: {str(found).strip().splitlines()[0] if str(found).strip() else 'no message'}"
        content = {"traceback": traceback.format_exc()}
    used = {
        "seconds": round(time.perf_counter() - started, 1),
        "peak_memory_mib": peak_memory(),
        "environment": describe_environment(),
    }
    if error is None:
        store.write(cell, "done", {**content, **used})
    else:
        store.write(cell, "failed", {"error": error, **content, **used})
    return error
