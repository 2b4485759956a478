# SPDX-License-Identifier: Apache-2.0
"""Sorting by name as a person would: ``2.png`` before ``10.png``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

_DIGITS = re.compile(r"([0-9]+)")


def natural_key(name: str) -> tuple[tuple[tuple[int, int, str], ...], str]:
    """Return a sort key that compares runs of digits by value and the rest without regard to case.

    Args:
        name: any text.

    Returns:
        A key of which two are equal only for equal names.
    """
    pieces = _DIGITS.split(name)
    return tuple(
        (0, int(piece), "") if piece.isdecimal() else (1, 0, piece.casefold()) for piece in pieces if piece
    ), name


def natural_sorted(paths: Iterable[Path]) -> list[Path]:
    """Sort paths by file name with :func:`natural_key`.

    Args:
        paths: files or folders, usually of one folder.

    Returns:
        A new list.
    """
    return sorted(paths, key=lambda path: (natural_key(path.name), str(path)))
