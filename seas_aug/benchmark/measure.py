# SPDX-License-Identifier: Apache-2.0
"""Measures one cell of the grid: trains its network, tests it, and keeps the figures and the scores."""

from __future__ import annotations

import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from seas_aug.artifact.atomic import atomic_write
from seas_aug.benchmark.grid import CategoryFolders, Cell, needs_pairs
from seas_aug.benchmark.predictions import Overlaps, Predictions, evaluate
from seas_aug.benchmark.scores import ScoreHistograms
from seas_aug.benchmark.store import CellStore
from seas_aug.benchmark.test_set import read_test_set
from seas_aug.errors import SeasError
from seas_aug.precision import best_precision

_FACTOR = 4  # bins of the metrics to one bin that is kept; a quarter of a thousand is enough for an interval


@dataclass(frozen=True)
class CellScores:
    """What is kept of a cell to compare it with others image by image.

    Args:
        histograms: pixel scores of the test images.
        overlaps: pixels found of each image, at the threshold of the other half.
        image_scores: score of each image, ``[N]``.
        labels: which images show a defect, bool ``[N]``.
        names: path of each image, ``[N]``.
        groups: group of each image, ``[N]``.
    """

    histograms: ScoreHistograms
    overlaps: Overlaps
    image_scores: NDArray[Any]
    labels: NDArray[np.bool_]
    names: NDArray[Any]
    groups: NDArray[Any]

    def save(self, path: Path) -> None:
        """Write to an ``.npz`` file, which is loaded without pickle."""
        found = self.histograms
        with atomic_write(path) as file:
            np.savez_compressed(
                file,
                edges=found.edges,
                positives=found.positives.astype(np.int32),
                negatives=found.negatives.astype(np.int32),
                found=self.overlaps.found,
                wrong=self.overlaps.wrong,
                size=self.overlaps.size,
                image_scores=self.image_scores,
                labels=self.labels,
                names=self.names,
                groups=self.groups,
            )

    @classmethod
    def load(cls, path: Path) -> CellScores:
        """Read what :meth:`save` wrote.

        Raises:
            SeasError: the file is missing or damaged.
        """
        try:
            with np.load(path) as content:
                counts = (content[kind].astype(np.int64) for kind in ("positives", "negatives"))
                rest = (content[name] for name in ("image_scores", "labels", "names", "groups"))
                overlaps = Overlaps(*(content[name] for name in ("found", "wrong", "size")))
                return cls(ScoreHistograms(content["edges"], *counts), overlaps, *rest)
        except (OSError, ValueError, KeyError, BadZipFile) as error:
            message = f"{path}: cannot be read ({error}); delete the cell's .json, and it is measured again."
            raise SeasError(message) from error


@dataclass(frozen=True)
class Measurement:
    """Measures cells; a value that can be sent to another process.

    Args:
        folders: of each category, by its name.
        store: where scores are kept.
        textures: pictures that fill Perlin anomalies; None renders some.
        alone: of a category that SeaS is still fine-tuned on, where its split lies, for cells that need no pairs.
    """

    folders: dict[str, CategoryFolders]
    store: CellStore
    textures: Path | None = None
    alone: dict[str, CategoryFolders] = field(default_factory=dict)

    def __call__(self, cell: Cell) -> dict[str, Any]:
        """Train and test; keep the scores, return the figures.

        Args:
            cell: its ``settings`` are those of the network.

        Returns:
            ``metrics``, see :func:`~seas_aug.benchmark.predictions.evaluate`, ``test_images`` and ``precision``, that
            of the training here; of ``quality`` and ``masks`` other ``metrics``, and the ``types`` that they are of.

        Raises:
            SeasError: an unknown task, network or source, or a folder that cannot be used.
        """
        folders = self.folders[cell.category]
        if not needs_pairs(cell):
            folders = self.alone.get(cell.category, folders)
        if cell.task == "quality":
            from seas_aug.benchmark.quality import measure_quality

            chosen = {name: cell.settings[name] for name in ("size", "count")}
            found = measure_quality(
                folders, cell.source, seed=cell.seed, features=cell.network, textures=self.textures, **chosen
            )
            return {"types": found.pop("types"), "metrics": found}
        if cell.task == "masks":
            from seas_aug.benchmark.mask_quality import measure_masks

            found = measure_masks(folders, cell.seed)
            return {"types": found.pop("types"), "metrics": found}
        test = segment(cell, folders) if cell.task == "segmentation" else detect(cell, folders, self.textures)
        metrics, histograms, overlaps = evaluate(test)
        CellScores(
            histograms.coarser(_FACTOR),
            overlaps,
            test.scores.astype(np.float32),
            test.labels,
            np.array(test.names),
            np.array(test.groups),
        ).save(self.store.path(cell, ".npz"))
        save_maps(self.store.path(cell, ".maps.npz"), test.maps)
        return {"metrics": metrics, "test_images": len(test.names), "precision": precision_of(cell)}


