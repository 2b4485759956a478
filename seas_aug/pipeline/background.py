# SPDX-License-Identifier: Apache-2.0
"""Outside of its mask a generated image is its reference: the background cannot drift, and no unmarked defect is left.

Not part of the paper. An autoencoder smooths the grain of a surface a little and diffusion some more, all over the
image, so that generated images could be told from real ones without looking at the defect.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

_FEATHER = 128  # the rim that fades into the reference: this fraction of the side, one pixel at least


def keep_background(images: Tensor, references: Tensor, masks: Tensor) -> Tensor:
    """Return images that fade into their references at the rim of the mask.

    The rim is as narrow as it can be without an edge. A wider one is drawn too, so smoother than the surface beyond it:
    a network may learn that smooth strip, which no mask tells of, in place of the defect.

    Args:
        images: generated, float ``[B, 3, H, W]`` in [0, 1].
        references: the normal images that they are of, likewise.
        masks: float ``[B, 1, H, W]`` of 0 and 1.

    Returns:
        Float ``[B, 3, H, W]`` in [0, 1]: as generated inside the mask, as the reference further than a 128th of the
        side (at least a pixel) from it.
    """
    reach = max(1, masks.shape[-1] // _FEATHER)
    # Averaged over its neighbourhood, the mask falls to 0 over the width of the rim.
    rim = functional.avg_pool2d(masks, 2 * reach + 1, stride=1, padding=reach, count_include_pad=False)
    return references + (images - references) * torch.maximum(rim, masks)
