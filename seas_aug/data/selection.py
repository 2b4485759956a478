# SPDX-License-Identifier: Apache-2.0
"""What is fine-tuned on: few-shot defects, and normal images that show no part that is tested on."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from seas_aug.data.category import MIN_NORMALS, Category
from seas_aug.data.few_shot import FewShotSplit, find_groups, select_few_shot
from seas_aug.errors import SeasError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Selection:
    """What to fine-tune on.

    Args:
        normals: normal training images.
        split: few-shot, held-out and excluded images.
    """

    normals: tuple[Path, ...]
    split: FewShotSplit


def select(
    category: Category,
    few_shot: str,
    groups: Path | None = None,
    num_normals: int | None = None,
    others: Sequence[Path] = (),
) -> Selection:
    """Divide a category into what is fine-tuned on and what may be tested on; no group is on both sides.

    A normal image whose group has an image to test on is left out. An image of the same group as one that is fine-tuned
    on, which is not fine-tuned on itself, is excluded from tests.

    Args:
        category: what to divide.
        few_shot: as for :func:`~seas_aug.data.few_shot.select_few_shot`.
        groups: likewise.
        num_normals: normal images to take, evenly spread; None takes all.
        others: images beside those of the category that the groups file may name.

    Raises:
        SeasError: as for :func:`~seas_aug.data.few_shot.select_few_shot`, or fewer than 2 normal images are left.
    """
    membership = find_groups(category, groups, others)
    split = select_few_shot(category, few_shot, membership)
    excluded = set(split.excluded)
    tested = [path for path in category.test_others if path not in excluded]
    tested += [sample.image for samples in split.held_out.values() for sample in samples]
    theirs = {membership.of(path) for path in tested}
    free = [path for path in category.normals if membership.of(path) not in theirs]
    check_enough_normals(category.normals, free, "share no group with an image to test on")
    normals = choose_normals(free, num_normals)
    shown, chosen = {membership.of(path) for path in (*normals, *(s.image for s in split.samples))}, set(normals)
    mates = tuple(path for path in free if path not in chosen and membership.of(path) in shown)
    return Selection(normals, dataclasses.replace(split, excluded=(*split.excluded, *mates)))


def choose_normals(normals: Sequence[Path], count: int | None) -> tuple[Path, ...]:
    """Pick normal images evenly spread over a list.

    Args:
        normals: all of them.
        count: how many to pick; None, or more than there are, takes all.

    Returns:
        ``count`` of them in their order.

    Raises:
        SeasError: ``count`` is less than 1.
    """
    if count is None or count >= len(normals):
        return tuple(normals)
    if count < 1:
        raise SeasError(f"data.num_normals is {count}; expected 1 or more, or leave it out to take all of them.")
    return tuple(normals[i * len(normals) // count] for i in range(count))


def check_enough_normals(normals: Sequence[Path], left: Sequence[Path], why: str) -> None:
    """Tell that normal images are not fine-tuned on, and refuse where too few are left.

    Args:
        normals: all normal images.
        left: those that may be fine-tuned on.
        why: what is true of these, as the end of "of 9 normal images only 1 ...".

    Raises:
        SeasError: there are fewer than 2.
    """
    if len(left) < MIN_NORMALS:
        message = (
            f"of {len(normals)} normal images only {len(left)} {why}; expected at least {MIN_NORMALS} to fine-tune on, "
            "add normal images, correct the groups, or leave fewer images to validation and test."
        )
        raise SeasError(message)
    if len(left) < len(normals):
        logger.warning("%d of %d normal images are fine-tuned on: those that %s.", len(left), len(normals), why)
