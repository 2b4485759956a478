# SPDX-License-Identifier: Apache-2.0
"""Rotations by quarter turns and flips, drawn once and applied to image and mask alike (paper section 4.1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

Flip = Literal["none", "horizontal", "vertical"]
_FLIPS: tuple[Flip, ...] = ("none", "horizontal", "vertical")
NUM_DISTINCT = 8


@dataclass(frozen=True)
class Augmentation:
    """A rotation followed by a flip.

    Args:
        quarter_turns: counter-clockwise turns by 90 degrees, 0 to 3.
        flip: mirror applied after the rotation.
    """

    quarter_turns: int = 0
    flip: Flip = "none"

    @property
    def code(self) -> int:
        """Number 0 to 7 of the resulting picture: a vertical flip is a half turn and a horizontal flip."""
        turns = self.quarter_turns + (2 if self.flip == "vertical" else 0)
        return turns % 4 + (0 if self.flip == "none" else 4)

    @classmethod
    def from_code(cls, code: int) -> Augmentation:
        """Return the augmentation without a vertical flip that has this :attr:`code`.

        Args:
            code: 0 to 7.

        Returns:
            An augmentation that gives the same picture as every other one with this code.
        """
        return cls(quarter_turns=code % 4, flip="horizontal" if code >= 4 else "none")


def draw_augmentation(generator: torch.Generator, rotate: bool, flip: bool) -> Augmentation:
    """Draw one of 4 rotations and one of 3 flips, each with equal chance.

    Both numbers are always drawn, so that switching one off does not change the other.

    Args:
        generator: source of randomness.
        rotate: whether to rotate.
        flip: whether to flip.

    Returns:
        The drawn augmentation.
    """
    turns, mirror = (int(torch.randint(count, (1,), generator=generator)) for count in (4, 3))
    return Augmentation(quarter_turns=turns if rotate else 0, flip=_FLIPS[mirror] if flip else "none")


def apply_augmentation(tensor: torch.Tensor, augmentation: Augmentation) -> torch.Tensor:
    """Rotate and then flip the last two dimensions.

    Args:
        tensor: [..., H, W] of any dtype.
        augmentation: what to do.

    Returns:
        Contiguous tensor [..., H, W]; height and width change places at 1 or 3 quarter turns.
    """
    turned = torch.rot90(tensor, augmentation.quarter_turns, dims=(-2, -1))
    return _mirror(turned, augmentation.flip).contiguous()


def undo_augmentation(tensor: torch.Tensor, augmentation: Augmentation) -> torch.Tensor:
    """Undo :func:`apply_augmentation`.

    Args:
        tensor: [..., H, W] of any dtype.
        augmentation: what was done.

    Returns:
        Contiguous tensor as it was before.
    """
    return torch.rot90(_mirror(tensor, augmentation.flip), -augmentation.quarter_turns, dims=(-2, -1)).contiguous()


def _mirror(tensor: torch.Tensor, flip: Flip) -> torch.Tensor:
    if flip == "none":
        return tensor
    return tensor.flip(-1 if flip == "horizontal" else -2)
