# SPDX-License-Identifier: Apache-2.0
"""Where in a window something is drawn, and where its mask may lie."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seas_aug.data.seeds import derive_seed
from seas_aug.data.windows import Window, view_mask
from seas_aug.draw.sample import COARSE_SPARE
from seas_aug.errors import SeasError

if TYPE_CHECKING:
    from seas_aug.config import DrawConfig, SamplingConfig
    from seas_aug.draw.attempt import Attempt, Start
    from seas_aug.draw.call import Call
    from seas_aug.draw.compose import Spot

NEIGHBOURHOOD = 16
"""A defect may spread by this fraction of the window's side."""
_KNOTS = 6  # random values along a side of a normal window, whose sign decides
_COVERED = 0.5  # share of a normal window that is drawn anew


def check_means_something(settings: DrawConfig, sampling: SamplingConfig) -> None:
    """Refuse settings that change nothing about what is drawn from nothing but noise.

    Args:
        settings: of the call.
        sampling: the run's with those of the call in their place.

    Raises:
        SeasError: ``severity`` or ``strength`` is given, and no image starts from a copy or a reference.
    """
    given = [("severity", settings.severity, 1.0), ("strength", settings.strength, None)]
    for name, value, default in given if sampling.fill == "hole" and not sampling.copied_share else []:
        if value != default:
            message = f"{name} is {value}, but this model draws from nothing in a hole, where it has no meaning yet; "
            raise SeasError(message + "leave it out, or give a copied_share.")


def proposed_holes(call: Call, entries: list[tuple[Attempt, Spot, Window]], seeds: list[int]) -> Tensor:
    """Return the proposed shapes in windows, or patches of a normal window, float32 ``[B, 1, S, S]`` of 0 and 1.

    Args:
        call: what all share.
        entries: image, what is drawn in it, and the window.
        seeds: of the noise of each window.
    """
    found = []
    for (attempt, spot, place), seed in zip(entries, seeds, strict=True):
        if not spot.shapes:
            found.append(normal_patches(seed, call.image_size))
            continue
        # What an earlier window of a long defect has drawn is kept, and gone on from.
        left = spot.area(*attempt.mask.shape) * (attempt.mask == 0).astype(np.uint8)
        found.append(view_mask(left, place, call.image_size))
    return torch.stack([torch.from_numpy(one)[None] for one in found]).float()


def normal_patches(seed: int, size: int) -> NDArray[np.uint8]:
    """Return smooth random patches, uint8 ``[size, size]`` of 0 and 1, that cover half of a window.

    Args:
        seed: of the patches.
        size: side of the window in pixels.
    """
    knots = np.random.default_rng(derive_seed(seed, "patches")).standard_normal((_KNOTS, _KNOTS)).astype(np.float32)
    field = cv2.resize(knots, (size, size), interpolation=cv2.INTER_CUBIC)
    return (field > np.quantile(field, 1 - _COVERED)).astype(np.uint8)


def near(area: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the surroundings of copied defects, ``[S, S]`` of 0 and 1: a mask cannot lie anywhere else.

    Args:
        area: where the defects are, uint8 ``[S, S]`` of 0 and 1.
    """
    return spread(area, max(1, area.shape[-1] // NEIGHBOURHOOD))


def reach_of(call: Call, area: NDArray[np.uint8], start: Start) -> NDArray[np.uint8]:
    """Return where the mask of a shape may lie, ``[S, S]`` of 0 and 1: around it, wider where the hole was coarse.

    Args:
        call: what all share.
        area: the shape in a window, uint8 ``[S, S]`` of 0 and 1.
        start: what the image starts from.
    """
    if start == "hole" and call.sampling.hole_shape == "coarse" and area.any():
        rows, columns = np.nonzero(area)
        return spread(area, 1 + round(COARSE_SPARE * (1 + max(np.ptp(rows), np.ptp(columns)))))
    return near(area)


def spread(area: NDArray[np.uint8], reach: int) -> NDArray[np.uint8]:
    """Return an area ``[H, W]`` of 0 and 1 grown by so many pixels."""
    return np.asarray(cv2.dilate(area, np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)), dtype=np.uint8)
