# SPDX-License-Identifier: Apache-2.0
"""DRAEM: a generated defect is pasted by its exact mask on the real normal image it started from.

DRAEM reconstructs ``batch.image`` from ``augmenter(batch.image)``. So the clean twin of a pair, its reference, has to
be the batch image: the adapter puts references into the batch before pre-processing, and the augmenter that stands in
for anomalib's Perlin generator pastes the matching defects afterwards.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torchvision import tv_tensors

from seas_aug.anomalib_plugin.registry import DefectSource, DetectorAdapter, register_adapter
from seas_aug.errors import SeasError


@dataclass(frozen=True)
class Pairs:
    """The defects of one batch, as large as the augmenter sees the batch.

    Args:
        rows: batch rows of the generated pairs.
        images: generated pictures ``[n, 3, H, W]`` in [0, 1].
        masks: ``[n, 1, H, W]`` of 0 and 1.
        references: the real normals in those rows, ``[n, 3, H, W]`` in [0, 1].
        perlin_rows: batch rows that get a defect from anomalib's own generator.
    """

    rows: list[int]
    images: Tensor
    masks: Tensor
    references: Tensor
    perlin_rows: list[int]


class PasteAugmenter(nn.Module):
    """Stand-in for ``Draem.augmenter``; it adds nothing to the detector's ``state_dict``.

    Args:
        perlin: the generator it stands in for, used for ``perlin_rows``.
    """

    def __init__(self, perlin: nn.Module) -> None:
        super().__init__()
        always = copy.copy(perlin)
        always.probability = 1.0  # type: ignore[assignment]
        object.__setattr__(self, "_perlin", always)  # hidden from state_dict
        self._pairs: Pairs | None = None

    def hand_over(self, pairs: Pairs) -> None:
        """Set the defects of the next batch."""
        self._pairs = pairs

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Paste the defects that were handed over for this batch.

        Args:
            image: clean batch ``[B, 3, H, W]`` in [0, 1], with the references in the rows of the pairs.

        Returns:
            The batch with defects, and the masks ``[B, 1, H, W]`` of 0 and 1 in the batch's dtype. Outside the mask a
            picture equals the clean one exactly.

        Raises:
            SeasError: no pairs were handed over, or the references did not arrive unchanged.
        """
        pairs, self._pairs = self._pairs, None
        if pairs is None:
            message = "DRAEM asked for a defect outside a training batch; train it through anomalib's Engine."
            raise SeasError(message)
        clean = image.as_subclass(Tensor)
        augmented = clean.clone()
        masks = clean.new_zeros(clean.shape[0], 1, *clean.shape[-2:])
        if pairs.rows:
            _check_unchanged(clean[pairs.rows], pairs.references)
            masks[pairs.rows] = pairs.masks
            augmented[pairs.rows] = torch.where(pairs.masks > 0, pairs.images, clean[pairs.rows])
        if pairs.perlin_rows:
            perlin: nn.Module = self.__dict__["_perlin"]
            defect, mask = perlin(clean[pairs.perlin_rows])
            augmented[pairs.perlin_rows] = defect.as_subclass(Tensor).to(augmented.dtype)
            masks[pairs.perlin_rows] = mask.as_subclass(Tensor).to(masks.dtype)
        return augmented, masks


def _check_unchanged(rows: Tensor, references: Tensor) -> None:
    if rows.shape != references.shape or not torch.allclose(rows, references, atol=1e-3):
        message = (
            "The detector's pre-processor changes pictures at random or by more than a resize or crop, so that defect "
            "and background no longer match; move that transform to data.train_augmentations."
        )
        raise SeasError(message)


@register_adapter("Draem")
class DraemAdapter(DetectorAdapter):
    """Feeds DRAEM with pasted pairs."""

    def __init__(self) -> None:
        self._source: DefectSource | None = None
        self._original: nn.Module | None = None

    def attach(self, model: LightningModule, source: DefectSource) -> None:
        """Replace ``model.augmenter``.

        Args:
            model: a ``Draem``.
            source: what to draw from.
        """
        self._source = source
        self._original = model.augmenter  # type: ignore[assignment]
        model.augmenter = PasteAugmenter(model.augmenter)  # type: ignore[arg-type]

    def prepare_batch(self, model: LightningModule, batch: Any) -> None:
        """Put references into the drawn rows of ``batch.image`` and hand their defects to the augmenter.

        The three pictures of a pair pass the detector's pre-processor together, so they keep matching.

        Args:
            model: the ``Draem``.
            batch: anomalib's ``ImageBatch``; only ``image`` changes.
        """
        if self._source is None:
            message = "The DRAEM adapter was given a batch before it was attached; call attach first."
            raise SeasError(message)
        image: Tensor = batch.image
        rows, perlin_rows = self._source.choose(image.shape[0])
        height, width = image.shape[-2:]
        drawn = self._source.pool.draw(self._source.generator, len(rows), (height, width))
        images, masks, references = (part.to(image.device, image.dtype) for part in drawn)
        if rows:
            clean = image.as_subclass(Tensor).clone()
            clean[rows] = references
            batch.image = tv_tensors.Image(clean)
            transform = getattr(getattr(model, "pre_processor", None), "transform", None)
            if transform is not None:
                images, masks, references = transform(
                    tv_tensors.Image(images), tv_tensors.Mask(masks), tv_tensors.Image(references)
                )
        augmenter = model.augmenter
        if isinstance(augmenter, PasteAugmenter):
            images, masks, references = (part.as_subclass(Tensor) for part in (images, masks, references))
            augmenter.hand_over(Pairs(rows, images, masks, references, perlin_rows))

    def detach(self, model: LightningModule) -> None:
        """Put DRAEM's own augmenter back.

        Args:
            model: the ``Draem``.
        """
        if self._original is not None:
            model.augmenter = self._original
        self._source = self._original = None
