# SPDX-License-Identifier: Apache-2.0
"""Detectors that learn from labelled defect images: generated ones take the place of some normal ones of a batch."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor
from torchvision import tv_tensors

from seas_aug.anomalib_plugin.registry import DetectorAdapter, register_adapter
from seas_aug.anomalib_plugin.sources import DefectSource
from seas_aug.errors import SeasError


@register_adapter("Supersimplenet")
class LabelledAdapter(DetectorAdapter):
    """Puts whole generated images into the batch, with their masks and the label 1.

    SuperSimpleNet adds noise to features too, which stays as it is and is the only source of anomalies without this.
    """

    makes_own_anomalies = True
    """Whether the detector makes anomalies too where a row of ``perlin_ratio`` is left to it."""

    def __init__(self) -> None:
        self._source: DefectSource | None = None
        self._started = False

    def attach(self, model: LightningModule, source: DefectSource) -> None:
        """Remember the source; the detector itself stays as it is.

        Args:
            model: the detector.
            source: what to draw from.

        Raises:
            SeasError: a share of the defects is to be the detector's own, and it has none.
        """
        if source.perlin_ratio and not self.makes_own_anomalies:
            message = f"{type(model).__name__} makes no anomalies of its own; leave out augmentation.perlin_ratio."
            raise SeasError(message)
        self._source, self._started = source, False

    def prepare_batch(self, model: LightningModule, batch: Any) -> None:
        """Replace the drawn rows of ``image``, ``gt_mask`` and ``gt_label``; one row at least stays normal.

        Args:
            model: the detector.
            batch: anomalib's ``ImageBatch``, before the pre-processor; without masks it gets empty ones.

        Raises:
            SeasError: the adapter was not attached, or the first batch is a single image.
        """
        if self._source is None:
            message = "The adapter was given a batch before it was attached; call attach first."
            raise SeasError(message)
        image: Tensor = batch.image.as_subclass(Tensor).clone()
        count, height, width = image.shape[0], *image.shape[-2:]
        if count == 1 and not self._started:  # not the last batch of an epoch
            message = (
                f"{type(model).__name__} needs a normal image in each batch beside the defects; give a "
                "data.init_args.train_batch_size of 2 or more."
            )
            raise SeasError(message)
        rows = self._source.choose(count)[0][: max(count - 1, 0)]  # UniNet's loss needs normal pixels
        images, masks, _ = self._source.pool.draw(self._source.generator, len(rows), (height, width))
        mask = image.new_zeros((count, height, width), dtype=torch.bool)
        if batch.gt_mask is not None:
            mask = batch.gt_mask.as_subclass(Tensor).bool().reshape(count, height, width).clone()
        label = image.new_zeros(count, dtype=torch.bool)
        if batch.gt_label is not None:
            label = batch.gt_label.as_subclass(Tensor).bool().clone()
        self._started = True
        if rows:
            image[rows] = images.to(image.device, image.dtype)
            mask[rows] = masks[:, 0].to(mask.device) > 0
            label[rows] = True
        batch.image, batch.gt_mask, batch.gt_label = tv_tensors.Image(image), tv_tensors.Mask(mask), label

    def detach(self, model: LightningModule) -> None:
        """Forget the source.

        Args:
            model: the detector.
        """
        del model
        self._source = None


@register_adapter("UniNet")
class UniNetAdapter(LabelledAdapter):
    """UniNet learns from labelled images and makes no anomalies itself."""

    makes_own_anomalies = False
