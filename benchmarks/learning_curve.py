# SPDX-License-Identifier: Apache-2.0
"""How much training a network needs on a source of anomalies: its figures after more and more updates.

A benchmark is fair where its baselines have learnt what they can. Each number of updates is a training of its own,
because the learning rate falls to zero at its end. Command::

    python -m benchmarks.learning_curve --data.root ROOT --run RUN --source perlin --steps 300 600 1200 2400 4800 \
        --work runs/learning_curve --output benchmarks/results/learning_curve.json --plot docs/images/learning_curve.png

``--run`` tells which images are no test images. A category, network and source that the output has already are
measured anew, the others stay in it.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from seas_aug.artifact.atomic import atomic_write, atomic_write_text
from seas_aug.benchmark.grid import CategoryFolders, TaskGrid, plan_cells
from seas_aug.benchmark.measure import Measurement, detector_settings
from seas_aug.benchmark.prepare import data_of, pairs_of, textures_of
from seas_aug.benchmark.runner import run_cells
from seas_aug.benchmark.store import CellStore
from seas_aug.errors import SeasError

_SHOWN = ("pixel_ap", "pixel_auroc", "image_ap")


def measure_curve(
    folders: CategoryFolders, network: str, source: str, steps: Sequence[int], seed: int, work: Path
) -> dict[str, Any]:
    """Train a detector for each number of updates; what ``work`` has already is not trained again.

    Args:
        folders: the category and its run; its pairs too, where the source is ``seas``.
        network: see ``seas_aug.benchmark.detectors.VARIANTS``.
        source: what its anomalies come from.
        steps: numbers of updates.
        seed: seed of weights and order.
        work: folder for the cells, such as ``cells`` of a benchmark.

    Returns:
        ``category``, ``network``, ``source``, ``seed`` and ``points``: for each number of updates ``steps``,
        ``images`` (updates times batch size), ``seconds`` and the metrics; and ``environment``, where the last one
        was trained, which may be another machine.

    Raises:
        SeasError: an unknown network, a folder that cannot be used, or a training that failed.
    """
    common = {folders.name: data_of(folders)}
    own = {"seas": pairs_of, "perlin": lambda _: textures_of(None)}.get(source, lambda _: {})
    by_source = {source: {folders.name: own(folders)}}
    store, points, environment = CellStore(work), [], {}
    for number in steps:
        grid = TaskGrid("detection", {network: detector_settings(network, steps=number)}, (source,))
        (cell,) = plan_cells([grid], [folders.name], [seed], common, by_source)
        failed = run_cells([cell], Measurement({folders.name: folders}, store), store)
        row = store.read(cell)
        if failed or row is None:
            raise SeasError(f"{cell}, {number} updates: {(row or {}).get('error')}")
        images, environment = number * int(cell.settings["batch_size"]), row["environment"]
        points.append({"steps": number, "images": images, "seconds": row["seconds"], **row["metrics"]})
    named = {"category": folders.name, "network": network, "source": source, "seed": seed}
    return {**named, "points": points, "environment": environment}


def read_curves(path: Path) -> list[dict[str, Any]]:
    """Return the curves of an earlier output; none where there is no file.

    Raises:
        SeasError: the file is damaged or something else.
    """
    if not path.is_file():
        return []
    try:
        return list(json.loads(path.read_text(encoding="utf-8"))["curves"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SeasError(f"{path} holds no curves ({error}); give another output.") from error


def draw_curves(path: Path, curves: Sequence[Mapping[str, Any]]) -> None:
    """Draw a panel per metric and a line per curve.

    Args:
        path: PNG to write.
        curves: see :func:`measure_curve`.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.2 * len(_SHOWN), 3.2), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    measured = sorted({point["images"] for curve in curves for point in curve["points"]})
    for axes, metric in zip(figure.subplots(1, len(_SHOWN)), _SHOWN, strict=True):
        for curve in curves:
            points = sorted(curve["points"], key=lambda point: point["steps"])
            label = f"{curve['category']}, {curve['network']}, {curve['source']}"
            axes.plot([point["images"] for point in points], [point[metric] for point in points], "o-", label=label)
        axes.set(title=metric, xlabel="training images drawn", xscale="log", ylim=(0, 1))
        axes.set_xticks(measured, [str(number) for number in measured])
        axes.set_xticks([], minor=True)
        axes.grid(alpha=0.3)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=8)
    with atomic_write(path) as file:
        figure.savefig(file, format="png")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: arguments; None takes those of the process.

    Returns:
        Exit code: 0, or 2 after a user's mistake.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.learning_curve", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--data.root", dest="root", type=Path, required=True, help="Category in MVTec layout.")
    parser.add_argument("--run", type=Path, required=True, help="Run folder of `seas-aug finetune`.")
    parser.add_argument("--generated", type=Path, default=Path(), help="Its pairs, for --source seas.")
    parser.add_argument("--network", default="draem-compact", help="Detector of seas_aug.benchmark.detectors.")
    parser.add_argument("--source", default="perlin", help="What its anomalies come from.")
    parser.add_argument("--steps", type=int, nargs="+", required=True, help="Numbers of updates.")
    parser.add_argument("--seed", type=int, default=0, help="Seed of weights and order.")
    parser.add_argument("--work", type=Path, required=True, help="Folder for the cells, to go on with.")
    parser.add_argument("--output", type=Path, required=True, help="JSON to write.")
    parser.add_argument("--plot", type=Path, help="PNG of all curves in the output.")
    options = parser.parse_args(argv)
    folders = CategoryFolders(options.root, options.run, options.generated)
    try:
        known = read_curves(options.output)
        curve = measure_curve(folders, options.network, options.source, options.steps, options.seed, options.work)
        curves = [one for one in known if any(one[name] != curve[name] for name in ("category", "network", "source"))]
        curves = [*curves, curve]
        atomic_write_text(options.output, json.dumps({"curves": curves}, indent=1, sort_keys=True) + "\n")
        if options.plot:
            draw_curves(options.plot, curves)
    except SeasError as error:
        print(f"learning_curve: error: {error}", file=sys.stderr)
        return 2
    for point in curve["points"]:
        print(f"{point['steps']:>7} updates, {point['seconds']:>6.0f} s: pixel AP {point['pixel_ap']:.3f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
