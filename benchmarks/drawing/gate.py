# SPDX-License-Identifier: Apache-2.0
"""The gate's measure: does it reject pairs that were spoilt on purpose, and accept what is good?

The gate itself is a callable from a :class:`GateRecord` to the reasons for which it rejects; none means accepted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.drawing.fills import feathered
from seas_aug.evaluate.group_bootstrap import mean_interval
from seas_aug.evaluate.measured import Measured, not_measured, of_types
from seas_aug.evaluate.window_set import WindowSet

Pixels = NDArray[np.uint8]
_LEAST_SHIFT = 8  # pixels
_SPOILT = 100  # pairs of a kind


@dataclass(frozen=True)
class GateRecord:
    """A pair as the gate sees it.

    Attributes:
        image: window with the defect, uint8 ``[S, S, 3]``.
        reference: the same window without it, likewise.
        mask: uint8 ``[S, S]`` of 0 and 1; may be empty.
        anomaly_type: what it is said to show.
        part: where the part is, uint8 ``[S, S]`` of 0 and 1; None where the product fills the picture.
    """

    image: Pixels
    reference: Pixels
    mask: Pixels
    anomaly_type: str
    part: Pixels | None = None


Gate = Callable[[GateRecord], list[str]]
Spoil = Callable[[GateRecord, np.random.Generator], "GateRecord | None"]


def emptied(record: GateRecord, rng: np.random.Generator) -> GateRecord:
    """Return the pair with an empty mask."""
    return replace(record, mask=np.zeros_like(record.mask))


def mask_shifted(record: GateRecord, rng: np.random.Generator) -> GateRecord | None:
    """Return the pair with its mask moved by its greatest width, 8 px at least; None where it has no room."""
    widest = 2 * float(cv2.distanceTransform(record.mask, cv2.DIST_L2, 5).max())
    step = max(_LEAST_SHIFT, round(widest))
    options = []
    for down, right in ((step, 0), (-step, 0), (0, step), (0, -step)):
        matrix = np.asarray([[1, 0, right], [0, 1, down]], np.float32)
        moved = cv2.warpAffine(record.mask, matrix, record.mask.shape[::-1], flags=cv2.INTER_NEAREST)
        if moved.sum() >= 0.5 * record.mask.sum():
            options.append(moved.astype(np.uint8))
    return replace(record, mask=options[int(rng.integers(len(options)))]) if options else None


def mask_inverted(record: GateRecord, rng: np.random.Generator) -> GateRecord:
    """Return the pair with everything but the defect marked."""
    return replace(record, mask=(1 - record.mask).astype(np.uint8))


def unchanged(record: GateRecord, rng: np.random.Generator) -> GateRecord:
    """Return the normal window labelled as a defect."""
    return replace(record, image=record.reference)


def copied(few_shot: WindowSet) -> Spoil:
    """Return what replaces a drawn patch by a few-shot defect of the type, scaled to the mask's box.

    Args:
        few_shot: the real defects that the model was trained on.
    """

    def spoil(record: GateRecord, rng: np.random.Generator) -> GateRecord | None:
        own = few_shot.of_type(record.anomaly_type)
        if not len(own) or not record.mask.any():
            return None
        row = int(rng.integers(len(own)))
        (top, bottom), (left, right) = (_ends(record.mask, axis) for axis in (0, 1))
        (a, b), (c, d) = (_ends(own.masks[row], axis) for axis in (0, 1))
        size = (right - left, bottom - top)
        patch, mask = record.reference.copy(), np.zeros_like(record.mask)
        patch[top:bottom, left:right] = cv2.resize(own.images[row][a:b, c:d], size, interpolation=cv2.INTER_AREA)
        mask[top:bottom, left:right] = cv2.resize(own.masks[row][a:b, c:d], size, interpolation=cv2.INTER_NEAREST)
        return replace(record, image=feathered(record.reference, patch, mask), mask=mask) if mask.any() else None

    return spoil


def off_part(record: GateRecord, rng: np.random.Generator) -> GateRecord | None:
    """Return the pair with defect and mask moved to where there is no part; None where the part fills the window."""
    if record.part is None or not record.mask.any():
        return None
    (top, bottom), (left, right) = (_ends(record.mask, axis) for axis in (0, 1))
    height, width = bottom - top, right - left
    bare = cv2.erode(1 - record.part, np.ones((height, width), np.uint8), anchor=(0, 0), borderValue=0)
    places = np.argwhere(bare[: bare.shape[0] - height + 1, : bare.shape[1] - width + 1] > 0)
    if not len(places):
        return None
    row, column = places[int(rng.integers(len(places)))]
    image, mask = record.reference.copy(), np.zeros_like(record.mask)
    mask[row : row + height, column : column + width] = record.mask[top:bottom, left:right]
    image[row : row + height, column : column + width] = record.image[top:bottom, left:right]
    return replace(record, image=np.where(mask[..., None] > 0, image, record.reference), mask=mask)


def spoilers(few_shot: WindowSet) -> Mapping[str, Spoil]:
    """Return every way to spoil a pair, by name."""
    return {
        "empty": emptied,
        "mask_shifted": mask_shifted,
        "mask_inverted": mask_inverted,
        "copied": copied(few_shot),
        "off_part": off_part,
        "normal_labelled": unchanged,
    }


def measure_gate(
    check: Gate,
    drawn: Sequence[GateRecord],
    real: Sequence[GateRecord],
    few_shot: WindowSet,
    drawn_groups: Sequence[str],
    real_groups: Sequence[str],
    seed: int = 0,
) -> Measured:
    """Measure a gate.

    Args:
        check: returns the reasons to reject a pair.
        drawn: drawn pairs.
        real: real unseen defects, with a normal fill of their grown mask as reference.
        few_shot: real defects that the model was trained on.
        drawn_groups: group of each drawn pair.
        real_groups: group of each real one.
        seed: of the spoiling.

    Returns:
        ``value``: share of the pairs that it had accepted and that are rejected once spoilt, of the worst kind;
        ``by_type`` is by kind. ``extra``: ``drawn_accepted`` and ``real_rejected``.
    """
    if not drawn:
        return not_measured("nothing drawn")
    accepted = np.asarray([not check(record) for record in drawn], bool)
    refused = np.asarray([bool(check(record)) for record in real], bool)
    shares = {
        "drawn_accepted": float(accepted.mean()),
        "real_rejected": float(refused.mean()) if len(refused) else None,
    }
    rng = np.random.default_rng(seed)
    rows = np.flatnonzero(accepted)[:_SPOILT]
    intervals = {}
    for kind, spoil in spoilers(few_shot).items():
        spoilt = [(int(row), spoil(drawn[row], rng)) for row in rows]
        rejected = [(row, bool(check(record))) for row, record in spoilt if record is not None]
        if rejected:
            groups = [drawn_groups[row] for row, _ in rejected]
            intervals[kind] = mean_interval(np.asarray([share for _, share in rejected]), groups)
    if not intervals:
        return not_measured("the gate accepts no drawn pair", len(drawn), **shares)
    return of_types(intervals, len(rows), extra=shares)


def _ends(mask: Pixels, axis: int) -> tuple[int, int]:
    places = np.flatnonzero(mask.any(1 - axis))
    return int(places[0]), int(places[-1]) + 1
