# SPDX-License-Identifier: Apache-2.0
"""A pool of pairs that another process keeps renewing while a detector trains on it."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from seas_aug.anomalib_plugin.pool import PairPool, read_manifest
from seas_aug.anomalib_plugin.producer import Follower, Producer
from seas_aug.anomalib_plugin.sources import Triple
from seas_aug.artifact.lock import holder
from seas_aug.errors import SeasError
from seas_aug.generate.writer import MANIFEST, pairs_made

logger = logging.getLogger(__name__)
_PAUSE = 0.2
_ATTEMPTS = 5
_PATIENCE_FOR_PAIRS = 60.0  # seconds that training waits for new pairs before it is told why
# Seconds without any new pair after which a process that cannot ask for one itself draws nevertheless: ranks draw not
# quite alike, and the first could be waiting for this one. Less than the 10 minutes that NCCL waits for a rank.
_PATIENCE_FOR_OTHERS = 300.0
# Seconds without any new pair after which nobody makes one any more, whatever its process seems to do: a batch of
# Stable Diffusion takes minutes on a CPU. Where another process has the stream, that process may be gone.
_LONGEST_WAIT, _LONGEST_WAIT_FOR_OTHERS = 3600.0, 600.0


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
