# SPDX-License-Identifier: Apache-2.0
"""One process at a time makes a thing in the cache; the others wait and then find it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def only_one(path: Path, what: str) -> Iterator[None]:
    """Hold a lock beside a file or folder; the operating system releases it when the process ends, however it ends.

    Args:
        path: what is made; the lock is a file of that name with ``.lock`` added.
        what: what it is, for the message of those that wait.
    """
    from filelock import FileLock, Timeout

    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(f"{path}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print(f"seas-aug: another process makes {what} in {path} now; waiting for it.", flush=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
