# SPDX-License-Identifier: Apache-2.0
"""Draw the curves of a pretraining stage, for the model card.

Command::

    python -m benchmarks.pretraining_curves --log runs/base/details/log/version_0/metrics.csv --output curves.png
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from seas_aug.artifact.atomic import atomic_write
from seas_aug.errors import SeasError

_SMOOTHED = 9  # logged values that a line is the mean of; each is the loss of a single update


def read_curves(log: Path) -> dict[str, tuple[list[int], list[float]]]:
    """Read the log that Lightning's ``CSVLogger`` writes.

    Args:
        log: CSV with a column ``step`` and one per figure; cells may be empty.

    Returns:
        Updates and values of each figure.

    Raises:
        SeasError: the file cannot be read as such a log, or holds no figure.
    """
    curves: dict[str, tuple[list[int], list[float]]] = {}
    try:
        with log.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                for name, text in row.items():
                    if name not in ("step", "epoch") and text:
                        steps, values = curves.setdefault(name, ([], []))
                        steps.append(int(row["step"]))
                        values.append(float(text))
    except (OSError, ValueError, KeyError, TypeError) as error:
        message = f"{log} is no log of a pretraining stage ({error}); give the metrics.csv of its output folder."
        raise SeasError(message) from error
    if not curves:
        raise SeasError(f"{log} holds no figure yet; wait until the stage has logged some.")
    return curves


def smooth(values: Sequence[float], width: int = _SMOOTHED) -> list[float]:
    """Return the mean of each value and its neighbours, up to ``width`` of them; fewer at both ends."""
    padded, half = np.asarray(values, np.float64), width // 2
    return [float(padded[max(0, at - half) : at + half + 1].mean()) for at in range(len(padded))]


def draw_curves(path: Path, curves: dict[str, tuple[list[int], list[float]]]) -> None:
    """Draw a panel per figure; losses of single updates are drawn smoothed over their own values.

    Args:
        path: PNG to write.
        curves: see :func:`read_curves`.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.2 * len(curves), 2.8), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(curves), squeeze=False)[0]
    for axes, (name, (steps, values)) in zip(panels, curves.items(), strict=True):
        if name.startswith("val"):
            axes.plot(steps, values, marker="o", markersize=3)
        else:
            axes.plot(steps, values, linewidth=0.4, alpha=0.5)
            axes.plot(steps, smooth(values))
        axes.set(title=name, xlabel="updates")
        axes.grid(alpha=0.3)
    with atomic_write(path) as file:
        figure.savefig(file, format="png")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: arguments; None takes those of the process.

    Returns:
        Exit code: 0, or 2 after a user's mistake.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pretraining_curves", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--log", type=Path, required=True, help="The stage's metrics.csv.")
    parser.add_argument("--output", type=Path, required=True, help="PNG to write.")
    options = parser.parse_args(argv)
    try:
        draw_curves(options.output, read_curves(options.log))
    except SeasError as error:
        print(f"pretraining_curves: error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
