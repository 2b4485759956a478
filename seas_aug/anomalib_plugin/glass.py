# SPDX-License-Identifier: Apache-2.0
"""GLASS: its local anomaly synthesis compares the features of a picture with those of its clean twin."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import LightningModule
from torch import Tensor

from seas_aug.anomalib_plugin.paste import PasteAdapter
from seas_aug.anomalib_plugin.registry import register_adapter


@register_adapter("Glass")
class GlassAdapter(PasteAdapter):
    """Feeds the local anomaly branch of GLASS with pasted pairs; its global branch, noise on features, stays."""

    generators = ("model.augmentor",)
    default_probability = 1.0  # as in GLASS itself

    def to_generator_range(self, model: LightningModule, images: Tensor) -> Tensor:
        """Undo the normalisation, as GLASS does before it calls its generator.

        Args:
            model: a ``Glass``.
            images: normalised ``[n, 3, H, W]``.
        """
        glass: Any = model.model
        return images * glass._img_std + glass._img_mean
