# SPDX-License-Identifier: Apache-2.0
"""Runs the cells of a grid that are not measured yet, one after the other on each device."""

from __future__ import annotations

import logging
import sys
import time
import traceback
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from functools import partial
from typing import Any

from seas_aug.benchmark.devices import run_on_devices
from seas_aug.benchmark.grid import Cell
from seas_aug.benchmark.memory import peak_memory, reset_peak_memory
from seas_aug.benchmark.store import CellStore
from seas_aug.errors import SeasError

logger = logging.getLogger(__name__)
Measure = Callable[[Cell], dict[str, Any]]
UNMEASURED: dict[str, Any] = {"seconds": 0.0, "peak_memory_mib": {}}  # of a cell that did not come to its end


def run_cells(cells: Sequence[Cell], measure: Measure, store: CellStore, devices: Sequence[str] = ()) -> int:
    """Measure what is missing; a cell that fails is recorded with its error and does not stop the others.

    Args:
        cells: the whole grid.
        measure: measures a cell and returns its figures, plain JSON values; it can be pickled if there are devices.
        store: where the rows lie.
        devices: numbers of the CUDA devices, each of which takes a cell at a time (or as many as it is named here), in
            a process of its own; none runs everything in this process.

    Returns:
        How many cells failed.
    """
    from tqdm import tqdm

    missing = [cell for cell in cells if not store.is_done(cell)]
    failed = 0
    with (
        tqdm(total=len(cells), initial=len(cells) - len(missing), unit="cell") as progress,
        closing(_results(missing, measure, store, devices)) as results,
    ):
        for cell, error in results:
            progress.update()
            if error is not None:
                failed += 1
                progress.write(f"failed: {cell}: {error}", file=sys.stderr)
    return failed


def _results(
    cells: Sequence[Cell], measure: Measure, store: CellStore, devices: Sequence[str]
) -> Generator[tuple[Cell, str | None]]:
    if not devices:
        for cell in cells:
            yield cell, measure_cell(cell, measure, store)
        return
    with closing(run_on_devices([partial(measure_cell, cell, measure, store) for cell in cells], devices)) as ended:
        for index, code in ended:
            cell = cells[index]
            row = store.read(cell)
            if code or row is None:
                error = f"its process ended with code {code}: killed, perhaps for want of memory; run it again."
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
    from seas_aug.report.environment import describe_environment

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
