# SPDX-License-Identifier: Apache-2.0
"""One table and headline of cells that were measured in several benchmarks, such as a category on each evening.

Command::

    python -m benchmarks.collect --cells runs/monday/cells runs/tuesday/cells --store benchmarks/results/cells \
        --output benchmarks/results/summary.json --table benchmarks/results/table.md \
        --grid benchmarks/grids/shared.yaml --plot docs/images/gains.png

Rows and scores are copied into ``--store``, which may be collected from again; pictures of maps are left behind. What
the store has already counts too.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from seas_aug.artifact.atomic import atomic_write, atomic_write_text
from seas_aug.benchmark.command import format_table
from seas_aug.benchmark.gains import check_comparable
from seas_aug.benchmark.grid import Cell, plan_cells
from seas_aug.benchmark.store import CellStore
from seas_aug.benchmark.summary import summarise, table
from seas_aug.cli.benchmark import read_config
from seas_aug.errors import SeasError
from seas_aug.report.benchmark_page import markdown_tables
from seas_aug.report.benchmark_plots import draw_gains


def collect(folders: Iterable[Path], store: CellStore) -> list[Cell]:
    """Copy the cells that are done into a store.

    Args:
        folders: ``cells`` of benchmarks.
        store: where to; cells that it has stay as they are.

    Returns:
        All cells of the store, in the order of a grid.

    Raises:
        SeasError: a folder without cells, a damaged file, or the same comparison measured with different settings.
    """
    for folder in folders:
        if not folder.is_dir():
            raise SeasError(f"{folder}: no such folder; give the `cells` of a benchmark's output.")
        source = CellStore(folder)
        found = source.cells()
        if not found:
            raise SeasError(f"{folder}: no cell in it is done; give the `cells` of a benchmark's output.")
        for cell in found:
            if store.is_done(cell):
                continue
            for ending in (".npz", ".json"):  # the row last: it says that the cell is done
                path = source.path(cell, ending)
                if path.is_file():
                    with atomic_write(store.path(cell, ending)) as file:
                        file.write(path.read_bytes())
    cells = store.cells()
    seen: dict[str, Cell] = {}
    for cell in cells:
        first = seen.setdefault(f"{cell.task}, {cell}", cell)
        if first is not cell:
            message = (
                f"{store.folder}: {cell.task}, {cell}, was measured with different settings, images or pairs "
                f"({first.key}, {cell.key}); delete the files of one of them."
            )
            raise SeasError(message)
    check_comparable(cells, store)
    return cells


def planned_by(grid: Path) -> int:
    """Return how many cells a config file of a benchmark plans.

    Args:
        grid: YAML, such as ``benchmarks/grids/shared.yaml``.

    Raises:
        SeasError: it names networks or sources that there are not.
    """
    config = read_config(["--config", str(grid)])
    return len(plan_cells(config.grids(), [entry.root.name for entry in config.categories], config.seeds, {}))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: arguments; None takes those of the process.

    Returns:
        Exit code: 0, or 2 after a user's mistake.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.collect", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--cells", type=Path, nargs="*", default=[], help="Folders `cells` of benchmarks.")
    parser.add_argument("--store", type=Path, required=True, help="Folder to collect them in.")
    parser.add_argument("--output", type=Path, required=True, help="JSON of the headline to write.")
    parser.add_argument("--table", type=Path, help="Markdown of all figures to write.")
    parser.add_argument("--grid", type=Path, help="Config of the whole benchmark, to tell how much of it is done.")
    parser.add_argument("--plot", type=Path, help="Picture of the gains to write.")
    parser.add_argument("--draws", type=int, default=2000, help="Samples of the bootstrap.")
    options = parser.parse_args(argv)
    try:
        store = CellStore(options.store)
        cells = collect(options.cells, store)
        if not cells:
            raise SeasError(f"{options.store}: no cell in it is done; give --cells to collect from.")
        found, rows = summarise(cells, store, options.draws), table(cells, store)
        if options.grid:
            found["cells"]["planned"] = planned_by(options.grid)
        atomic_write_text(options.output, json.dumps(found, indent=1, sort_keys=True) + "\n")
        if options.table:
            atomic_write_text(options.table, markdown_tables(rows, found["gains"]))
        if options.plot and found["gains"]:
            with atomic_write(options.plot) as file:
                file.write(draw_gains(found["gains"]))
    except SeasError as error:
        print(f"collect: error: {error}", file=sys.stderr)
        return 2
    print(format_table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