def precision_of(cell: Cell) -> str:
    """Return the precision in which the network of a cell trains on this hardware."""
    if cell.task == "segmentation":
        return str(cell.settings.get("precision") or best_precision())
    from seas_aug.benchmark.detectors import get_variant

    return get_variant(cell.network).precision()


def save_maps(path: Path, maps: NDArray[np.float32]) -> None:
    """Write anomaly maps ``[N, H, W]`` to look at: 8 bit, from their lowest value (0) to their highest (255)."""
    lowest, highest = float(maps.min()), float(maps.max())
    scaled = (maps - lowest) / max(highest - lowest, 1e-12) * 255
    with atomic_write(path) as file:
        np.savez_compressed(file, maps=scaled.round().astype(np.uint8))


def segment(cell: Cell, folders: CategoryFolders) -> Predictions:
    """Train a segmentation network; return what it says about the test images."""
    from seas_aug.benchmark.segmentation import SegmentationSettings, predict, train_network

    names = SegmentationSettings.__dataclass_fields__
    settings = SegmentationSettings(**{name: value for name, value in cell.settings.items() if name in names})
    module = train_network(folders, cell.source, settings, cell.seed)
    return predict(module, read_test_set(folders))


def detect(cell: Cell, folders: CategoryFolders, textures: Path | None = None) -> Predictions:
    """Train one of anomalib's detectors; return what it says about the test images."""
    from lightning import seed_everything

    from seas_aug.anomalib_plugin.callback import SeasAugmentation
    from seas_aug.anomalib_plugin.textures import make_textures
    from seas_aug.benchmark.detection import predict, train_detector
    from seas_aug.benchmark.detectors import get_variant

    variant = get_variant(cell.network)
    size, steps, batch_size = (int(cell.settings[name]) for name in ("size", "steps", "batch_size"))
    with tempfile.TemporaryDirectory() as folder:
        textures = textures or make_textures(Path(folder) / "textures", size=size, seed=0)
        seed_everything(cell.seed)
        model = variant.make(size, str(textures))
        source: Any = cell.source
        augmentation = SeasAugmentation(
            run=str(folders.run),
            generated=str(folders.generated),
            source=source,
            num_images=folders.normals if variant.one_class else folders.pairs,
            seed=cell.seed,
        )
        output = Path(folder) / "anomalib"
        engine, _ = train_detector(model, folders.root, [augmentation], output, steps, batch_size, cell.seed)
        return predict(engine, model, read_test_set(folders), size)


def detector_settings(name: str, **changed: Any) -> dict[str, Any]:
    """Return the settings of a detector's variant for a cell.

    Args:
        name: see :data:`~seas_aug.benchmark.detectors.VARIANTS`.
        changed: other values than the variant's, such as ``steps``.

    Raises:
        SeasError: an unknown detector.
    """
    from seas_aug.benchmark.detectors import get_variant

    variant = get_variant(name)
    return {"size": variant.size, "steps": variant.steps, "batch_size": variant.batch_size, **changed}


def segmentation_settings(**options: Any) -> dict[str, Any]:
    """Return all settings of a segmentation network for a cell, see ``SegmentationSettings``."""
    from seas_aug.benchmark.segmentation import SegmentationSettings

    return asdict(SegmentationSettings(**options))
