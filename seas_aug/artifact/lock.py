# SPDX-License-Identifier: Apache-2.0
"""One process at a time writes to a folder.

The lock is the existence of a file in the folder, ``.seas-aug.lock``, created exclusively, so that nothing is asked of
a shared file system but that: NFS 3 and later, SMB and Lustre have it, while ``flock`` is not needed. The file names
host, process and the time that the process began. Where that process is gone from this host, killed or not, or its
number belongs to another one now, the lock is taken over; no clock is compared for it. Containers that share a folder
need host names of their own. Of a process on another host nothing can be known: whoever finds such a lock waits as long
as it is told to, and then says which file to delete.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import SoftFileLock, Timeout

from seas_aug.artifact.atomic import clear_disk_errors
from seas_aug.errors import SeasError

LOCK = ".seas-aug.lock"
CACHE_PATIENCE = 12 * 3600.0
"""Seconds to wait for what another process makes in the cache: more than a fine-tuning takes, and not for ever."""
_POLL = 0.2


class FolderInUseError(SeasError):
    """Another process writes to the folder."""


@contextmanager
def only_writer(folder: Path, doing: str, patience: float = 0.0) -> Iterator[None]:
    """Hold the lock of a folder.

    Args:
        folder: made if it is missing.
        doing: what is done there, for messages, such as ``generating``.
        patience: seconds to wait for another writer to end.

    Raises:
        FolderInUseError: another process holds the lock still.
        SeasError: the folder may not be written, or the disk is full.
    """
    with clear_disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = SoftFileLock(folder / LOCK, poll_interval=_POLL)
        if not _acquired(lock):
            _wait(lock, folder, doing, patience)
    try:
        # At once for other machines too: one that saw an empty file for seconds would take it for damaged.
        with clear_disk_errors(folder), (folder / LOCK).open("r+b") as file:
            os.fsync(file.fileno())
        yield
    finally:
        lock.release()


def holder(folder: Path) -> str | None:
    """Return which process a folder's lock names, as ``process 12 on host``; None where there is no lock."""
    try:
        lines = (folder / LOCK).read_text(encoding="utf-8").splitlines()
        return f"process {int(lines[0])} on {lines[1]}"
    except (OSError, ValueError, IndexError):
        return None


def _acquired(lock: SoftFileLock) -> bool:
    for _ in range(2):  # the first attempt may only have removed the lock of a process that is gone
        try:
            lock.acquire(timeout=0)
            return True
        except Timeout:
            continue
    return False


def _wait(lock: SoftFileLock, folder: Path, doing: str, patience: float) -> None:
    who = holder(folder) or "another process"
    if patience > 0:
        limit = f"{patience / 3600:.0f} h" if patience >= 3600 else f"{patience:.0f} s"
        print(
            f"seas-aug: {who} writes to {folder} now; waiting for it, {limit} at most (delete {LOCK} in it if that "
            "process does not run any more).",
            flush=True,
        )
    try:
        lock.acquire(timeout=patience)
    except Timeout as error:
        who = holder(folder) or who
        message = (
            f"{folder}: {who} writes there now, so that {doing} has to wait; wait for its end or choose another "
            f"folder, or delete {LOCK} in it if that process does not run any more."
        )
        raise FolderInUseError(message) from error
