# SPDX-License-Identifier: Apache-2.0
"""The grid of a benchmark: which category is measured with which network, source of anomalies and seed."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from seas_aug.errors import SeasError


@dataclass(frozen=True)
class CategoryFolders:
    """Where a category and what SeaS made of it lie.

    Args:
        root: category in MVTec layout.
        run: run folder of ``seas-aug finetune``; its ``split.json`` tells which images are no test images.
        generated: what ``seas-aug generate`` made with it.
        groups: CSV with ``folder,file,group``; None takes ``groups.csv`` in ``root`` if it is there.
        pairs: pairs of each type that are trained on; None for all that are there.
        normals: generated normal images that are trained on; None for all that are there.
    """

    root: Path
    run: Path
    generated: Path
    groups: Path | None = None
    pairs: int | None = None
    normals: int | None = None

    @property
    def name(self) -> str:
        """Name of the category: that of its folder."""
        return self.root.name


@dataclass(frozen=True)
class Cell:
    """One training and test.

    Args:
        task: ``detection``, ``one_class``, ``segmentation``, ``quality`` (of the images by themselves) or ``masks``
            (quality of those that SeaS predicts).
        category: name of the category.
        network: name of the network, with its variant, such as ``draem-compact``; of ``quality`` the kind of features;
            of ``masks`` ``rmp``.
        source: what the defects that it is trained on come from; of ``quality`` what is looked at; of ``masks``
            ``seas``.
        seed: seed of weights and order.
        settings: all that decides the result besides: training, size, hashes of model and data; plain JSON values.
    """

    task: str
    category: str
    network: str
    source: str
    seed: int
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """File name of the cell: readable, and another one for other settings."""
        text = json.dumps(asdict(self), sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()[:10]
        return f"{self.task}-{self.category}-{self.network}-{self.source}-{self.seed}-{digest}"

    def __str__(self) -> str:
        """Return the cell as one reads it in a progress line."""
        return f"{self.category}, {self.network}, {self.source}, seed {self.seed}"


@dataclass(frozen=True)
class TaskGrid:
    """What is compared in one task.

    Args:
        task: see :class:`Cell`.
        networks: settings of each network, by its name.
        sources: names of the sources; the first is measured first.
    """

    task: str
    networks: dict[str, dict[str, Any]]
    sources: tuple[str, ...]


def needs_seas(grids: Iterable[TaskGrid]) -> bool:
    """Return whether any network is measured with ``seas``, so that it has to be fine-tuned."""
    return any(grid.networks and "seas" in grid.sources for grid in grids)


def needs_pairs(cell: Cell) -> bool:
    """Return whether a cell needs what SeaS made; the quality of all sources is that of as many images as its own."""
    return cell.source == "seas" or cell.task == "quality"


def plan_cells(
    grids: Sequence[TaskGrid],
    categories: Iterable[str],
    seeds: Sequence[int],
    common: Mapping[str, Mapping[str, Any]],
    by_source: Mapping[str, Mapping[str, Mapping[str, Any]]] | None = None,
) -> list[Cell]:
    """Return all cells, seed after seed, so that an interrupted benchmark has whole comparisons.

    Args:
        grids: one per task.
        categories: names.
        seeds: seeds.
        common: settings of each category, such as the hash of its test images.
        by_source: of a source, the settings of each category that matter only with it, such as the pairs of ``seas``.

    Raises:
        SeasError: the same cell twice.
    """
    cells = [
        Cell(
            grid.task,
            category,
            network,
            source,
            seed,
            {**settings, **common.get(category, {}), **(by_source or {}).get(source, {}).get(category, {})},
        )
        for seed, grid, category in itertools.product(seeds, grids, categories)
        for network, settings in grid.networks.items()
        for source in grid.sources
    ]
    names = [cell.key for cell in cells]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        message = f"{len(twice)} cell(s) are planned twice, such as {min(twice)}; give each category and seed once."
        raise SeasError(message)
    return cells
