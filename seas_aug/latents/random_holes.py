# SPDX-License-Identifier: Apache-2.0
"""Random holes to train with: exact ones that tell the shape, coarse ones that do not, and whole pictures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from seas_aug.config import HoleConfig
from seas_aug.latents.hole import exact_hole

if TYPE_CHECKING:
    from torch import Tensor

_WIDEST_MARGIN = 2  # cells around an exact shape
_LEAST_SPARE, _MOST_SPARE = 0.1, 1.0  # of a coarse hole beyond the shape on each side, in sizes of the shape


@dataclass(frozen=True)
class RandomHoles:
    """Drawn holes of B pictures.

    Attributes:
        mask: float32 ``[B, 1, h, w]`` in [0, 1], see :mod:`seas_aug.latents.hole`.
        whole: bool ``[B]``.
        seen: bool ``[B]``, never where ``whole``.
    """

    mask: Tensor
    whole: Tensor
    seen: Tensor


def draw_holes(
    mask: Tensor, side: int, shares: HoleConfig, generator: torch.Generator, least_margin: int = 0
) -> RandomHoles:
    """Draw a hole around every shape.

    Args:
        mask: shapes, float or bool ``[B, 1, H, W]`` of 0 and 1; without any, the whole picture is the hole.
        side: h = w, of the latents.
        shares: of the kinds.
        generator: on the CPU.
        least_margin: cells around an exact shape; more are drawn, up to two.
    """
    count, device = len(mask), mask.device
    kind = torch.rand(count, generator=generator)
    margin = torch.randint(least_margin, _WIDEST_MARGIN + 1, (count,), generator=generator)
    seen = torch.rand(count, generator=generator) < shares.seen
    spare = _LEAST_SPARE + (_MOST_SPARE - _LEAST_SPARE) * torch.rand(count, 4, generator=generator)
    round_ = torch.rand(count, generator=generator) < 0.5
    exact = exact_hole(mask, side, margin.to(device))
    whole = (kind < shares.whole).to(device) | ~exact.flatten(1).any(dim=1)
    coarse = (kind < shares.whole + shares.coarse).to(device) & ~whole
    holes = torch.where(_column(coarse), coarse_hole(exact > 0, spare.to(device), round_.to(device)), exact)
    holes = torch.where(_column(whole), torch.ones_like(holes), holes)
    return RandomHoles(holes, whole, seen.to(device) & ~whole)


def coarse_hole(inside: Tensor, spare: Tensor, round_: Tensor) -> Tensor:
    """Return boxes and ellipses around shapes.

    Args:
        inside: cells of the shapes, bool ``[B, 1, h, w]``.
        spare: how far a hole reaches beyond its shape at the top, bottom, left and right, in heights and widths of the
            shape, float ``[B, 4]``; a cell at least.
        round_: bool ``[B]``, an ellipse that holds the shape, instead of a box.

    Returns:
        float32 ``[B, 1, h, w]`` of 0 and 1; zeros for an empty shape.
    """
    top, bottom = _ends(inside.any(dim=3)[:, 0])
    left, right = _ends(inside.any(dim=2)[:, 0])
    tall, wide = bottom - top + 1, right - left + 1
    top, bottom = top - (spare[:, 0] * tall).clamp(min=1), bottom + (spare[:, 1] * tall).clamp(min=1)
    left, right = left - (spare[:, 2] * wide).clamp(min=1), right + (spare[:, 3] * wide).clamp(min=1)
    rows = torch.arange(inside.shape[-2], device=inside.device)[None, :, None]
    columns = torch.arange(inside.shape[-1], device=inside.device)[None, None, :]
    box = (rows >= _plane(top)) & (rows <= _plane(bottom)) & (columns >= _plane(left)) & (columns <= _plane(right))
    down = (rows - _plane((top + bottom) / 2)) / _plane((bottom - top + 1) / 2)
    across = (columns - _plane((left + right) / 2)) / _plane((right - left + 1) / 2)
    ellipse = (down.square() + across.square() <= 1) | inside[:, 0]
    hole = torch.where(round_.reshape(-1, 1, 1), ellipse, box) & inside.flatten(1).any(dim=1).reshape(-1, 1, 1)
    return hole.float()[:, None]


def _ends(filled: Tensor) -> tuple[Tensor, Tensor]:
    """Return the first and the last true element of bool ``[B, n]``, as floats."""
    length = filled.shape[1]
    first = filled.float().argmax(dim=1)
    last = length - 1 - filled.flip(1).float().argmax(dim=1)
    return first.float(), last.float()


def _plane(value: Tensor) -> Tensor:
    return value.reshape(-1, 1, 1)


def _column(value: Tensor) -> Tensor:
    return value.reshape(-1, 1, 1, 1)
