# SPDX-License-Identifier: Apache-2.0
"""What a detector gains from each source of anomalies: none, Perlin, cut-paste and SeaS, on the same test images.

Command; give ``--category`` once per category::

    python -m benchmarks.detection --category ROOT RUN GENERATED [--category ...] [--seed 0 1] \
        --output benchmarks/results/detection.json [--plot docs/images/detection.png]

ROOT is a category in MVTec layout, RUN a run folder of ``seas-aug finetune``, GENERATED what ``seas-aug generate`` made
with it. The detector is anomalib's DRAEM, narrow enough for two CPU cores
(:class:`seas_aug.report.demo_detector.NarrowDraem`). The few-shot images are in no test set, whatever the source. A row
that is in the output already, with the same settings and the same model, is not measured again.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

from seas_aug.anomalib_plugin.sources import Origin
from seas_aug.anomalib_plugin.textures import make_textures
from seas_aug.atomic import atomic_write, atomic_write_text
from seas_aug.data.category import read_mvtec_folder
from seas_aug.errors import SeasError
from seas_aug.generate.model_hash import find_model, model_hash
from seas_aug.report.demo_detector import METRICS, DetectorSettings, train_and_test
from seas_aug.report.environment import describe_environment

SOURCES: tuple[Origin, ...] = get_args(Origin)
_SIZE = 128  # the native size of the embedded base: pairs are neither enlarged nor reduced


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a results file, none if it does not exist.

    Raises:
        SeasError: the file is there, but is none of this command's.
    """
    if not path.exists():
        return []
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
        return [row for row in rows if isinstance(row["cell"], dict) and isinstance(row["metrics"], dict)]
    except (OSError, ValueError, KeyError, TypeError) as error:
        message = f"{path} is no results file of this command ({error!r}); give another --output or remove it."
        raise SeasError(message) from error


def plan_cells(
    categories: Sequence[tuple[Path, Path, Path]],
    sources: Sequence[Origin],
    seeds: Sequence[int],
    settings: DetectorSettings,
) -> list[tuple[dict[str, Any], tuple[Path, Path, Path]]]:
    """Return what is to be measured, each with the folders it needs.

    Args:
        categories: ROOT, RUN and GENERATED of each.
        sources: names of the sources.
        seeds: seeds of the detector.
        settings: training of the detector.

    Raises:
        SeasError: a folder cannot be used.
    """
    cells = []
    for folders in categories:
        name = read_mvtec_folder(folders[0]).name
        model = model_hash(find_model(folders[1]))
        for seed in seeds:
            for source in sources:
                cell = {"category": name, "source": source, "seed": seed, "model": model, "size": _SIZE}
                cells.append((cell | asdict(settings), folders))
    return cells


def measure(
    cell: dict[str, Any], folders: tuple[Path, Path, Path], settings: DetectorSettings, textures: Path
) -> dict[str, Any]:
    """Train and test one detector.

    Args:
        cell: what is measured.
        folders: ROOT, RUN and GENERATED.
        settings: training of the detector.
        textures: pictures that fill Perlin anomalies.

    Returns:
        ``cell``, ``metrics`` (see :data:`~seas_aug.report.demo_detector.METRICS`) and ``seconds``.
    """
    root, run, generated = folders
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as output:
        metrics, _ = train_and_test(
            root, run, generated, cell["source"], textures, Path(output), settings, cell["seed"], cell["size"], []
        )
    return {"cell": cell, "metrics": metrics, "seconds": round(time.perf_counter() - started, 1)}


def format_rows(rows: Sequence[dict[str, Any]]) -> str:
    """Return the rows as lines of text, one per category and source, means over the seeds."""
    lines = [f"{'category':<16}{'source':<10}{'seeds':>6}" + "".join(f"{text:>18}" for text in METRICS.values())]
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["cell"]["category"], row["cell"]["source"]), []).append(row["metrics"])
    for (category, source), found in groups.items():
        means = [sum(metrics[name] for metrics in found) / len(found) for name in METRICS]
        lines.append(f"{category:<16}{source:<10}{len(found):>6}" + "".join(f"{value:>18.3f}" for value in means))
    return "\n".join(lines)


def draw_plot(path: Path, rows: Sequence[dict[str, Any]], metric: str = "pixel_AUPR") -> None:
    """Draw a group of bars per category, a bar per source; a dot is a seed, a bar their mean.

    Args:
        path: PNG to write.
        rows: one or more.
        metric: name of the figure.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    categories = list(dict.fromkeys(row["cell"]["category"] for row in rows))
    sources = [name for name in SOURCES if any(row["cell"]["source"] == name for row in rows)]
    figure = Figure(figsize=(1.5 + 2.4 * len(categories), 3), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    axes, width = figure.subplots(), 0.8 / len(sources)
    for offset, source in enumerate(sources):
        for place, category in enumerate(categories):
            found = [
                row["metrics"][metric]
                for row in rows
                if row["cell"]["category"] == category and row["cell"]["source"] == source
            ]
            if not found:
                continue
            at = place + (offset - (len(sources) - 1) / 2) * width
            height = sum(found) / len(found)
            axes.bar(at, height, width * 0.92, color=f"C{offset}", label=None if place else source)
            axes.text(at, height + 0.01, f"{height:.2f}", ha="center", fontsize=8)
            axes.plot([at] * len(found), found, "k.", markersize=3)
    axes.set(ylabel=METRICS[metric], xticks=range(len(categories)), xticklabels=categories, ylim=(0, 1.05))
    axes.legend(fontsize=8, ncols=len(sources), loc="upper center", frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    with atomic_write(path) as file:
        figure.savefig(file, format="png")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: arguments; None takes those of the process.

    Returns:
        Exit code: 0, or 2 after a user's mistake; the rows measured before it are kept.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.detection", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    names = ("ROOT", "RUN", "GENERATED")
    parser.add_argument("--category", nargs=3, type=Path, action="append", required=True, metavar=names)
    parser.add_argument("--sources", nargs="+", choices=SOURCES, default=list(SOURCES), help="All of them if left out.")
    parser.add_argument("--seed", nargs="+", type=int, default=[0], help="Seeds of the detector.")
    parser.add_argument("--steps", type=int, default=600, help="Updates of the detector.")
    parser.add_argument("--output", type=Path, required=True, help="JSON to write or to go on with.")
    parser.add_argument("--plot", type=Path, help="PNG to draw.")
    options = parser.parse_args(argv)
    settings = DetectorSettings(steps=options.steps)
    try:
        rows = read_rows(options.output)
        cells = plan_cells([tuple(folders) for folders in options.category], options.sources, options.seed, settings)
        missing = [entry for entry in cells if entry[0] not in [row["cell"] for row in rows]]
        with tempfile.TemporaryDirectory() as folder:
            textures = make_textures(Path(folder) / "textures", size=_SIZE, seed=0)
            for number, (cell, folders) in enumerate(missing, 1):
                what = f"{cell['category']}, {cell['source']}, seed {cell['seed']}"
                print(f"detection: {number} of {len(missing)}: {what}", flush=True)
                rows.append(measure(cell, folders, settings, textures))
                content = {"rows": rows, "environment": describe_environment()}
                atomic_write_text(options.output, json.dumps(content, indent=1, sort_keys=True) + "\n")
        chosen = [row for row in rows if row["cell"] in [cell for cell, _ in cells]]
        if options.plot is not None:
            draw_plot(options.plot, chosen)
    except SeasError as error:
        print(f"detection: error: {error}", file=sys.stderr)
        return 2
    print(format_rows(chosen))
    return 0


if __name__ == "__main__":
    sys.exit(main())
