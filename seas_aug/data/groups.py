# SPDX-License-Identifier: Apache-2.0
"""Groups of images that show the same physical part: a split that divides one leaks."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from seas_aug.errors import SeasError

_COLUMNS = ("folder", "file", "group")
_DEPTH = 4  # folders of a path that are compared


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

    def _listed(self, image: Path) -> str | None:
        folders = image.parts[:-1]
        for depth in range(min(len(folders), _DEPTH), 0, -1):
            group = self.rows.get(("/".join(folders[-depth:]), image.name))
            if group is not None:
                return f"group {group}"
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
        key = (folder.replace("\\", "/").strip("/"), name)
        if rows.setdefault(key, group) != group:
            message = f"{path}: {key[0]}/{name} is in the groups {rows[key]} and {group}; expected one, correct it."
            raise SeasError(message)
    return Groups(rows)
