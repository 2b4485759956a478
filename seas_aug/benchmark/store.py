# SPDX-License-Identifier: Apache-2.0
"""The results of a benchmark on disk: a JSON file for each cell, and its scores beside it."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from seas_aug.artifact.atomic import atomic_write_text, remove_leftovers
from seas_aug.benchmark.grid import Cell
from seas_aug.errors import SeasError

Status = Literal["done", "failed"]


class CellStore:
    """A folder of results. Files are written whole or not at all, so that a kill loses one cell at most.

    Args:
        folder: made if it is missing.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def tidy(self) -> None:
        """Delete what a killed run left half written; not while another one is writing."""
        remove_leftovers(self.folder)

    def path(self, cell: Cell, ending: str = ".json") -> Path:
        """Return where a file of a cell lies."""
        return self.folder / f"{cell.key}{ending}"

    def read(self, cell: Cell) -> dict[str, Any] | None:
        """Return the row of a cell, or None where there is none yet.

        Raises:
            SeasError: the file is damaged.
        """
        path = self.path(cell)
        if not path.is_file():
            return None
        try:
            row = json.loads(path.read_text(encoding="utf-8"))
            if {"cell", "status"} <= row.keys():
                return dict(row)
        except (OSError, ValueError, AttributeError) as error:
            message = f"{path}: damaged ({error}); delete it, and it is measured again."
            raise SeasError(message) from error
        raise SeasError(f"{path}: no row of a benchmark; delete it, and it is measured again.")

    def is_done(self, cell: Cell) -> bool:
        """Tell whether a cell was measured; one that failed is not done."""
        row = self.read(cell)
        return row is not None and row["status"] == "done"

    def cells(self) -> list[Cell]:
        """Return the cells that are done, in the order of a grid: by task, category, network, source and seed.

        Raises:
            SeasError: a file is damaged, or no row of a benchmark.
        """
        found = []
        for path in sorted(self.folder.glob("*.json")):
            try:
                row = json.loads(path.read_text(encoding="utf-8"))
                cell, status = Cell(**row["cell"]), row["status"]
            except (OSError, ValueError, KeyError, TypeError) as error:
                message = f"{path}: no row of a benchmark ({error}); delete it, and it is measured again."
                raise SeasError(message) from error
            if status == "done":
                found.append(cell)
        return sorted(found, key=lambda cell: (cell.task, cell.category, cell.network, cell.source, cell.seed))

    def write(self, cell: Cell, status: Status, content: dict[str, Any]) -> None:
        """Write the row of a cell.

        Args:
            cell: what was measured.
            status: how it ended.
            content: metrics, seconds, versions, or an error; plain JSON values.
        """
        row = {"cell": asdict(cell), "status": status, **content}
        atomic_write_text(self.path(cell), json.dumps(row, indent=1, sort_keys=True) + "\n")
