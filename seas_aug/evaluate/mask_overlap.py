# SPDX-License-Identifier: Apache-2.0
"""How far predicted masks agree with the true ones, in the two ways that are reported."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor


class MaskOverlap(NamedTuple):
    """Intersection over union (IoU) of masks.

    Args:
        pooled: over the pixels of all images together, 0 to 1.
        per_image: mean over images of the IoU of each, 0 to 1.
    """

    pooled: float
    per_image: float


def mask_overlap(probabilities: Tensor, masks: Tensor, threshold: float) -> MaskOverlap:
    """Compare predicted masks with the true ones.

    Args:
        probabilities: of a defect, ``[N, 1, H, W]`` in [0, 1], N at least 1.
        masks: the truth, ``[N, 1, H, W]`` of 0 and 1.
        threshold: probability above which a pixel belongs to the defect.
    """
    from torchmetrics.functional.classification import binary_jaccard_index

    found, truth = (probabilities > threshold).int(), masks.int()
    single = [float(binary_jaccard_index(one, true)) for one, true in zip(found, truth, strict=True)]
    return MaskOverlap(float(binary_jaccard_index(found, truth)), sum(single) / len(single))
