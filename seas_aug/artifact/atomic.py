# SPDX-License-Identifier: Apache-2.0
"""Write a file or folder so that it is there whole or not at all.

Everything is first written under a temporary name beside its target, flushed to the disk and then renamed. A process
killed at any point leaves the old content, the new content or a leftover whose name ends in ``.seas-tmp``.
"""

from __future__ import annotations

import errno
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from seas_aug.errors import SeasError

LEFTOVER_SUFFIX = ".seas-tmp"
_DISK_FULL = {errno.ENOSPC, errno.EDQUOT}
_NOT_WRITABLE = (PermissionError, NotADirectoryError, FileExistsError)
_ON_WINDOWS = os.name == "nt"
_REPLACE_FOR = 10.0  # seconds


@contextmanager
def clear_disk_errors(path: Path) -> Iterator[None]:
    """Turn a full disk, or a folder or file system that may not be written, into one clear sentence.

    Args:
        path: what is being written; named in the message.

    Raises:
        SeasError: the disk (or the quota) is full, or ``path`` may not be written.
        OSError: any other fault, unchanged.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _DISK_FULL:
            message = f"{path}: disk full; free space and run again, nothing already made is lost."
            raise SeasError(message) from error
        if isinstance(error, _NOT_WRITABLE) or error.errno == errno.EROFS:
            message = f"{path}: cannot be written ({error.strerror}); choose an output folder that you may write to."
            raise SeasError(message) from error
        raise


@contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """Open a binary file whose content appears under ``path`` only when the block ends without an error.

    Args:
        path: target file; its folder is made if it is missing, an existing file is replaced.

    Yields:
        A writable binary file.

    Raises:
        SeasError: the disk is full or the folder may not be written; the old file is untouched.
    """
    with clear_disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = _temporary_name(path)
        try:
            with temporary.open("xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            _replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        _sync_folder(path.parent)


def atomic_write_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8 to ``path``, whole or not at all.

    Args:
        path: target file; its folder is made if it is missing.
        text: the whole content.

    Raises:
        SeasError: the disk is full or the folder may not be written.
    """
    with atomic_write(path) as file:
        file.write(text.encode("utf-8"))


def append_line(path: Path, line: str) -> None:
    """Append one line and wait until it is on the disk.

    A kill or a full disk in the middle can leave a torn last line, which the reader must drop.

    Args:
        path: file to append to; made if it is missing.
        line: text without a line break.

    Raises:
        SeasError: the disk is full or the file may not be written.
    """
    with clear_disk_errors(path), path.open("ab") as file:
        file.write(line.encode("utf-8") + b"\n")
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Give an empty folder to fill; it takes the place of ``path`` only when the block ends without an error.

    An existing folder is moved aside, replaced and then deleted. A kill between these two renames is mended by
    :func:`recover_folder`, which this function also calls first.

    Args:
        path: target folder.

    Yields:
        The temporary folder beside ``path`` to write into.

    Raises:
        SeasError: the disk is full or the parent may not be written; the old folder is untouched.
    """
    with clear_disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        recover_folder(path)
        temporary = _temporary_name(path)
        temporary.mkdir()
        try:
            yield temporary
            for item in sorted(temporary.rglob("*")):
                if item.is_file():
                    with item.open("r+b" if _ON_WINDOWS else "rb") as file:  # Windows flushes what may be written to
                        os.fsync(file.fileno())
            if path.exists():
                _replace(path, _old_name(path))
            _replace(temporary, path)
            shutil.rmtree(_old_name(path), ignore_errors=True)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
            recover_folder(path)
        _sync_folder(path.parent)


def recover_folder(path: Path) -> None:
    """Undo a replacement of ``path`` by :func:`atomic_folder` that was killed half way.

    Args:
        path: target folder as given to :func:`atomic_folder`; nothing happens when no replacement was under way.
    """
    old = _old_name(path)
    if not old.exists():
        return
    if path.exists():
        shutil.rmtree(old)
    else:
        old.rename(path)


def remove_leftovers(folder: Path) -> int:
    """Delete temporary files below ``folder`` that a killed process left behind.

    Args:
        folder: searched with all its sub-folders; may be missing.

    Returns:
        How many files were deleted.
    """
    leftovers = [path for path in folder.rglob(f".*{LEFTOVER_SUFFIX}") if path.is_file()]
    for path in leftovers:
        path.unlink(missing_ok=True)
    return len(leftovers)


def _replace(source: Path, target: Path) -> None:
    """Rename; on Windows, which refuses while another process has the target open, try again for some seconds."""
    until = time.monotonic() + _REPLACE_FOR
    while True:
        try:
            source.replace(target)
            return
        except PermissionError:
            if not _ON_WINDOWS or time.monotonic() > until:
                raise
            time.sleep(0.05)


def _temporary_name(path: Path) -> Path:
    return path.with_name(f".{path.name}.{uuid.uuid4().hex}{LEFTOVER_SUFFIX}")


def _old_name(path: Path) -> Path:
    return path.with_name(f".{path.name}.old{LEFTOVER_SUFFIX}")


def _sync_folder(folder: Path) -> None:
    """Make a rename durable where the system can open folders (not on Windows)."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
