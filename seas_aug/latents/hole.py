# SPDX-License-Identifier: Apache-2.0
"""Holes of the inpainting layout: where a U-Net draws, and what it is shown of the reference.

Stable Diffusion's inpainting checkpoints read ``2 C + 1`` channels: noisy latents, mask, masked-image latents. Here the
mask says a little more than theirs: 0 outside; 1 in a *coarse* hole, in which the defect has whatever shape; and from a
half to 1, by the share of the pixels that the defect covers, where its *exact* shape is given.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

from seas_aug.latents.codec import encode_latents

if TYPE_CHECKING:
    from torch import Tensor


MARGIN = 2
"""Cells by which a hole reaches beyond its shape in fine-tuning and drawing: so far a twin may differ around it."""


@dataclass(frozen=True)
class Hole:
    """The condition of B pictures.

    Attributes:
        mask: float ``[B, 1, h, w]`` in [0, 1], above 0 where something is drawn.
        reference: scaled latents ``[B, C, h, w]``: outside the hole what is kept; inside it either what nothing is
            known of (*hidden*, Stable Diffusion's way) or the reference's own (*seen*).
    """

    mask: Tensor
    reference: Tensor

    def __len__(self) -> int:
        return len(self.mask)

    @property
    def inside(self) -> Tensor:
        """Where something is drawn, ``[B, 1, h, w]`` of 0 and 1."""
        return (self.mask > 0).to(self.mask.dtype)

    def rows(self, chosen: Any) -> Hole:
        """Return the condition of some pictures, as ``tensor[chosen]`` chooses them."""
        return Hole(self.mask[chosen], self.reference[chosen])

    def repeat(self, times: int) -> Hole:
        """Return the condition of the same pictures several times over."""
        return Hole(self.mask.repeat(times, 1, 1, 1), self.reference.repeat(times, 1, 1, 1))


def hidden_latents(vae: Any, size: int) -> Tensor:
    """Return what stands for an unknown picture, as in Stable Diffusion: latents ``[1, C, h, w]`` of middle grey.

    Args:
        vae: diffusers autoencoder.
        size: side of the picture in pixels.
    """
    weight = next(iter(vae.parameters()))
    with torch.no_grad():
        return encode_latents(vae, torch.zeros(1, 3, size, size, device=weight.device))


def whole_hole(hidden: Tensor, count: int) -> Hole:
    """Return the hole that is the whole picture: nothing is known, the prompt alone decides.

    Args:
        hidden: of :func:`hidden_latents`.
        count: number of pictures B.
    """
    mask = torch.ones(count, 1, *hidden.shape[-2:], device=hidden.device, dtype=hidden.dtype)
    return Hole(mask, hidden.expand(count, -1, -1, -1))


def make_hole(mask: Tensor, latents: Tensor, hidden: Tensor, seen: Tensor | bool) -> Hole:
    """Return the condition of pictures from their latents.

    The masked picture is put together from latents, and not encoded again: the two differ within the autoencoder's
    reach of the hole's edge only, and latents can be cached.

    Args:
        mask: float ``[B, 1, h, w]`` in [0, 1].
        latents: scaled latents of the references ``[B, C, h, w]``.
        hidden: of :func:`hidden_latents`.
        seen: bool ``[B]``, or one for all: whether the reference is shown inside the hole, too.
    """
    shown = torch.as_tensor(seen, device=mask.device).reshape(-1, 1, 1, 1)
    return Hole(mask, torch.where((mask > 0) & ~shown, hidden.to(latents), latents))


def exact_hole(mask: Tensor, side: int, margin: Tensor | int = 0) -> Tensor:
    """Return the hole that shows a shape.

    Args:
        mask: float ``[B, 1, H, W]`` of 0 and 1.
        side: h = w, of the latents.
        margin: cells by which the hole reaches beyond the shape, int64 ``[B]`` or one for all, 0 to 3.

    Returns:
        float32 ``[B, 1, h, w]``: 0 outside, else ``0.5 + 0.5 * share of the cell that the shape covers``.
    """
    cover = functional.adaptive_avg_pool2d(mask.float(), side)
    margins = torch.as_tensor(margin, device=mask.device).reshape(-1).expand(len(mask))
    inside = (cover > 0).float()
    for grown in range(1, int(margins.max()) + 1):
        wider = functional.max_pool2d(inside, 3, 1, 1)
        inside = torch.where((margins >= grown).reshape(-1, 1, 1, 1), wider, inside)
    return inside * (0.5 + 0.5 * cover)
