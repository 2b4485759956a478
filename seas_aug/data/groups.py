# SPDX-License-Identifier: Apache-2.0
"""Groups of images that show the same physical part: a split that divides one leaks."""

from __future__ import annotations

import csv
import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from seas_aug.errors import SeasError

logger = logging.getLogger(__name__)
_COLUMNS = ("folder", "file", "group")
_DEPTH = 4  # folders of a path by which items are told


@dataclass(frozen=True)
class Groups:
    """Which group each image belongs to.

    Args:
        rows: (folder such as ``test/crack``, file name) -> group name.
    """

    rows: dict[tuple[str, str], str] = field(default_factory=dict)

    def of(self, image: Path) -> str:
        """Return the group of an image; an image that is not listed is a group of its own.

        Args:
            image: path whose last folders are compared with the ``folder`` column.

        Returns:
            A name that is equal for two images exactly if they are in one group.
        """
        return self._listed(image) or f"file {image}"

    def lists(self, image: Path) -> bool:
        """Tell whether the image is listed at all.

        Args:
            image: path of an image.

        Returns:
            True if a row names it.
        """
        return self._listed(image) is not None

    def unmatched(self, images: Iterable[Path]) -> list[str]:
        """Return the rows that name none of these images, as ``folder/file``, in their order.

        Args:
            images: paths, as for :meth:`of`.
        """
        named = {self._row(image) for image in images}
        return ["/".join(row) for row in self.rows if row not in named]

    def _listed(self, image: Path) -> str | None:
        row = self._row(image)
        return None if row is None else f"group {self.rows[row]}"

    def _row(self, image: Path) -> tuple[str, str] | None:
        folders = image.parts[:-1]
        for depth in range(len(folders), 0, -1):
            row = ("/".join(folders[-depth:]), image.name)
            if row in self.rows:
                return row
        return None


def groups_by_folder(images: Iterable[Path]) -> Groups:
    """Make one group of the images of each folder.

    Args:
        images: absolute paths.

    Returns:
        The groups, named after their folders.
    """
    return Groups({("/".join(image.parts[-1 - _DEPTH : -1]), image.name): str(image.parent) for image in images})


def read_groups(path: Path) -> Groups:
    """Read a CSV file with the columns ``folder,file,group``.

    ``test/crack`` and ``./test/crack/`` are one folder, backslashes may divide it, and a file may bring folders too.

    Args:
        path: the file, UTF-8.

    Returns:
        The groups. The same group name in several folders means the same part.

    Raises:
        SeasError: the file is missing or unreadable, lacks a column, or puts one image into two groups.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            missing = [column for column in _COLUMNS if column not in (reader.fieldnames or ())]
            lines = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        message = (
            f"{path}: cannot be read ({error}); expected a CSV file with the columns folder,file,group, correct it."
        )
        raise SeasError(message) from error
    if missing:
        message = f"{path}: the column {missing[0]} is missing; expected the first line folder,file,group, add it."
        raise SeasError(message)
    rows: dict[tuple[str, str], str] = {}
    for line in lines:
        folder, name, group = ((line[column] or "").strip() for column in _COLUMNS)
        key = _row_of(folder, name)
        if rows.setdefault(key, group) != group:
            message = f"{path}: {'/'.join(key)} is in the groups {rows[key]} and {group}; expected one, correct it."
            raise SeasError(message)
    return Groups(rows)


def check_rows(groups: Groups, images: Iterable[Path], path: Path) -> None:
    """Tell which rows of a file name no image, as a row that is spelt another way would be ignored.

    Args:
        groups: what :func:`read_groups` read from ``path``.
        images: the images that rows may name.
        path: the file, for the message.

    Raises:
        SeasError: it has rows, and none of them names an image.
    """
    images = list(images)
    unmatched = groups.unmatched(images)
    if not unmatched:
        return
    example = "/".join(images[0].parts[-3:-1]) + f",{images[0].name},A" if images else "test/crack,000.png,A"
    if len(unmatched) == len(groups.rows):
        message = f"{path}: lists none of the {len(images)} images, but {unmatched[0]} and the like; expected rows such"
        raise SeasError(f"{message} as {example}, correct it.")
    _warn_once(
        f"{path}: {len(unmatched)} of {len(groups.rows)} rows name no image, such as {unmatched[0]}; expected rows "
        f"such as {example}, correct them or leave them out."
    )


@lru_cache
def _warn_once(message: str) -> None:
    logger.warning(message)


def _row_of(folder: str, file: str) -> tuple[str, str]:
    parts = [part for part in f"{folder}/{file}".replace("\\", "/").split("/") if part not in ("", ".")]
    while ".." in parts[1:]:
        at = parts.index("..", 1)
        del parts[at - 1 : at + 1]
    return "/".join(parts[:-1]), parts[-1] if parts else ""
