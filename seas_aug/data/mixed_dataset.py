# SPDX-License-Identifier: Apache-2.0
"""The training sequence: anomalies of all types mixed, each with an independent normal; item i depends on i alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset

from seas_aug.config import DataConfig
from seas_aug.data.augmentation import Augmentation, apply_augmentation, draw_augmentation
from seas_aug.data.few_shot import FewShotSplit
from seas_aug.data.images import load_image, load_mask, to_model_range
from seas_aug.data.seeds import derive_seed

_CACHE_BYTES = 2 * 2**30


@dataclass(frozen=True)
class Draw:
    """What one item of the sequence shows.

    Args:
        anomaly_index: position in ``MixedDataset.samples``.
        anomaly_augmentation: applied to the anomaly image and its mask.
        normal_index: position in ``MixedDataset.normals``.
        normal_augmentation: applied to the normal image.
    """

    anomaly_index: int
    anomaly_augmentation: Augmentation
    normal_index: int
    normal_augmentation: Augmentation


class MixedDataset(Dataset[dict[str, Any]]):
    """Deterministic sequence of (anomaly image, mask, normal image).

    Every run of K items has each of the K types once, in shuffled order; within a type all images are seen before one
    comes again, and likewise for the normals. So a run that starts at ``start_item`` continues exactly.

    Args:
        split: its few-shot samples are the anomalies.
        normals: normal images.
        config: ``resize``, ``rotate`` and ``flip`` are used.
        image_size: side of the square in pixels.
        num_items: length of the dataset.
        seed: base seed of the sequence.
        start_item: position in the sequence of item 0.

    Decoded squares are kept in memory (up to 2 GiB), so that each file is decoded once per process.
    """

    def __init__(
        self,
        split: FewShotSplit,
        normals: Sequence[Path],
        config: DataConfig,
        image_size: int,
        num_items: int,
        seed: int,
        start_item: int = 0,
    ) -> None:
        self.samples = split.samples
        self.normals = tuple(normals)
        self.anomaly_types = split.anomaly_types
        self._config = config
        self._size = image_size
        self._num_items = num_items
        self._seed = seed
        self._start = start_item
        self._of_type = [
            [i for i, sample in enumerate(self.samples) if sample.anomaly_type == anomaly_type]
            for anomaly_type in self.anomaly_types
        ]
        self._cache: dict[tuple[str, int], torch.Tensor] = {}
        self._cached_bytes = 0
        self._orders: dict[tuple[str, int], list[int]] = {}

    def __len__(self) -> int:
        return self._num_items

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return one item.

        Args:
            index: 0 to ``len(self) - 1``.

        Returns:
            ``anomaly_image`` float [3, H, W] in [-1, 1], ``mask`` float [1, H, W] of 0 and 1, ``anomaly_type``,
            ``normal_image`` float [3, H, W] in [-1, 1], and the integers ``anomaly_index``, ``normal_index``,
            ``anomaly_augmentation`` and ``normal_augmentation`` (codes 0 to 7), which identify the pictures exactly.

        Raises:
            IndexError: ``index`` is outside of the dataset.
            SeasError: a file is missing or corrupt.
        """
        draw = self.draw(index)
        image, mask = self.anomaly(draw.anomaly_index, draw.anomaly_augmentation)
        return {
            "anomaly_image": image,
            "mask": mask,
            "anomaly_type": self.samples[draw.anomaly_index].anomaly_type,
            "normal_image": self.normal(draw.normal_index, draw.normal_augmentation),
            "anomaly_index": draw.anomaly_index,
            "normal_index": draw.normal_index,
            "anomaly_augmentation": draw.anomaly_augmentation.code,
            "normal_augmentation": draw.normal_augmentation.code,
        }

    def draw(self, index: int) -> Draw:
        """Tell what item ``index`` shows, without opening an image.

        Args:
            index: 0 to ``len(self) - 1``.

        Returns:
            The indices and augmentations.

        Raises:
            IndexError: ``index`` is outside of the dataset.
        """
        if not 0 <= index < self._num_items:
            raise IndexError(index)
        item = self._start + index
        occurrence, place = divmod(item, len(self._of_type))
        type_index = self._order("types", occurrence, len(self._of_type))[place]
        members = self._of_type[type_index]
        cycle, position = divmod(occurrence, len(members))
        anomaly = members[self._order(f"type {self.anomaly_types[type_index]}", cycle, len(members))[position]]
        cycle, position = divmod(item, len(self.normals))
        generator = torch.Generator().manual_seed(derive_seed(self._seed, "augmentation", item))
        return Draw(
            anomaly_index=anomaly,
            anomaly_augmentation=draw_augmentation(generator, self._config.rotate, self._config.flip),
            normal_index=self._order("normals", cycle, len(self.normals))[position],
            normal_augmentation=draw_augmentation(generator, self._config.rotate, self._config.flip),
        )

    def anomaly(self, index: int, augmentation: Augmentation) -> tuple[torch.Tensor, torch.Tensor]:
        """Load an anomaly image and its mask with one augmentation.

        Args:
            index: position in ``samples``.
            augmentation: applied to both.

        Returns:
            Image float [3, H, W] in [-1, 1] and mask float [1, H, W] of 0 and 1.

        Raises:
            SeasError: a file is missing or corrupt.
        """
        pair = self._load("anomaly", index)
        image, mask = apply_augmentation(pair, augmentation).split([3, 1])
        return to_model_range(image), mask.to(torch.float32)

    def normal(self, index: int, augmentation: Augmentation) -> torch.Tensor:
        """Load a normal image with an augmentation.

        Args:
            index: position in ``normals``.
            augmentation: applied to it.

        Returns:
            float [3, H, W] in [-1, 1].

        Raises:
            SeasError: the file is missing or corrupt.
        """
        return to_model_range(apply_augmentation(self._load("normal", index), augmentation))

    def _load(self, kind: str, index: int) -> torch.Tensor:
        key = (kind, index)
        if key in self._cache:
            return self._cache[key]
        if kind == "normal":
            pixels = load_image(self.normals[index], self._size, self._config.resize)  # (3, H, W)
        else:
            sample = self.samples[index]
            image = load_image(sample.image, self._size, self._config.resize)
            pixels = torch.cat([image, load_mask(sample.mask, self._size, self._config.resize)])  # (4, H, W)
        if self._cached_bytes + pixels.numel() <= _CACHE_BYTES:
            self._cache[key] = pixels
            self._cached_bytes += pixels.numel()
        return pixels

    def _order(self, name: str, cycle: int, count: int) -> list[int]:
        """Shuffled 0 .. count - 1 of one pass; the latest pass of each name is remembered."""
        key = (name, cycle)
        if key not in self._orders:
            generator = torch.Generator().manual_seed(derive_seed(self._seed, name, cycle))
            self._orders = {k: v for k, v in self._orders.items() if k[0] != name}
            self._orders[key] = torch.randperm(count, generator=generator).tolist()
        return self._orders[key]
