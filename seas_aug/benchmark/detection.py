# SPDX-License-Identifier: Apache-2.0
"""anomalib's detectors in a benchmark: training on a source of anomalies, and what they say about the test images."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from anomalib.data import PredictDataset, Tabular
from anomalib.engine import Engine
from anomalib.models.components.base import AnomalibModule
from lightning import seed_everything
from lightning.pytorch import Callback
from torch.utils.data import ConcatDataset, DataLoader, Dataset
from torchvision.transforms.v2 import Resize

from seas_aug.benchmark.predictions import Predictions
from seas_aug.benchmark.test_set import TruePictures, load_masks
from seas_aug.data.category import read_mvtec_folder
from seas_aug.errors import SeasError

_KEPT_BYTES = 2**30  # of decoded images; more are read anew each time


class KeptImages(Dataset):
    """A data set whose items are decoded once, which takes longer than a compact detector's update on a GPU.

    Args:
        items: anomalib's data set, whose items are the same each time.
        limit: bytes of images to keep.
    """

    def __init__(self, items: Any, limit: int = _KEPT_BYTES) -> None:
        self._items, self._left = items, limit
        self._kept: dict[int, Any] = {}

    def __len__(self) -> int:
        """Number of items."""
        return len(self._items)

    def __getitem__(self, index: int) -> Any:
        """Return an item; its image is not to be changed in place."""
        if index in self._kept:
            return copy(self._kept[index])  # anomalib's collate function puts resized images into items
        item = self._items[index]
        size = sum(part.numel() * part.element_size() for part in (item.image, item.gt_mask) if part is not None)
        if size <= self._left:
            self._kept[index] = item
            self._left -= size
        return copy(item)


class _Category(Tabular):
    """anomalib's table of images, each decoded once for training."""

    def train_dataloader(self) -> Any:
        """Return what anomalib's own does, from kept images."""
        return DataLoader(
            KeptImages(self.train_data),
            shuffle=True,
            batch_size=self.train_batch_size,
            num_workers=self.num_workers,
            collate_fn=self.external_collate_fn or self.train_data.collate_fn,
        )


def train_detector(
    model: AnomalibModule,
    root: Path,
    callbacks: Sequence[Callback],
    output: Path,
    steps: int,
    batch_size: int,
    seed: int,
) -> tuple[Engine, Tabular]:
    """Train a detector on a category.

    Args:
        model: anomalib's detector, made after ``seed_everything(seed)``.
        root: category in MVTec layout.
        callbacks: the augmentation, which says where anomalies come from, and others.
        output: folder for anomalib's own files.
        steps: optimiser updates; 0 for detectors that learn in one pass.
        batch_size: images per update.
        seed: seed of the order.

    Returns:
        The engine, and the datamodule, whose test set is without the images that SeaS was fine-tuned on.

    Raises:
        SeasError: a folder cannot be used.
    """
    seed_everything(seed, workers=True)
    datamodule = (_Category if steps else Tabular)(  # in one pass each image is read once anyway
        name=root.name,
        samples=list_samples(root),
        train_batch_size=batch_size,
        eval_batch_size=8,
        num_workers=0,
        val_split_mode="same_as_test",
    )
    length: dict[str, Any] = {"max_steps": steps} if steps else {"max_epochs": 1}
    engine = Engine(
        callbacks=list(callbacks),
        default_root_dir=output,
        limit_val_batches=0,
        num_sanity_val_steps=0,
        logger=False,
        enable_model_summary=False,
        accelerator="auto",
        devices=1,
        **length,
    )
    engine.fit(model=model, datamodule=datamodule)
    return engine, datamodule


def list_samples(root: Path) -> list[dict[str, Any]]:
    """Return a category as the table that anomalib's ``Tabular`` reads.

    anomalib's ``MVTecAD`` reads png files alone and pairs images with masks by the order of their names.

    Args:
        root: category in MVTec layout, with files of any kind that seas_aug reads.

    Raises:
        SeasError: a folder cannot be read.
    """
    category = read_mvtec_folder(root)
    rows: list[tuple[Path, str, Path | None]] = [(path, "train", None) for path in category.normals]
    rows += [(path, "test", None) for path in category.test_others]
    rows += [(one.image, "test", one.mask) for samples in category.defects.values() for one in samples]
    return [
        {
            "image_path": str(image.absolute()),
            "split": split,
            "label_index": int(mask is not None),
            "mask_path": "" if mask is None else str(mask.absolute()),
        }
        for image, split, mask in rows
    ]


def predict(
    engine: Engine, model: AnomalibModule, pictures: TruePictures, size: int, batch_size: int = 8
) -> Predictions:
    """Return what a trained detector says about images.

    Args:
        engine: what it was trained with.
        model: the detector.
        pictures: what to look at.
        size: side of the maps and masks in pixels.
        batch_size: images at a time.

    Raises:
        SeasError: the detector makes no anomaly maps.
    """
    # Each file a data set of its own, because a PredictDataset is one file or one folder; resized at once, because
    # anomalib's collate function stretches a batch's images to the size of the first one.
    resize = Resize((size, size), antialias=True)
    sets = [PredictDataset(path=path, transform=resize) for path in pictures.images]
    together: Any = ConcatDataset(sets)
    loader = DataLoader(together, batch_size=batch_size, collate_fn=sets[0].collate_fn, num_workers=0)
    found: Sequence[Any] = engine.predict(model=model, dataloaders=loader) or ()
    if any(batch.anomaly_map is None for batch in found):
        raise SeasError(f"{type(model).__name__} makes no anomaly maps, so it has no pixel metrics; leave it out.")
    maps = torch.cat([batch.anomaly_map.float().cpu().reshape(-1, 1, *batch.anomaly_map.shape[-2:]) for batch in found])
    if maps.shape[-2:] != (size, size):
        maps = torch.nn.functional.interpolate(maps, size=(size, size), mode="bilinear", antialias=True)
    scores = torch.cat([batch.pred_score.float().cpu().flatten() for batch in found]).numpy()
    names = [Path(path) for batch in found for path in batch.image_path]
    if names != list(pictures.images):
        raise SeasError("anomalib returned other images than it was given, or in another order.")
    masks = load_masks(pictures.masks, size)
    return Predictions(maps[:, 0].numpy().astype(np.float32), masks, scores, pictures.names, pictures.groups)
