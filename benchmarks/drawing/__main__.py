# SPDX-License-Identifier: Apache-2.0
"""Measures whether a model draws.

Command::

    python -m benchmarks.drawing --product pcb magnetic_tile --runs RUNS --data DATA --quick \
        --output benchmarks/results/drawing.json --cache CACHE --sheets DIR

``RUNS/<product>`` is the run of ``seas-aug finetune`` for each product, ``DATA/<product>`` its real images. The exit
code is 1 where a control is not where it has to be: then the measure is wrong, and not the model.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.drawing.cache import Cache
from benchmarks.drawing.controls import measure_controls
from benchmarks.drawing.features import FeatureCache
from benchmarks.drawing.landings import failing, judge
from benchmarks.drawing.material import QUICK, SEEDS, draw_material
from benchmarks.drawing.measure import measure_all
from benchmarks.drawing.measuring import Measuring
from benchmarks.drawing.products import PRODUCTS, Product, applies, passes
from benchmarks.drawing.results import BASES, EARLIER, format_table, keep_as_earlier, merge_results
from benchmarks.drawing.sheet import save_sheet
from benchmarks.drawing.windows import cut_windows
from seas_aug.errors import SeasError
from seas_aug.evaluate.defect_features import DefectFeatures

_EMBEDDED = "embedded"
_NAMES = {
    "windows": "benchmarks.drawing.window_drawer:WindowDrawer",
    "gate": "benchmarks.drawing.window_drawer:gate",
    "whole": "benchmarks.drawing.whole_image_drawer:WholeImageDrawer",
    "paste": "benchmarks.drawing.paste_drawer:PasteDrawer",
}


def measure_product(product: Product, options: argparse.Namespace) -> tuple[dict[str, Any], dict[str, Any]]:
    """Draw and measure a product.

    Args:
        product: which.
        options: of the command.

    Returns:
        The figures by measure, with their controls, and the settings.

    Raises:
        SeasError: a run or an image is missing.
    """
    begin = time.perf_counter()
    rendered = product.role == "rendered"
    root = options.rendered if rendered and options.rendered else options.data / product.name
    run = (options.runs or Path()) / product.name
    drawer = _named(options.drawer)(run, root)
    windows = cut_windows(root, drawer.size, drawer.whole)
    seeds = QUICK if options.quick else len(SEEDS)
    cue = applies("null_cue", product, len(windows.unseen.anomaly_types))
    material = draw_material(drawer, windows, seeds, Cache(options.cache), cue)
    gate = _named(options.gate)(run, root) if options.gate else None
    job = Measuring(material, product, FeatureCache(DefectFeatures()), gate=gate)
    figures = {key: one.to_dict() for key, one in measure_all(job).items()}
    told = judge(measure_controls(job), product.copper) if not options.no_controls else {}
    for key, entry in figures.items():
        entry["passes"] = passes(key, product, entry)
        if key in told:
            entry["controls"] = told[key]
    if options.sheets is not None:
        save_sheet(options.sheets / f"{product.name}.png", material, f"{product.name}: {drawer.name}")
    settings = {
        "drawer": drawer.name,
        "base": options.base,
        "role": product.role,
        "seeds": seeds,
        "size": drawer.size,
        "whole": drawer.whole,
        "seconds": round(time.perf_counter() - begin, 1),
    }
    return figures, settings


def _named(name: str) -> Any:
    """Return what ``module:name`` stands for.

    Raises:
        SeasError: there is no such thing.
    """
    module, _, attribute = _NAMES.get(name, name).partition(":")
    try:
        return getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise SeasError(f"{name}: cannot be loaded ({error}); expected {', '.join(_NAMES)} or module:name.") from error


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: arguments; None takes those of the process.

    Returns:
        Exit code: 0, 1 where a control does not land, or 2 after a user's mistake.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.drawing", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--base", default=_EMBEDDED, help="What the runs were fine-tuned from; others are kept apart.")
    parser.add_argument("--product", nargs="+", required=True, choices=list(PRODUCTS), help="What to measure.")
    parser.add_argument("--runs", type=Path, help="Folder of the runs, one per product; paste needs none.")
    parser.add_argument("--data", type=Path, required=True, help="Folder of the products in MVTec layout.")
    parser.add_argument("--rendered", type=Path, help="Folder of the rendered product, if it lies elsewhere.")
    parser.add_argument(
        "--drawer", default="windows", help="windows, whole, paste, or module:class, made of run and product folder."
    )
    parser.add_argument("--gate", default="gate", help="module:function of run and product folder, or empty for none.")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK} seeds a type in place of {len(SEEDS)}.")
    parser.add_argument("--no_controls", action="store_true", help="Leave the controls out.")
    parser.add_argument("--cache", type=Path, help="Folder that drawn windows are kept in.")
    parser.add_argument("--sheets", type=Path, help="Folder for a contact sheet of each product.")
    parser.add_argument("--output", type=Path, required=True, help="JSON to merge the figures into.")
    parser.add_argument("--version", help="The figures are of this earlier version: they are put beside the others.")
    parser.add_argument("--keep_as", help="First keep the figures that are there as this earlier version's.")
    options = parser.parse_args(argv)
    section = (EARLIER, options.version) if options.version else ()
    section = section if options.base == _EMBEDDED else (*section, BASES, options.base)
    astray: list[str] = []
    try:
        if options.keep_as:
            keep_as_earlier(options.output, options.keep_as)
        for name in options.product:
            figures, settings = measure_product(PRODUCTS[name], options)
            merge_results(options.output, name, figures, settings, section)
            print(format_table(name, figures), flush=True)
            astray += [f"{name}: {one}" for one in failing({k: v.get("controls", {}) for k, v in figures.items()})]
    except SeasError as error:
        print(f"drawing: error: {error}", file=sys.stderr)
        return 2
    if astray:
        print("these controls are not where they have to be: " + ", ".join(astray), file=sys.stderr)
    return int(bool(astray))


if __name__ == "__main__":
    sys.exit(main())
