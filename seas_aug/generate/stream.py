# SPDX-License-Identifier: Apache-2.0
"""A folder of pairs that is renewed while a detector trains on it: ``python -m seas_aug.generate.stream --help``.

The process that trains starts this one and writes to its standard input, a line each, how many pairs it has drawn so
far. Pairs are renewed as fast as that: a new one for so many that were drawn, the oldest of a type goes first. This
process ends with the training: when it reads the line ``stop``, when the input ends, or when its parent is gone.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from seas_aug.artifact.lock import FolderInUseError, only_writer
from seas_aug.artifact.model_hash import find_model
from seas_aug.config import DrawConfig, as_plain
from seas_aug.errors import SeasError
from seas_aug.generate.plan import folder_name, plan_image, resolve_types
from seas_aug.generate.run import PairSource, copy_split, drawn_from, load_source, make_batch
from seas_aug.generate.writer import PairWriter

LOCKED = 3
"""Exit code where another process renews the folder already."""
STOP = "stop"
"""The line that ends the process, as end-of-file may never come: forked processes can hold the other end open."""
_PREFIX = "seas-aug:"  # of the line that says why the process ended
_LEAST_FREE = 2**20  # bytes; a disk with fewer is full
_GRACE = 30.0  # seconds for which the files of a retired pair stay, for who is reading them
_PAUSE = 0.2
_GIVEN_UP = 100  # seeds refused in a row after which no pair is to be expected


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
        drawing: where defects go, their number, size and strength; None takes the run's own.
    """

    run: Path
    folder: Path
    num_images: int
    uses: int
    anomaly_types: tuple[str, ...]
    seed: int
    accelerator: str
    threads: int | None
    drawing: DrawConfig | None = None

    def arguments(self) -> list[str]:
        """Return the arguments of :func:`main`."""
        arguments = [f"--run={self.run}", f"--output={self.folder}", f"--num_images={self.num_images}"]
        arguments += [f"--uses={self.uses}", f"--seed={self.seed}", f"--accelerator={self.accelerator}"]
        if self.threads:
            arguments.append(f"--threads={self.threads}")
        if self.drawing is not None and self.drawing != DrawConfig():
            arguments.append(f"--drawing={json.dumps(as_plain(self.drawing))}")
        return [*arguments, "--anomaly_type", *self.anomaly_types]


