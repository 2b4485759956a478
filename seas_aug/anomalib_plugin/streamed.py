# SPDX-License-Identifier: Apache-2.0
"""A pool of pairs that another process keeps renewing while a detector trains on it."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import torch

from seas_aug.anomalib_plugin.pool import PairPool, read_manifest
from seas_aug.anomalib_plugin.sources import Triple
from seas_aug.artifact.atomic import clear_disk_errors
from seas_aug.artifact.lock import holder
from seas_aug.errors import SeasError
from seas_aug.generate.stream import LOCKED, STOP, StreamSettings, why_ended
from seas_aug.generate.writer import MANIFEST, pairs_made

logger = logging.getLogger(__name__)
_PAUSE = 0.2
_PATIENCE = 20.0  # seconds for the producer to finish its batch before it is killed
_ATTEMPTS = 5
_RETRY = 30.0  # seconds between attempts to take a folder over that another process renews
_PATIENCE_FOR_PAIRS = 60.0  # seconds that training waits for new pairs before it is told why
# Seconds without any new pair after which a process that cannot ask for one itself draws nevertheless: ranks draw not
# quite alike, and the first could be waiting for this one. Less than the 10 minutes that NCCL waits for a rank.
_PATIENCE_FOR_OTHERS = 300.0
# Seconds without any new pair after which nobody makes one any more, whatever its process seems to do: a batch of
# Stable Diffusion takes minutes on a CPU. Where another process has the stream, that process may be gone.
_LONGEST_WAIT, _LONGEST_WAIT_FOR_OTHERS = 3600.0, 600.0


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


class StreamedPool(PairPool):
    """A pool whose pairs change while it is drawn from.

    Args:
        producer: what renews it.
        folder: the pool.
        anomaly_types: the types.
        first: pairs of each type that must be there before the first draw.
        readers: how many processes draw alike, each with a pool of its own; draws are counted as those of all.
        max_uses: draws wait for new pairs where more than so many would come on each pair that has been there; None
            never waits.

    Raises:
        SeasError: a number is out of range, or the producer ended before there were enough pairs.
    """

    def __init__(
        self,
        producer: Producer | Follower,
        folder: Path,
        anomaly_types: Sequence[str],
        first: int,
        readers: int = 1,
        max_uses: int | None = None,
    ) -> None:
        if readers < 1:
            raise SeasError(f"readers is {readers}; expected 1 or more, correct it.")
        least = 1 if producer.settings is None else producer.settings.uses
        if max_uses is not None and max_uses < least:
            message = f"max_uses is {max_uses}, and a new pair is made for {least} that are drawn, so that training "
            raise SeasError(message + f"would wait for ever; give at least {least}.")
        self._producer, self._readers, self._max_uses = producer, readers, max_uses
        self._drawn = self._waived = 0
        self._warned = self._warned_of_waiting = False
        wait_for(producer, Path(folder), anomaly_types, first)
        super().__init__(folder, anomaly_types)
        self._distinct, self._made = len(self.entries), pairs_made(self.folder)
        self._seen: tuple[int, int] | None = None

    @property
    def producer_pid(self) -> int | None:
        """Process id of the producer; None where another process has it."""
        return self._producer.pid

    @property
    def drawn(self) -> int:
        """Pairs drawn so far, by this process alone."""
        return self._drawn

    @property
    def distinct(self) -> int:
        """Different pairs that have been in the pool since it was opened."""
        return self._distinct

    def draw(self, generator: torch.Generator, n: int, size: tuple[int, int]) -> Triple:
        """Draw triples from what is there now, see :class:`~seas_aug.anomalib_plugin.pool.PairPool`.

        Args:
            generator: source of the order (a CPU generator).
            n: how many, 0 or more.
            size: height and width in pixels.
        """
        if self._max_uses is not None:
            self._wait_for_new_pairs(n, self._max_uses)
        for attempt in range(_ATTEMPTS):
            self._refresh()
            try:
                triples = super().draw(generator, n, size)
                break
            except SeasError:  # a picture was deleted after its pair had been retired for long, as in a debugger
                if attempt == _ATTEMPTS - 1:
                    raise
                self._seen = None
        self._drawn += n
        self._producer.report(self._drawn * self._readers)
        return triples

    def _wait_for_new_pairs(self, n: int, max_uses: int) -> None:
        self._refresh()
        start = renewed = time.monotonic()
        known = self._distinct
        while self._lacking(n, max_uses) > 0 and self._producer.why_ended() is None:
            # Wanted pairs count before they are drawn, else the producer would wait for these draws in its turn.
            self._producer.report(self._drawn * self._readers, n * self._readers)
            time.sleep(_PAUSE)
            self._refresh()
            now = time.monotonic()
            if self._distinct > known:
                known, renewed = self._distinct, now
            if not self._warned_of_waiting and now - start > _PATIENCE_FOR_PAIRS:
                self._warned_of_waiting = True
                logger.warning(
                    "Training waits for new pairs, as each is to be drawn %d times at most; allow more uses, or make "
                    "the pairs on a faster device.",
                    max_uses,
                )
            if not self._producer.is_running and now - renewed > _PATIENCE_FOR_OTHERS:
                self._waived += self._lacking(n, max_uses)
            _check_wait(self._producer, self.folder, now - renewed)

    def _lacking(self, n: int, max_uses: int) -> int:
        """Return how many draws too many n more would be."""
        return (self._drawn + n) * self._readers - max_uses * self._distinct - self._waived

    def _state(self) -> tuple[int, int]:
        state = (self.folder / MANIFEST).stat()
        return state.st_mtime_ns, state.st_size

    def _refresh(self) -> None:
        if not self._warned and (why := self._producer.why_ended()) is not None:
            self._warned = True
            logger.warning(
                "The pairs are not renewed any more (%s); training goes on with the %d that are there.", why, len(self)
            )
        state = self._state()
        if state == self._seen:
            return
        self._seen = state
        before = set(self.entries)
        self.entries = tuple(e for e in read_manifest(self.folder) if e.anomaly_type in self.anomaly_types)
        new = [entry for entry in self.entries if entry not in before]
        made = pairs_made(self.folder)
        self._distinct += sum(max(0, made.get(name, 0) - self._made.get(name, 0)) for name in self.anomaly_types)
        self._made = made
        there = set(self.entries)
        # New pairs are drawn next: each is there for a while only.
        self._deck = [*(entry for entry in self._deck if entry in there), *new]


def wait_for(producer: Producer | Follower, folder: Path, types: Sequence[str], count: int) -> None:
    """Wait until the producer has made so many pairs of every type.

    Args:
        producer: what makes them.
        folder: where.
        types: the types.
        count: pairs of each type.

    Raises:
        SeasError: the producer ended before, or no pair came for very long.
    """
    from tqdm import tqdm

    since = time.monotonic()
    with tqdm(total=count * len(types), unit="pair", desc="first pairs") as progress:
        while True:
            try:
                entries = read_manifest(folder)
            except SeasError:
                entries = []  # none yet
            there = [min(count, sum(entry.anomaly_type == name for entry in entries)) for name in types]
            if sum(there) > progress.n:
                since = time.monotonic()
            progress.update(sum(there) - progress.n)
            if min(there) >= count:
                return
            why = producer.why_ended()
            if why is not None:
                raise SeasError(f"no pairs for {folder}: {why}")
            _check_wait(producer, folder, time.monotonic() - since)
            time.sleep(_PAUSE)


def _check_wait(producer: Producer | Follower, folder: Path, waited: float) -> None:
    if waited > (_LONGEST_WAIT if producer.is_running else _LONGEST_WAIT_FOR_OTHERS):
        who = f"process {producer.pid}" if producer.is_running else holder(folder) or "no process"
        message = f"{folder}: no new pair came for {waited / 60:.0f} min ({who} makes them); end that process if it "
        raise SeasError(message + "hangs, and run the same command again.")
