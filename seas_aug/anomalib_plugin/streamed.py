# SPDX-License-Identifier: Apache-2.0
"""A pool of pairs that another process keeps renewing while a detector trains on it."""

from __future__ import annotations

import logging
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from seas_aug.anomalib_plugin.pool import PairPool, Triple, read_manifest
from seas_aug.errors import SeasError
from seas_aug.generate.writer import MANIFEST

logger = logging.getLogger(__name__)
_PAUSE = 0.2
_PATIENCE = 20.0  # seconds for the producer to finish its batch before it is killed
_ATTEMPTS = 5


@dataclass(frozen=True)
class StreamSettings:
    """How a pool is renewed.

    Args:
        run: run folder of ``seas-aug finetune``.
        folder: the pool.
        num_images: pairs of each type in it.
        uses: one pair is renewed for so many that are drawn.
        anomaly_types: the types (``a+b`` for recombined ones).
        seed: base seed.
        accelerator: where the pairs are made: ``auto``, ``cpu``, ``gpu``, ``cuda`` or ``mps``.
        threads: CPU threads of the producer; None takes torch's default.
        strength: how much of each image is redrawn; None takes the model's own.
    """

    run: Path
    folder: Path
    num_images: int
    uses: int
    anomaly_types: tuple[str, ...]
    seed: int
    accelerator: str
    threads: int | None
    strength: float | None = None


class Producer:
    """The process that makes the pairs. It ends when this one does, however it ends: their pipe is closed then.

    Args:
        settings: what to make.
        command: the program to start, for tests; None takes ``python -m seas_aug.generate.stream``.
    """

    def __init__(self, settings: StreamSettings, command: Sequence[str] | None = None) -> None:
        arguments = [f"--run={settings.run}", f"--output={settings.folder}", f"--num_images={settings.num_images}"]
        arguments += [f"--uses={settings.uses}", f"--seed={settings.seed}", f"--accelerator={settings.accelerator}"]
        if settings.threads:
            arguments.append(f"--threads={settings.threads}")
        if settings.strength is not None:
            arguments.append(f"--strength={settings.strength}")
        arguments += ["--anomaly_type", *settings.anomaly_types]
        self.log = Path(f"{settings.folder}.log")
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [*(command or (sys.executable, "-m", "seas_aug.generate.stream")), *arguments],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl+C is for the training process, which then ends this one
            )

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def report(self, drawn: int) -> None:
        """Tell how many pairs have been drawn.

        Args:
            drawn: in all, since the producer was started.
        """
        if self._process.stdin is not None and self._process.poll() is None:
            try:
                self._process.stdin.write(f"{drawn}\n".encode())
                self._process.stdin.flush()
            except BrokenPipeError:
                logger.debug("the producer ended while it was told what was drawn")

    def why_ended(self) -> str | None:
        """Return the last line that the producer wrote, if it has ended; None while it runs."""
        if self._process.poll() is None:
            return None
        lines = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return (lines[-1] if lines else f"exit code {self._process.returncode}").removeprefix("seas-aug: error: ")

    def stop(self) -> None:
        """End the producer: at once if it waits, else after the pairs it is making; nothing half-made is left."""
        if self._process.stdin is not None and not self._process.stdin.closed:
            try:
                self._process.stdin.close()
            except BrokenPipeError:
                logger.debug("the producer had ended before it was told to")
        try:
            self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class StreamedPool(PairPool):
    """A pool whose pairs change while it is drawn from.

    Args:
        producer: what renews it.
        folder: the pool.
        anomaly_types: the types.
        first: pairs of each type that must be there before the first draw.

    Raises:
        SeasError: the producer ended before there were enough pairs.
    """

    def __init__(self, producer: Producer, folder: Path, anomaly_types: Sequence[str], first: int) -> None:
        self._producer = producer
        self._drawn, self._warned = 0, False
        wait_for(producer, Path(folder), anomaly_types, first)
        super().__init__(folder, anomaly_types)
        self._seen: tuple[int, int] | None = None

    @property
    def producer_pid(self) -> int:
        """Process id of the producer."""
        return self._producer.pid

    @property
    def drawn(self) -> int:
        """Pairs drawn so far."""
        return self._drawn

    def draw(self, generator: torch.Generator, n: int, size: tuple[int, int]) -> Triple:
        """Draw triples from what is there now, see :class:`~seas_aug.anomalib_plugin.pool.PairPool`.

        Args:
            generator: source of the order (a CPU generator).
            n: how many, 0 or more.
            size: height and width in pixels.
        """
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
        self._producer.report(self._drawn)
        return triples

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
        there = set(self.entries)
        # New pairs are drawn next: each is there for a while only.
        self._deck = [*(entry for entry in self._deck if entry in there), *new]


def wait_for(producer: Producer, folder: Path, types: Sequence[str], count: int) -> None:
    """Wait until the producer has made so many pairs of every type.

    Args:
        producer: what makes them.
        folder: where.
        types: the types.
        count: pairs of each type.

    Raises:
        SeasError: the producer ended before.
    """
    from tqdm import tqdm

    with tqdm(total=count * len(types), unit="pair", desc="first pairs") as progress:
        while True:
            try:
                entries = read_manifest(folder)
            except SeasError:
                entries = []  # none yet
            there = [min(count, sum(entry.anomaly_type == name for entry in entries)) for name in types]
            progress.update(sum(there) - progress.n)
            if min(there) >= count:
                return
            why = producer.why_ended()
            if why is not None:
                raise SeasError(f"no pairs for {folder}: {why}")
            time.sleep(_PAUSE)