class Renewal:
    """Fills a folder up to so many pairs of each type, then renews the oldest.

    Pair i of a type is the same as pair i of ``seas-aug generate`` with the same seed. A folder that is there already
    is gone on with.

    Args:
        run: run folder of ``seas-aug finetune``.
        output: folder of the pairs, in the layout of ``seas-aug generate``.
        num_images: pairs of each type.
        uses: a pair is renewed for so many that were drawn.
        anomaly_types: one list of names per folder; None takes all types of the model.
        seed: base seed.
        batch_size: pairs drawn at a time.
        accelerator: ``auto``, ``cpu``, ``gpu``, ``cuda`` or ``mps``.
        pipeline: a loaded pipeline to use in place of the model in ``run``.
        drawing: where defects go, their number, size and strength; None takes the run's own.

    Raises:
        SeasError: no finished model, an unknown type, a number out of range, or a folder that cannot be used.
    """

    def __init__(
        self,
        run: Path,
        output: Path,
        num_images: int,
        uses: int,
        anomaly_types: Sequence[Sequence[str]] | None = None,
        seed: int = 0,
        batch_size: int = 4,
        accelerator: str = "auto",
        pipeline: PairSource | None = None,
        drawing: DrawConfig | None = None,
    ) -> None:
        for name, value in {"num_images": num_images, "uses": uses, "batch_size": batch_size}.items():
            if value < 1:
                raise SeasError(f"{name} is {value}; expected 1 or more, correct it.")
        model = find_model(run)
        self._pipe = load_source(model, accelerator) if pipeline is None else pipeline
        self._types = resolve_types(anomaly_types, self._pipe.anomaly_types)
        self._drawing = drawing or DrawConfig()
        self._references = self._pipe.check(self._drawing)
        self._writer = PairWriter(output, drawn_from(model, seed, self._drawing, stream=True))
        copy_split(model, output)
        self._writer.remove_unlisted()
        self._size, self._uses, self._seed, self._batch = num_images, uses, seed, batch_size
        self._retired: deque[tuple[float, Path]] = deque()
        self._refused = {folder_name(types): 0 for types in self._types}
        self.renewed = 0

    def step(self, drawn: int) -> int:
        """Make a batch of pairs if the folder is not full, or enough have been drawn.

        Args:
            drawn: pairs drawn from the folder so far.

        Returns:
            How many pairs were made.

        Raises:
            SeasError: nothing that the gate accepts comes any more, or the disk is full; what is there already stays
                usable.
        """
        self._delete_retired()
        names = min(self._types, key=lambda types: (len(self._there(types)), self._newest(types)))
        missing = self._size - len(self._there(names))
        count = min(self._batch, missing if missing > 0 else drawn // self._uses - self.renewed)
        if count < 1:
            return 0
        first = self._newest(names) + 1
        batch = [plan_image(names, index, self._seed, self._references) for index in range(first, first + count)]
        made = make_batch(self._pipe, batch, self._writer, self._drawing)
        folder = folder_name(names)
        self._refused[folder] = 0 if made else self._refused[folder] + count
        if self._refused[folder] >= _GIVEN_UP:
            message = f"{folder}: the gate refused {self._refused[folder]} seeds in a row; fine-tune longer, or allow "
            raise SeasError(message + "another region or size.")
        if missing <= 0:
            self.renewed += made
        for index in self._there(names)[: -self._size]:
            for file in self._writer.retire(folder, index):
                self._retired.append((time.monotonic(), file))
        return made

    @property
    def is_full(self) -> bool:
        """Whether there are as many pairs of each type as there are to be."""
        return all(len(self._there(types)) >= self._size for types in self._types)

    def _there(self, names: tuple[str, ...]) -> list[int]:
        return sorted(self._writer.done(folder_name(names)))

    def _newest(self, names: tuple[str, ...]) -> int:
        folder = folder_name(names)
        return max(self._writer.done(folder) | self._writer.refused(folder), default=-1)

    def _delete_retired(self) -> None:
        while self._retired and time.monotonic() - self._retired[0][0] > _GRACE:
            self._retired.popleft()[1].unlink(missing_ok=True)


def serve(renewal: Renewal, counts: TextIO, parent: int | None = None) -> None:
    """Renew until the input ends or says ``stop``, or the parent process is gone.

    Args:
        renewal: what renews.
        counts: lines, each the number of pairs drawn so far, or ``stop``; others are passed over.
        parent: process id of the parent; None takes the present one. On Windows it never changes.

    Raises:
        SeasError: see :meth:`Renewal.step`.
    """
    parent = os.getppid() if parent is None else parent
    latest, ended = [0], threading.Event()

    def read() -> None:
        try:
            for line in counts:
                if line.strip() == STOP:
                    break
                try:
                    latest[0] = int(line)
                except ValueError:
                    _print(f"expected a number or {STOP!r}, passed over {line!r}")
        finally:
            ended.set()  # whatever happens: nobody could end this process otherwise

    threading.Thread(target=read, daemon=True).start()
    while not ended.is_set() and os.getppid() == parent:
        if not renewal.step(latest[0]):
            ended.wait(_PAUSE)


def why_ended(log: Path, code: int, folder: Path) -> str:
    """Explain why the process ended.

    Args:
        log: what it wrote.
        code: its return code, negative for a signal.
        folder: of the pairs.

    Returns:
        The last line that it wrote in this program's name, else what the code tells.
    """
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []  # deleted
    reasons = [line for line in lines if line.startswith(_PREFIX)]  # not what libraries and progress bars write
    if reasons:
        return reasons[-1].removeprefix(_PREFIX).strip().removeprefix("error:").strip()
    if code < 0:
        return f"killed by signal {-code}"
    return f"exit code {code}" + (f"; is the disk of {folder} full?" if _is_disk_full(folder) else "")


def _is_disk_full(folder: Path) -> bool:
    try:
        return shutil.disk_usage(folder if folder.exists() else folder.parent).free < _LEAST_FREE
    except OSError:
        return False


def _print(text: str) -> None:
    with suppress(OSError):  # the disk of the log is full; the exit code tells too
        print(text, file=sys.stderr, flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: arguments; None takes those of the process.

    Returns:
        Exit code: 0, 2 after a user's mistake or when the disk is full, or :data:`LOCKED`.
    """
    parent = os.getppid()  # before the model is loaded, which takes long
    parser = argparse.ArgumentParser(prog="python -m seas_aug.generate.stream", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--run", type=Path, required=True, help="Run folder of `seas-aug finetune`.")
    parser.add_argument("--output", type=Path, required=True, help="Folder of the pairs.")
    parser.add_argument("--num_images", type=int, required=True, help="Pairs of each type.")
    parser.add_argument("--uses", type=int, required=True, help="A pair is renewed for so many that were drawn.")
    parser.add_argument("--anomaly_type", nargs="*", help="Types; all of them if left out.")
    parser.add_argument("--seed", type=int, default=0, help="Base seed.")
    parser.add_argument("--drawing", type=json.loads, default={}, help="Fields of DrawConfig as JSON.")
    parser.add_argument("--accelerator", default="auto", help="auto, cpu, gpu, ...")
    parser.add_argument("--threads", type=int, help="CPU threads; those of torch if left out.")
    options = parser.parse_args(argv)
    if options.threads:
        import torch

        torch.set_num_threads(options.threads)
    types = [name.split("+") for name in options.anomaly_type] if options.anomaly_type else None
    try:
        with only_writer(options.output, "renewing pairs"):  # before the model is loaded
            renewal = Renewal(
                options.run,
                options.output,
                options.num_images,
                options.uses,
                types,
                options.seed,
                accelerator=options.accelerator,
                drawing=DrawConfig.from_plain(options.drawing),
            )
            serve(renewal, sys.stdin, parent)
    except FolderInUseError as error:
        _print(f"{_PREFIX} {error}")
        return LOCKED
    except SeasError as error:
        _print(f"{_PREFIX} error: {error}")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
