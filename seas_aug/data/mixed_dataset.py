# SPDX-License-Identifier: Apache-2.0
"""The training sequence: anomalies of all types mixed, each with a normal; item i depends on i alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.data import Dataset

from seas_aug.config import DataConfig
from seas_aug.data.augmentation import Augmentation, apply_augmentation, draw_augmentation
from seas_aug.data.images import to_model_range
from seas_aug.data.pictures import Pictures
from seas_aug.data.seeds import derive_seed


@dataclass(frozen=True)
class Draw:
    """What one item of the sequence shows.

    Args:
        anomaly_index: number of the anomaly picture.
        anomaly_augmentation: applied to the anomaly image and its mask.
        normal_index: number of the normal picture.
        normal_augmentation: applied to the normal image.
    """

    anomaly_index: int
    anomaly_augmentation: Augmentation
    normal_index: int
    normal_augmentation: Augmentation


class MixedDataset(Dataset[dict[str, Any]]):
    """Deterministic sequence of (anomaly image, mask, normal image).

    With ``order: types`` every run of K items has each of the K types once, in shuffled order, and within a type all
    images are seen before one comes again; with ``order: images`` all images of all types are. Likewise for normals,
    which are drawn independently. So a run that starts at ``start_item`` continues exactly.

    Args:
        pictures: anomalies and normals.
        config: ``order``, ``rotate``, ``flip`` and ``turn_together`` are used.
        num_items: length of the dataset.
        seed: base seed of the sequence.
        start_item: position in the sequence of item 0.
    """

    def __init__(self, pictures: Pictures, config: DataConfig, num_items: int, seed: int, start_item: int = 0) -> None:
        self.pictures = pictures
        self.anomaly_types = tuple(sorted(set(pictures.types)))
        self._config = config
        self._num_items = num_items
        self._seed = seed
        self._start = start_item
        # Image after image, each with its own windows: one with many is not seen more often.
        # Groups come equally often: the types, or all images as one.
        self._groups = {
            name: _by_source(pictures, [i for i, kind in enumerate(pictures.types) if name in ("", kind)])
            for name in (self.anomaly_types if config.order == "types" else ("",))
        }
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
            ``anomaly_augmentation`` and ``normal_augmentation`` (codes 0 to 7), which identify the pictures exactly;
            the indices of windows are -1.

        Raises:
            IndexError: ``index`` is outside of the dataset.
            SeasError: a file is missing or corrupt.
        """
        draw = self.draw(index)
        image, mask = self.anomaly(draw.anomaly_index, draw.anomaly_augmentation)
        # A window hardly ever comes again in the same augmentation, so that its latents are not worth keeping.
        kept = not self.pictures.are_windows
        return {
            "anomaly_image": image,
            "mask": mask,
            "anomaly_type": self.pictures.types[draw.anomaly_index],
            "normal_image": self.normal(draw.normal_index, draw.normal_augmentation),
            "anomaly_index": draw.anomaly_index if kept else -1,
            "normal_index": draw.normal_index if kept else -1,
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
        occurrence, place = divmod(item, len(self._groups))
        group = self._order("types", occurrence, len(self._groups))[place]
        name, members = list(self._groups.items())[group]
        cycle, position = divmod(occurrence, len(members))
        chosen = self._order(f"type {name}", cycle, len(members))[position]
        turn, window = divmod(cycle, len(members[chosen]))
        shown = self._order(f"windows {group} {chosen}", turn, len(members[chosen]))[window]
        anomaly = members[chosen][shown]
        cycle, position = divmod(item, self.pictures.num_normals)
        generator = torch.Generator().manual_seed(derive_seed(self._seed, "augmentation", item))
        turned, other = (draw_augmentation(generator, self._config.rotate, self._config.flip) for _ in range(2))
        return Draw(
            anomaly_index=anomaly,
            anomaly_augmentation=turned,
            normal_index=self._order("normals", cycle, self.pictures.num_normals)[position],
            normal_augmentation=turned if self._config.turn_together else other,
        )

    def anomaly(self, index: int, augmentation: Augmentation) -> tuple[torch.Tensor, torch.Tensor]:
        """Return an anomaly picture and its mask with one augmentation.

        Args:
            index: number of the anomaly picture.
            augmentation: applied to both.

        Returns:
            Image float [3, H, W] in [-1, 1] and mask float [1, H, W] of 0 and 1.

        Raises:
            SeasError: a file is missing or corrupt.
        """
        pair = self.pictures.anomaly(index)
        image, mask = apply_augmentation(pair, augmentation).split([3, 1])
        return to_model_range(image), mask.to(torch.float32)

    def normal(self, index: int, augmentation: Augmentation) -> torch.Tensor:
        """Return a normal picture with an augmentation.

        Args:
            index: number of the normal picture.
            augmentation: applied to it.

        Returns:
            float [3, H, W] in [-1, 1].

        Raises:
            SeasError: the file is missing or corrupt.
        """
        return to_model_range(apply_augmentation(self.pictures.normal(index), augmentation))

    def _order(self, name: str, cycle: int, count: int) -> list[int]:
        """Shuffled 0 .. count - 1 of one pass; the latest pass of each name is remembered."""
        key = (name, cycle)
        if key not in self._orders:
            generator = torch.Generator().manual_seed(derive_seed(self._seed, name, cycle))
            self._orders = {k: v for k, v in self._orders.items() if k[0] != name}
            self._orders[key] = torch.randperm(count, generator=generator).tolist()
        return self._orders[key]


def _by_source(pictures: Pictures, members: list[int]) -> list[list[int]]:
    """Return the pictures of each image among some."""
    found: dict[int, list[int]] = {}
    for member in members:
        found.setdefault(pictures.sources[member], []).append(member)
    return list(found.values())
