# SPDX-License-Identifier: Apache-2.0
"""Detectors with a Perlin generator of their own: a defect is pasted by its mask on the normal image it was made from.

They learn from a picture and its clean twin (DRAEM reconstructs it, GLASS compares their features). So the clean twin
of a pair, its reference, has to be the batch image: the adapter puts references into the batch before pre-processing,
and an augmenter that stands in for anomalib's Perlin generator pastes the matching defects afterwards.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torchvision import tv_tensors

from seas_aug.anomalib_plugin.registry import DetectorAdapter
from seas_aug.anomalib_plugin.sources import DefectSource
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
    """Stand-in for a detector's Perlin generator; it adds nothing to the detector's ``state_dict``.

    Args:
        perlin: the generator it stands in for, used for ``perlin_rows``.
    """

    def __init__(self, perlin: nn.Module) -> None:
        super().__init__()
        always = copy.copy(perlin)
        for name in ("probability", "p_anomalous"):  # of PerlinAnomalyGenerator, of DsrAnomalyGenerator
            if hasattr(always, name):
                setattr(always, name, 1.0)
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
        pairs, clean = self._take(image)
        augmented = clean.clone()
        masks = clean.new_zeros(clean.shape[0], 1, *clean.shape[-2:])
        if pairs.rows:
            masks[pairs.rows] = pairs.masks.to(masks.dtype)
            augmented[pairs.rows] = torch.where(pairs.masks > 0, pairs.images, clean[pairs.rows])
        if pairs.perlin_rows:
            perlin: nn.Module = self.__dict__["_perlin"]
            defect, mask = perlin(clean[pairs.perlin_rows])
            augmented[pairs.perlin_rows] = defect.as_subclass(Tensor).to(augmented.dtype)
            masks[pairs.perlin_rows] = mask.as_subclass(Tensor).to(masks.dtype)
        return augmented, masks

    def augment_batch(self, image: Tensor) -> Tensor:
        """Return only the masks, for DSR, which makes the defect in its own latent space.

        Args:
            image: see :meth:`forward`.

        Returns:
            ``[B, 1, H, W]`` of 0 and 1 in the batch's dtype.
        """
        pairs, clean = self._take(image)
        masks = clean.new_zeros(clean.shape[0], 1, *clean.shape[-2:])
        if pairs.rows:
            masks[pairs.rows] = pairs.masks.to(masks.dtype)
        if pairs.perlin_rows:
            perlin: Any = self.__dict__["_perlin"]
            masks[pairs.perlin_rows] = perlin.augment_batch(clean[pairs.perlin_rows]).to(masks.dtype)
        return masks

    def _take(self, image: Tensor) -> tuple[Pairs, Tensor]:
        pairs, self._pairs = self._pairs, None
        if pairs is None:
            message = "The detector asked for a defect outside a training batch; train it through anomalib's Engine."
            raise SeasError(message)
        clean = image.as_subclass(Tensor)
        if pairs.rows:
            _check_unchanged(clean[pairs.rows], pairs.references)
        return pairs, clean


def _check_unchanged(rows: Tensor, references: Tensor) -> None:
    if rows.shape != references.shape or not torch.allclose(rows, references, atol=1e-3):
        message = (
            "The detector's pre-processor changes pictures at random or by more than a resize or crop, so that defect "
            "and background no longer match; move that transform to data.train_augmentations."
        )
        raise SeasError(message)


class PasteAdapter(DetectorAdapter):
    """Feeds a detector with pasted pairs; a detector's own adapter says where its generators are."""

    generators: tuple[str, ...] = ()
    """Dotted names of the modules to stand in for, such as ``model.augmentor``."""

    def __init__(self) -> None:
        self._source: DefectSource | None = None
        self._originals: dict[str, nn.Module] = {}

    def attach(self, model: LightningModule, source: DefectSource) -> None:
        """Stand in for the detector's generators.

        Args:
            model: the detector.
            source: what to draw from.

        Raises:
            SeasError: the detector has no such module: another version of anomalib than this was written for.
        """
        self._source = source
        for name in self.generators:
            try:
                original = model.get_submodule(name)
            except AttributeError as error:
                message = f"{type(model).__name__} has no part '{name}'; this version of anomalib is not supported."
                raise SeasError(message) from error
            self._originals[name] = original
            _set(model, name, PasteAugmenter(original))

    def prepare_batch(self, model: LightningModule, batch: Any) -> None:
        """Put references into the drawn rows of ``batch.image`` and hand their defects to the augmenters.

        The three pictures of a pair pass the detector's pre-processor together, so they keep matching.

        Args:
            model: the detector.
            batch: anomalib's ``ImageBatch``; only ``image`` changes.

        Raises:
            SeasError: the adapter was not attached.
        """
        if self._source is None:
            message = "The adapter was given a batch before it was attached; call attach first."
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
        images, masks, references = (part.as_subclass(Tensor) for part in (images, masks, references))
        images, references = (self.to_generator_range(model, part) for part in (images, references))
        for name in self.generators:
            augmenter = model.get_submodule(name)
            if isinstance(augmenter, PasteAugmenter):
                augmenter.hand_over(Pairs(rows, images, masks, references, perlin_rows))

    def to_generator_range(self, model: LightningModule, images: Tensor) -> Tensor:
        """Return pre-processed images ``[n, 3, H, W]`` as the detector hands them to its generator.

        Args:
            model: the detector.
            images: what the pre-processor made; a detector that changes them on the way overrides this.
        """
        del model
        return images

    def detach(self, model: LightningModule) -> None:
        """Put the detector's own generators back.

        Args:
            model: the detector.
        """
        for name, original in self._originals.items():
            _set(model, name, original)
        self._source, self._originals = None, {}


def _set(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, last = name.rpartition(".")
    setattr(model.get_submodule(parent), last, module)
