# SPDX-License-Identifier: Apache-2.0
"""Names that come out of a file, a model's or a manifest's, and must not lead out of the folder they belong to."""

from __future__ import annotations

from pathlib import PurePosixPath, PureWindowsPath

from seas_aug.errors import SeasError

NORMAL_FOLDER = "good"
"""Where normal images lie in the layout of MVTec AD; no anomaly type has that name."""


def is_folder_name(name: str) -> bool:
    """Tell whether a name is that of one folder on every system, and no path.

    Args:
        name: any text.
    """
    forbidden = set("/\\:") | {chr(code) for code in range(32)}
    return bool(name.strip(" .")) and not forbidden & set(name)


def check_relative(path: object, where: str) -> str:
    """Return a path that stays below its folder.

    Args:
        path: as it was read.
        where: file that it was read from, for the message.

    Raises:
        SeasError: it is absolute, on another drive, leads upwards, or is no text.
    """
    if isinstance(path, str) and path:
        posix, windows = PurePosixPath(path), PureWindowsPath(path)
        upwards = ".." in posix.parts or ".." in windows.parts
        if not (posix.is_absolute() or windows.anchor or upwards or "\0" in path):
            return path
    message = f"{where}: names {path!r}; expected a file below that folder, so do not use it: it is damaged or forged."
    raise SeasError(message)
