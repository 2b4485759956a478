# SPDX-License-Identifier: Apache-2.0
"""Crops of twins around their defects, cut out of latents that are encoded once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor


def crop_around(
    mask: Tensor, latents: Tensor, side: int, generator: torch.Generator
) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
    """Cut squares that show a part of each shape, wherever it lies in them.

    Args:
        mask: float ``[B, 1, H, W]`` of 0 and 1, none empty.
        latents: ``[B, 2, C, h, w]``, H / h pixels a cell.
        side: of the squares, in cells.
        generator: on the CPU.

    Returns:
        Masks ``[B, 1, s, s]`` for s pixels a square, latents ``[B, 2, C, side, side]``, and an index that cuts the same
        squares out of ``[B, C, h, w]``.
    """
    count, whole = len(mask), latents.shape[-1]
    scale = mask.shape[-1] // whole
    marked = mask.flatten(1) > 0
    wanted = (torch.rand(count, generator=generator).to(mask.device) * marked.sum(dim=1)).long()
    shown = (marked.cumsum(dim=1) > wanted[:, None]).int().argmax(dim=1)  # a pixel of the shape
    at = torch.stack([shown // mask.shape[-1], shown % mask.shape[-1]], dim=1) // scale
    shift = torch.randint(side, (count, 2), generator=generator).to(mask.device)
    first = (at - shift).clamp(0, whole - side)
    cells, pixels = (torch.arange(length, device=mask.device) for length in (side, side * scale))
    row = torch.arange(count, device=mask.device)[:, None, None]

    def index(start: Tensor, steps: Tensor) -> tuple[Tensor, ...]:
        return row, (start[:, :1] + steps)[:, :, None], (start[:, 1:] + steps)[:, None, :]

    one, down, across = index(first, cells)
    planes = latents.permute(0, 3, 4, 1, 2)[one, down, across].permute(0, 3, 4, 1, 2)
    one, below, right = index(first * scale, pixels)
    places = (row[..., None], torch.arange(latents.shape[2], device=mask.device)[None, :, None, None])
    return mask[:, 0][one, below, right][:, None], planes, (*places, down[:, None], across[:, None])
