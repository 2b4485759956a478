# SPDX-License-Identifier: Apache-2.0
"""Runs the cells of a grid that are not measured yet, one after the other on each device."""

from __future__ import annotations

import logging
import multiprocessing
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from seas_aug.benchmark.grid import Cell
from seas_aug.benchmark.store import CellStore
from seas_aug.errors import SeasError

logger = logging.getLogger(__name__)
Measure = Callable[[Cell], dict[str, Any]]


def run_cells(cells: Sequence[Cell], measure: Measure, store: CellStore, devices: Sequence[str] = ()) -> int:
    """Measure what is missing; a cell that fails is recorded with its error and does not stop the others.

    Args:
        cells: the whole grid.
        measure: measures a cell and returns its figures, plain JSON values; it can be pickled if there are two or more
            devices.
        store: where the rows lie.
        devices: numbers of the CUDA devices, each of which takes a cell at a time, in a process of its own; none runs
            everything in this process.

    Returns:
        How many cells failed.
    """
    from tqdm import tqdm

    missing = [cell for cell in cells if not store.is_done(cell)]
    failed = 0
    with tqdm(total=len(cells), initial=len(cells) - len(missing), unit="cell") as progress:
        for cell, error in _results(missing, measure, store, devices):
            progress.update()
            if error is not None:
                failed += 1
                progress.write(f"failed: {cell}: {error}", file=sys.stderr)
    return failed


def _results(
    cells: Sequence[Cell], measure: Measure, store: CellStore, devices: Sequence[str]
) -> Iterator[tuple[Cell, str | None]]:
    if not devices:
        for cell in cells:
            yield cell, measure_cell(cell, measure, store)
        return
    context = multiprocessing.get_context("spawn")  # CUDA does not survive a fork
    free = context.Queue()
    for device in devices:
        free.put(device)
    with ProcessPoolExecutor(len(devices), context, initializer=_take_device, initargs=(free,)) as pool:
        waiting = {pool.submit(measure_cell, cell, measure, store): cell for cell in cells}
        for done in as_completed(waiting):
            try:
                yield waiting[done], done.result()
            except BrokenProcessPool:
                # Nothing more can be sent to it; those cells have no row, so they are tried the next time.
                yield waiting[done], "a process was killed, by the system perhaps for want of memory; run it again"


def _take_device(free: Any) -> None:
    os.environ["CUDA_VISIBLE_DEVICES"] = free.get()


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


def peak_memory() -> dict[str, float]:
    """Return the largest memory use so far in MiB: of this process and, with CUDA, on its device."""
    import torch

    result: dict[str, float] = {}
    if sys.platform != "win32":
        import resource

        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        result["host"] = round(used / (1024**2 if sys.platform == "darwin" else 1024), 1)
    if torch.cuda.is_available():
        result["cuda"] = round(torch.cuda.max_memory_allocated() / 2**20, 1)
    return result
