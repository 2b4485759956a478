# SPDX-License-Identifier: Apache-2.0
"""On printed circuit boards a type says whether copper is added or taken away; do drawn defects do so?

Only masks that touch a track's edge are counted, where both can be done, whatever type they come from. What fails: a
defect that the place alone decides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from seas_aug.evaluate.group_bootstrap import mean_interval
from seas_aug.evaluate.measured import Measured, not_measured, of_types
from seas_aug.evaluate.window_set import Images, pick

COPPER_ADDED: Mapping[str, bool] = {
    "copper": True,
    "short": True,
    "spur": True,
    "mousebite": False,
    "open": False,
    "pinhole": False,
}
"""Of DeepPCB's types: whether there is more copper than there should be."""
_LEVEL = 127  # boards are black and white
_LEAST_SHARE = 0.05  # of a mask that is copper, and that is not: fewer pixels are the blur of an edge beside it


def copper(images: Images, bright: bool) -> NDArray[np.bool_]:
    """Return where copper is, bool ``[N, S, S]``.

    Args:
        images: uint8 ``[N, S, S, 3]``.
        bright: whether copper is white; in DeepPCB it is black.
    """
    grey = images.mean(-1)
    return np.asarray(grey > _LEVEL if bright else grey <= _LEVEL)


def touches_edge(reference: Images, masks: NDArray[np.uint8], bright: bool) -> NDArray[np.bool_]:
    """Return for which masks there is copper as well as none inside, of the reference: bool ``[N]``.

    There has to be so much of both that it can be seen to change: 2 x 2 pixels. Without that, masks filled exactly as
    their type says scored 0.875 on DeepPCB, where some held only a fringe of copper.
    """
    inside, metal = masks > 0, copper(reference, bright)
    share = (metal & inside).sum((1, 2)) / np.maximum(inside.sum((1, 2)), 1)
    seen = _opened(metal & inside).any((1, 2)) & _opened(~metal & inside).any((1, 2))
    return np.asarray((share >= _LEAST_SHARE) & (share <= 1 - _LEAST_SHARE) & seen)


def prompt_copper(
    drawn: Images,
    reference: Images,
    masks: NDArray[np.uint8],
    types: Sequence[str],
    groups: Sequence[str],
    bright: bool = False,
) -> Measured:
    """Return the share of drawn defects that change the copper as their type says, of the worst type.

    Args:
        drawn: uint8 ``[N, S, S, 3]``.
        reference: what they were drawn on, uint8 ``[N, S, S, 3]``.
        masks: uint8 ``[N, S, S]`` of 0 and 1.
        types: the type of each prompt; all of :data:`COPPER_ADDED`.
        groups: group of each.
        bright: whether copper is white.

    Returns:
        ``value`` in [0, 1]: more pixels of the mask turned to copper than from it, or the other way round.
    """
    chosen = touches_edge(reference, masks, bright)
    if not chosen.any():
        return not_measured("no mask touches a track's edge", len(drawn))
    # Single pixels that flip are the autoencoder's, so an opening keeps what has some width.
    inside, before, after = masks > 0, copper(reference, bright), copper(drawn, bright)
    added = _opened(after & ~before & inside).sum((1, 2))
    taken = _opened(before & ~after & inside).sum((1, 2))
    wanted = np.asarray([COPPER_ADDED[name] for name in types])
    right = np.where(wanted, added > taken, taken > added)
    names = np.asarray(types)
    intervals = {}
    for name in sorted(set(types)):
        rows = np.flatnonzero(chosen & (names == name))
        intervals[name] = mean_interval(right[rows], pick(groups, rows))
    return of_types(intervals, int(chosen.sum()))


def _opened(masks: NDArray[np.bool_]) -> NDArray[np.uint8]:
    kernel = np.ones((2, 2), np.uint8)
    return np.stack([cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, kernel) for mask in masks])
