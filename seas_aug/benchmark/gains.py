# SPDX-License-Identifier: Apache-2.0
"""What SeaS gains over each opponent: on average, by network and by category, with intervals."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from seas_aug.benchmark.grid import Cell
from seas_aug.benchmark.measure import CellScores
from seas_aug.benchmark.scores import average_precision
from seas_aug.benchmark.store import CellStore
from seas_aug.errors import SeasError
from seas_aug.evaluate.bootstrap import Comparison, Figure, Interval, paired_gain

ALL = "all"  # in place of the name of a network or category: the mean over them
HEADLINE = {"detection": "pixel_ap", "one_class": "image_ap", "segmentation": "pixel_iou"}
OPPONENTS = {
    "detection": ("perlin", "cutpaste", "placed_paste"),
    "one_class": ("none",),
    "segmentation": ("few_shot", "cutpaste", "placed_paste"),
}
_OWN = {"model", "pairs", "textures", "drawing"}  # settings that differ between sources


def pixel_ap_of(scores: CellScores) -> Figure:
    """Return pixel AP as a function of image weights ``[draws, N]``."""
    positives, negatives = scores.histograms.positives, scores.histograms.negatives
    return lambda weights: average_precision(weights @ positives, weights @ negatives)


def pixel_iou_of(scores: CellScores) -> Figure:
    """Return the IoU at the chosen threshold as a function of image weights ``[draws, N]``."""
    return scores.overlaps.iou


def image_ap_of(scores: CellScores) -> Figure:
    """Return image AP as a function of image weights ``[draws, N]``."""
    order = np.argsort(scores.image_scores, kind="stable")
    _, place = np.unique(scores.image_scores[order], return_inverse=True)
    bins = np.zeros((len(order), int(place.max()) + 1), np.int64)
    bins[order, place] = 1
    positives, negatives = bins * scores.labels[:, None], bins * ~scores.labels[:, None]
    return lambda weights: average_precision(weights @ positives, weights @ negatives)


FIGURES: dict[str, Callable[[CellScores], Figure]] = {
    "pixel_ap": pixel_ap_of,
    "pixel_iou": pixel_iou_of,
    "image_ap": image_ap_of,
}


@dataclass
class _Pair:
    """What a network reached on a category with the source (first) and with its opponent."""

    figures: tuple[list[Figure], list[Figure]] = field(default_factory=lambda: ([], []))
    values: tuple[list[float], list[float]] = field(default_factory=lambda: ([], []))
    precisions: set[str] = field(default_factory=set)


class Gains:
    """Gains of one source over another one in the cells of a task.

    A category or network that was not measured with both is left out.

    Args:
        cells: the grid; cells that are not done are left out.
        store: the results.
        task: see :class:`~seas_aug.benchmark.grid.Cell`.
        baseline: the opponent.
        source: the source.

    Raises:
        SeasError: what would be compared was trained with different settings, or tested on different images.
    """

    def __init__(self, cells: Sequence[Cell], store: CellStore, task: str, baseline: str, source: str = "seas") -> None:
        self.task, self.baseline, self.metric = task, baseline, HEADLINE[task]
        self._pairs: dict[str, dict[str, _Pair]] = {}
        self._groups: dict[str, list[Any]] = {}
        chosen = [cell for cell in cells if cell.task == task and cell.source in (source, baseline)]
        chosen = [cell for cell in chosen if store.is_done(cell)]
        check_comparable(chosen, store)
        names: dict[str, list[str]] = {}
        for cell in chosen:
            scores, row = CellScores.load(store.path(cell, ".npz")), store.read(cell) or {}
            if scores.names.tolist() != names.setdefault(cell.category, scores.names.tolist()):
                path = store.path(cell)
                raise SeasError(f"{path}: has other test images than the cells before; delete it to measure it again.")
            self._groups[cell.category] = scores.groups.tolist()
            pair = self._pairs.setdefault(cell.category, {}).setdefault(cell.network, _Pair())
            side = int(cell.source == baseline)
            pair.figures[side].append(FIGURES[self.metric](scores))
            pair.values[side].append(float(row["metrics"][self.metric]))
            pair.precisions.add(str(row.get("precision", "unknown")))
        self._pairs = {
            category: both
            for category, networks in self._pairs.items()
            if (both := {name: pair for name, pair in networks.items() if all(pair.figures)})
        }

    @property
    def categories(self) -> list[str]:
        """Categories with both sources."""
        return sorted(self._pairs)

    @property
    def networks(self) -> list[str]:
        """Networks with both sources."""
        return sorted({name for networks in self._pairs.values() for name in networks})

    def of(self, category: str = ALL, network: str = ALL, draws: int = 2000) -> dict[str, Any] | None:
        """Return a gain.

        Args:
            category: name, or ``all`` for the mean over them.
            network: name, or ``all`` for the mean over them.
            draws: samples of the bootstrap.

        Returns:
            ``mean``, ``low`` and ``high`` in points, the ``categories``, ``networks`` and ``precisions`` that it is
            made of, and ``seeds``: the least number of seeds of one of them. The mean is that of the cells' metrics;
            the interval, from coarser histograms, is moved along with it. None where nothing was measured with both.
        """
        chosen = {
            name: {one: pair for one, pair in networks.items() if network in (ALL, one)}
            for name, networks in self._pairs.items()
            if category in (ALL, name)
        }
        chosen = {name: networks for name, networks in chosen.items() if networks}
        if not chosen:
            return None
        comparisons = {
            name: Comparison(self._groups[name], [pair.figures for pair in networks.values()])
            for name, networks in chosen.items()
        }
        found = paired_gain(comparisons, draws=draws)
        means = [
            np.mean([np.mean(p.values[0]) - np.mean(p.values[1]) for p in one.values()]) for one in chosen.values()
        ]
        moved = float(np.mean(means)) - found.mean
        pairs = [pair for networks in chosen.values() for pair in networks.values()]
        return {
            **Interval(found.mean + moved, found.low + moved, found.high + moved).as_points(),
            "categories": sorted(chosen),
            "networks": sorted({name for networks in chosen.values() for name in networks}),
            "seeds": min(len(side) for pair in pairs for side in pair.values),
            "precisions": sorted(set().union(*(pair.precisions for pair in pairs))),
        }


def check_comparable(cells: Sequence[Cell], store: CellStore) -> None:
    """Refuse to compare cells of a network and category that were trained with different settings or on other images.

    Args:
        cells: whatever differs between sources by nature, such as pairs, may differ; the images' quality is left out.
        store: where they lie, for the message.

    Raises:
        SeasError: which two differ, and in what.
    """
    first: dict[tuple[str, str, str], Cell] = {}
    for cell in (cell for cell in cells if cell.task in HEADLINE):
        known = first.setdefault((cell.task, cell.category, cell.network), cell)
        names = sorted((cell.settings.keys() | known.settings.keys()) - _OWN)
        different = [name for name in names if cell.settings.get(name) != known.settings.get(name)]
        if different:
            name = different[0]
            raise SeasError(
                f"{store.folder}: {known} ({known.key}) has {name} {known.settings.get(name)}, and {cell} ({cell.key}) "
                f"has {cell.settings.get(name)}; they cannot be compared, delete the files of one of them."
            )


def gain_rows(cells: Sequence[Cell], store: CellStore, draws: int = 2000) -> list[dict[str, Any]]:
    """Return the gains of each task over each opponent: by network and category, and their means.

    Args:
        cells: the grid.
        store: the results.
        draws: samples of the bootstrap.

    Returns:
        Rows of :meth:`Gains.of` with ``task``, ``metric``, ``baseline``, ``network`` and ``category``, the last two
        ``all`` for a mean over more than one.
    """
    rows = []
    for task, opponents in OPPONENTS.items():
        for baseline in opponents:
            gains = Gains(cells, store, task, baseline)
            for network in [*([ALL] if len(gains.networks) > 1 else []), *gains.networks]:
                for category in [*([ALL] if len(gains.categories) > 1 else []), *gains.categories]:
                    found = gains.of(category, network, draws)
                    if found is not None:
                        where = {"task": task, "metric": gains.metric, "baseline": baseline}
                        rows.append({**where, "network": network, "category": category, **found})
    return rows


def gain_of(rows: Sequence[Mapping[str, Any]], task: str, baseline: str, network: str) -> dict[str, Any] | None:
    """Return the row of a mean over all categories, or of the only category there is.

    Args:
        rows: of :func:`gain_rows`.
        task: of the row.
        baseline: of the row.
        network: of the row; ``all`` takes the only network where there is one.
    """
    found = [row for row in rows if (row["task"], row["baseline"]) == (task, baseline)]
    for name in [network, *({row["network"] for row in found} if network == ALL else ())]:
        own = [row for row in found if row["network"] == name]
        if own:
            return dict(own[0])  # the mean comes first
    return None
