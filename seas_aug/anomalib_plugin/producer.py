# SPDX-License-Identifier: Apache-2.0
"""The process that makes the pairs of a stream, and what stands in for it in the other ranks of a training."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from seas_aug.artifact.atomic import clear_disk_errors
from seas_aug.errors import SeasError
from seas_aug.generate.stream import LOCKED, STOP, StreamSettings, why_ended

logger = logging.getLogger(__name__)
_PATIENCE = 20.0  # seconds for the producer to finish its batch before it is killed
_RETRY = 30.0  # seconds between attempts to take a folder over that another process renews


class Producer:
    """The process that makes the pairs. It ends when this one does, however it ends.

    Where another process renews the folder already, as that of a second training does, its pairs serve here too. This
    one's process has ended then and is started again from time to time, to take over when the other one has ended.

    Args:
        settings: what to make.
        command: the program to start, for tests; None takes ``python -m seas_aug.generate.stream``.

    Attributes:
        settings: what is made.
        log: what the process writes to its standard output and error.

    Raises:
        SeasError: the disk is full, or the log may not be written.
    """

    def __init__(self, settings: StreamSettings, command: Sequence[str] | None = None) -> None:
        self.settings = settings
        self.log = Path(f"{settings.folder}.{os.getpid()}.log")
        self._command = [*(command or (sys.executable, "-m", "seas_aug.generate.stream")), *settings.arguments()]
        self._drawn = self._before = 0
        self._started, self._stopped = 0.0, False
        self._process = self._start()

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether the process runs; if not, another one may renew the folder."""
        return self._process.poll() is None

    def report(self, drawn: int, ahead: int = 0) -> None:
        """Tell how many pairs have been drawn.

        Args:
            drawn: in all, 0 or more.
            ahead: so many more are wanted now, and training waits for new pairs.
        """
        self._drawn = drawn
        self._send(str(drawn + ahead - self._before))

    def why_ended(self) -> str | None:
        """Return why the pairs are not renewed any more; None while they are, be it by another process.

        If another one renewed them when this one's process was last started, it is started again after a pause.
        """
        code = self._process.poll()
        if code is None:
            return None
        if code == LOCKED and not self._stopped:
            self._start_again()
            return None
        return why_ended(self.log, code, self.settings.folder)

    def stop(self) -> None:
        """End the producer: at once if it waits, else after the pairs it is making; nothing half-made is left.

        Its log is deleted unless it ended with an error.
        """
        self._stopped = True
        self._send(STOP)
        self._close_pipe()
        killed = False
        try:
            self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            killed = True
            self._process.kill()
            self._process.wait()
        if killed or self._process.returncode in (0, LOCKED):
            with suppress(OSError):
                self.log.unlink(missing_ok=True)

    def _start(self) -> subprocess.Popen[bytes]:
        self._started = time.monotonic()
        with clear_disk_errors(self.log):
            self.log.parent.mkdir(parents=True, exist_ok=True)
            with self.log.open("wb") as log:
                # Unbuffered: a line is written at once or not at all. Ctrl+C is for the training, which then ends it.
                process = subprocess.Popen(
                    self._command, stdin=subprocess.PIPE, stdout=log, stderr=log, bufsize=0, start_new_session=True
                )
        if process.stdin is not None and os.name == "posix":
            os.set_blocking(process.stdin.fileno(), False)  # a producer that reads nothing must not halt the training
        return process

    def _start_again(self) -> None:
        if time.monotonic() - self._started < _RETRY:
            return
        self._close_pipe()
        # What was drawn so far is not made up for, but for one pair, so that max_uses can never wait in vain.
        self._before = max(0, self._drawn - self.settings.uses)
        try:
            self._process = self._start()
        except (OSError, SeasError) as error:
            logger.debug("the producer could not be started again: %s", error)

    def _send(self, line: str) -> None:
        pipe = self._process.stdin
        if pipe is None or pipe.closed or self._process.poll() is not None:
            return
        try:
            pipe.write(f"{line}\n".encode())
        except OSError:  # a broken pipe, which Windows calls an invalid argument
            logger.debug("the producer ended before it could be told %s", line)

    def _close_pipe(self) -> None:
        if self._process.stdin is not None:
            with suppress(OSError):
                self._process.stdin.close()


class Follower:
    """Stands in for a :class:`Producer` where another process has it: in the ranks of a training but the first.

    Args:
        settings: those of the producer, to check other options against; None checks nothing.

    Attributes:
        settings: as given.
        pid: None, as it has no process; ``is_running`` is False.
    """

    pid = None
    is_running = False

    def __init__(self, settings: StreamSettings | None = None) -> None:
        self.settings = settings

    def report(self, drawn: int, ahead: int = 0) -> None:
        """Do nothing; the first rank reports.

        Args:
            drawn: as for :meth:`Producer.report`.
            ahead: likewise.
        """

    def why_ended(self) -> str | None:
        """Return None: it is not known here."""
        return None

    def stop(self) -> None:
        """Do nothing."""
