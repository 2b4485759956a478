# SPDX-License-Identifier: Apache-2.0
"""What the measures of one product share, and those that controls are put through as well."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.drawing.features import FeatureCache
from benchmarks.drawing.fills import composites
from benchmarks.drawing.gate import Gate
from benchmarks.drawing.material import Material
from benchmarks.drawing.products import Product
from seas_aug.evaluate.group_bootstrap import bootstrap
from seas_aug.evaluate.mask_exact import mask_exact
from seas_aug.evaluate.mask_overlap import mask_overlap
from seas_aug.evaluate.mask_shapes import mask_shapes
from seas_aug.evaluate.measured import Measured
from seas_aug.evaluate.realism import realism
from seas_aug.evaluate.recombined import recombined
from seas_aug.evaluate.restored import restored, restored_pattern
from seas_aug.evaluate.window_set import Images, WindowSet

_PAIRS = 200  # normal fills that are compared with untouched windows
_COMPOSITES = 120


@dataclass(frozen=True)
class Measuring:
    """What the measures of one product share.

    Attributes:
        material: what was drawn.
        product: whose.
        features: of defects.
        cue_updates: of the network of ``null_cue``.
        gate: rejects pairs; None where there is none yet.
    """

    material: Material
    product: Product
    features: FeatureCache
    cue_updates: int = 400
    gate: Gate | None = None

    @property
    def several(self) -> bool:
        """Whether the product has two or more types."""
        return len(self.material.unseen.anomaly_types) > 1

    def realism_of(self, windows: WindowSet, real: WindowSet | None = None) -> Measured:
        """Return how well windows are told from real unseen defects."""
        other = self.material.unseen if real is None else real
        first, second = self.features.of(windows), self.features.of(other)
        return realism(first, windows.types, windows.groups, second, other.types, other.groups)

    def restored_of(self, null: Images) -> Measured:
        """Return whether fills of the holes of the drawn windows can be told from untouched windows."""
        untouched = self.material.references
        rows = np.linspace(0, len(untouched) - 1, min(len(untouched), _PAIRS)).round().astype(int)
        fills, normals = untouched.with_images(null).take(rows), untouched.take(rows)
        if self.product.copper:
            return restored_pattern(fills.images, normals.images, fills.masks, fills.groups)
        return restored(fills, normals, self.features.of(fills), self.features.of(normals))

    def exact_of(self, drawn: WindowSet) -> Measured:
        """Return how exactly changes end where the masks of windows end; windows with an empty mask are left out."""
        rows = np.flatnonzero(drawn.masks.any((1, 2)))
        null = self.material.null
        kept = drawn.take(rows)
        return mask_exact(kept.images, null[0][rows], null[1][rows], kept.masks, kept.groups)

    def shapes_of(self, windows: WindowSet, real: WindowSet | None = None) -> Measured:
        """Return how various the masks of windows are; empty ones are left out."""
        kept = windows.take(np.flatnonzero(windows.masks.any((1, 2))))
        other = self.material.unseen if real is None else real
        return mask_shapes(kept.masks, kept.types, kept.groups, other.masks, other.types, other.groups)

    def iou_of(self, probabilities: NDArray[np.float32]) -> Measured:
        """Return the overlap of found with true masks, over the pixels of all unseen defects together."""
        real, threshold = self.material.unseen, self.material.mask_threshold
        found, true = torch.from_numpy(probabilities)[:, None], torch.from_numpy(real.masks)[:, None]
        hit, truth = probabilities > threshold, real.masks > 0
        both, either = (hit & truth).sum((1, 2)), (hit | truth).sum((1, 2))
        interval = bootstrap([real.groups], lambda rows: float(both[rows].sum() / max(1, either[rows].sum())))
        names = np.asarray(real.types)
        by_type = {
            name: mask_overlap(found[names == name], true[names == name], threshold).pooled
            for name in real.anomaly_types
        }
        overall = mask_overlap(found, true, threshold)
        extra = {"per_image": overall.per_image}
        return Measured(overall.pooled, interval.low, interval.high, len(real), by_type, extra)

    def composites(self) -> tuple[WindowSet, list[tuple[str, ...]]]:
        """Return the unseen defects and composites of two of them, with their types."""
        real = self.material.unseen
        both, types = composites(real, _COMPOSITES)
        joined = WindowSet(
            np.concatenate([real.images, both.images]),
            np.concatenate([real.masks, both.masks]),
            [*real.types, *both.types],
            [*real.groups, *both.groups],
        )
        return joined, [*((name,) for name in real.types), *types]

    def recombined_of(self, drawn: WindowSet, types: list[tuple[str, ...]]) -> Measured:
        """Return whether both types are found in windows."""
        real, real_types = self.composites()
        first, second = self.features.of(real), self.features.of(drawn)
        return recombined(first, real_types, real.groups, second, types, drawn.groups)
