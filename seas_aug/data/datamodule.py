# SPDX-License-Identifier: Apache-2.0
"""Lightning data module over :class:`MixedDataset`."""

from __future__ import annotations

from typing import Any

import lightning
from torch.utils.data import DataLoader

from seas_aug.config import DataConfig, VariationConfig
from seas_aug.data.mixed_dataset import MixedDataset
from seas_aug.data.pictures import Pictures
from seas_aug.data.varied_dataset import VariedDataset


class FewShotDataModule(lightning.LightningDataModule):
    """Training batches of anomalies and independent normals; one pass is the whole training.

    A batch has ``anomaly_image`` float [B, 3, H, W] in [-1, 1], ``mask`` float [B, 1, H, W] of 0 and 1,
    ``anomaly_type`` list of B names, ``normal_image`` float [B, 3, H, W] in [-1, 1], and int64 [B] tensors
    ``anomaly_index``, ``normal_index``, ``anomaly_augmentation`` and ``normal_augmentation`` (codes 0 to 7); the
    index of a varied image is -1.

    Args:
        pictures: anomalies and normals.
        config: ``rotate``, ``flip`` and ``num_workers`` are used.
        batch_size: B.
        seed: base seed of the sequence.
        num_steps: batches of the whole training (updates x accumulation).
        start_step: batches already done; the first batch given is number ``start_step`` of the sequence.
        variation: how the images are varied beyond turning; None means not.
        twins: a batch has ``twin_image`` too, the anomaly images without their defects, in [-1, 1].
    """

    def __init__(
        self,
        pictures: Pictures,
        config: DataConfig,
        batch_size: int,
        seed: int,
        num_steps: int,
        start_step: int = 0,
        variation: VariationConfig | None = None,
        twins: bool = False,
    ) -> None:
        super().__init__()
        self.batch_size = batch_size
        self.num_workers = config.num_workers
        start, items = start_step * batch_size, max(0, num_steps - start_step) * batch_size
        mixed = MixedDataset(pictures, config, items, seed, start)
        self.dataset: MixedDataset | VariedDataset = mixed
        varied = variation or VariationConfig(paste_share=0.0, zoom_share=0.0, move=False, light=False)
        if twins or varied.varies:
            self.dataset = VariedDataset(mixed, varied, seed, start, twins)

    def train_dataloader(self) -> DataLoader[dict[str, Any]]:
        """Return the batches in the order of the sequence (the dataset itself is shuffled)."""
        return DataLoader(
            self.dataset,
            batch_size=self.batch_size,
            shuffle=False,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
        )
