# SPDX-License-Identifier: Apache-2.0
"""Which cells of a benchmark can be measured now, and which only after SeaS is fine-tuned."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from seas_aug.artifact.code import BENCHMARK, code_version
from seas_aug.benchmark.config import BenchmarkConfig
from seas_aug.benchmark.grid import CategoryFolders, Cell, needs_pairs, plan_cells
from seas_aug.benchmark.measure import Measurement
from seas_aug.benchmark.prepare import Prepared, data_of, finish_beside, finished, folders_of, prepare_all
from seas_aug.benchmark.runner import UNMEASURED, Preparation
from seas_aug.benchmark.store import CellStore


class Schedule:
    """The cells of a benchmark. On devices SeaS is fine-tuned beside its opponents, else before them.

    Args:
        config: of the benchmark.
        textures: what tells Perlin anomalies apart, see :func:`~seas_aug.benchmark.prepare.textures_of`.
        store: where rows lie; cells that need pairs become failed ones where SeaS cannot be fine-tuned.

    Raises:
        SeasError: see :func:`~seas_aug.benchmark.prepare.prepare_all`.
    """

    def __init__(self, config: BenchmarkConfig, textures: dict[str, str], store: CellStore) -> None:
        self._config, self._textures, self._store = config, textures, store
        self._grids = config.grids()
        self._entries = {entry.root.name: entry for entry in config.categories}
        self._ready = dict(zip(self._entries, prepare_all(config), strict=True))
        self._data: dict[Path, dict[str, str]] = {}
        self._begun_alone = {name: one.folders for name, one in self._ready.items() if one.unfinished}
        for name in self._entries:
            self._give_up(name)

    @property
    def impossible(self) -> int:
        """Number of cells that cannot be measured, because SeaS could not be fine-tuned; more may come to light."""
        return sum(len(self._lost(name)) for name in self._entries)

    def cells(self) -> list[Cell]:
        """Return the whole grid, seed after seed; where SeaS is still being fine-tuned, as if it had made no pairs."""
        return self._ordered([cell for one in self._ready.values() for cell in self._cells_of(one)])

    def now(self) -> list[Cell]:
        """Return the cells that can be measured at once."""
        return self._ordered([cell for name in self._ready for cell in self._possible(name)])

    def preparations(self) -> list[Preparation]:
        """Return what the other cells wait for."""
        return [
            Preparation(partial(finish_beside, self._entries[name], self._config), partial(self._finished, name))
            for name in self._begun_alone
        ]

    def measurement(self) -> Measurement:
        """Return what measures all of them."""
        folders = {
            name: folders_of(entry, self._config) if name in self._begun_alone else self._ready[name].folders
            for name, entry in self._entries.items()
        }
        return Measurement(folders, self._store, self._config.textures, self._begun_alone)

    def folders(self) -> dict[str, CategoryFolders]:
        """Return where everything of each category lies."""
        return {name: one.folders for name, one in self._ready.items()}

    def _finished(self, name: str, code: int) -> list[Cell]:
        self._ready[name] = finished(self._entries[name], self._config, code)
        self._give_up(name)
        return self._ordered([cell for cell in self._possible(name) if needs_pairs(cell)])

    def _give_up(self, name: str) -> None:
        for cell in self._lost(name):
            if not self._store.is_done(cell):
                self._store.write(cell, "failed", {"error": self._ready[name].error, **UNMEASURED})

    def _lost(self, name: str) -> list[Cell]:
        one = self._ready[name]
        return [cell for cell in self._cells_of(one) if needs_pairs(cell)] if one.error else []

    def _possible(self, name: str) -> list[Cell]:
        one = self._ready[name]
        without = bool(one.error) or one.unfinished
        return [cell for cell in self._cells_of(one) if not (without and needs_pairs(cell))]

    def _cells_of(self, one: Prepared) -> list[Cell]:
        name, seeds = one.folders.name, self._config.seeds
        if one.folders.run not in self._data:  # every test image is decoded for it
            self._data[one.folders.run] = data_of(one.folders)
        by_source: dict[str, dict[str, dict[str, Any]]] = {
            "seas": {name: one.pairs},
            "perlin": {name: self._textures},
        }
        common = {name: {**self._data[one.folders.run], "code": code_version(BENCHMARK)}}
        return plan_cells(self._grids, [name], seeds, common, by_source)

    def _ordered(self, cells: list[Cell]) -> list[Cell]:
        """Return cells in the order of a plan of all categories, see :func:`~seas_aug.benchmark.grid.plan_cells`."""
        tasks = [grid.task for grid in self._grids]
        return sorted(cells, key=lambda cell: (self._config.seeds.index(cell.seed), tasks.index(cell.task)))
