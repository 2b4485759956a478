# SPDX-License-Identifier: Apache-2.0
"""The log of the losses: a CSV file that goes on where a stopped run left it."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

from seas_aug.artifact.atomic import append_line, atomic_write_text


class LossLog(Logger):
    """Writes ``RUN/log/<stage>.csv``, each line at once. Lightning's own logger deletes the lines of a stopped run.

    Args:
        path: CSV file; it is there from the beginning.
        start: updates done before; later lines of a stopped run are dropped, because they come again.
    """

    def __init__(self, path: Path, start: int) -> None:
        super().__init__()
        self._path = path
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        kept = [line for line in lines[1:] if _step(line) < start and line.count(",") == lines[0].count(",")]
        self._columns = next(csv.reader(lines[:1])) if kept else []
        atomic_write_text(path, "".join(f"{line}\n" for line in lines[:1] + kept) if kept else "")

    @property
    def name(self) -> str:
        """Name of the stage."""
        return self._path.stem

    @property
    def version(self) -> str:
        """Empty: there is one file per stage, and the progress bar needs no number for it."""
        return ""

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Write nothing: the settings are in ``RUN/config.yaml``."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Append a line.

        Args:
            metrics: values by name, the same names each time.
            step: update that they belong to, counted from 0.
        """
        if not self._columns:
            self._columns = ["step", *sorted(metrics)]
            append_line(self._path, _csv_line(self._columns))
        append_line(self._path, _csv_line([step, *(metrics.get(name, "") for name in self._columns[1:])]))


def _csv_line(values: list[Any]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(values)
    return text.getvalue()


def _step(line: str) -> float:
    """Return the update of a line, infinity where it has none."""
    first = line.partition(",")[0]
    return int(first) if first.isdecimal() else float("inf")
