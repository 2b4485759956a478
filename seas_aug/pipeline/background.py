# SPDX-License-Identifier: Apache-2.0
"""Outside of its mask a generated image is its reference: the background cannot drift, and no unmarked defect is left.

Not part of the paper. An autoencoder smooths the grain of a surface a little and diffusion some more, all over the
image, so that generated images could be told from real ones without looking at the defect.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

_REACH = 32  # the surroundings that stay generated: this fraction of the side


def keep_background(images: Tensor, references: Tensor, masks: Tensor) -> Tensor:
    """Return images that go over softly into their references around the mask.

    Args:
        images: generated, float ``[B, 3, H, W]`` in [0, 1].
        references: the normal images that they are of, likewise.
        masks: float ``[B, 1, H, W]`` of 0 and 1.

    Returns:
        Float ``[B, 3, H, W]`` in [0, 1]: as generated inside the mask, as the reference further than a sixteenth of
        the side from it.
    """
    reach = max(1, masks.shape[-1] // _REACH)
    size = 2 * reach + 1
    grown = functional.max_pool2d(masks, size, stride=1, padding=reach)
    # Averaged over the same neighbourhood, it falls from 1 to 0 over the width of that neighbourhood.
    soft = functional.avg_pool2d(grown, size, stride=1, padding=reach, count_include_pad=False)
    share = torch.maximum(soft, masks)
    return references + (images - references) * share
