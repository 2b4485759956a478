# SPDX-License-Identifier: Apache-2.0
"""A quick benchmark on a rendered product that notices when a change makes SeaS worse.

Its figures are compared with ``benchmarks/results/reference.json``. That is renewed, with the noise between seeds, by::

    python -m benchmarks.regression --seeds 0 1 2 --output benchmarks/results/reference.json

which prints every figure as it was and as it is.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import real_defects
from seas_aug.anomalib_plugin.pool import read_manifest
from seas_aug.artifact.atomic import atomic_write_text
from seas_aug.base.renderer.category import render_category
from seas_aug.benchmark.command import run_benchmark
from seas_aug.benchmark.config import COMPACT_NETWORKS, BenchmarkConfig, CategoryEntry
from seas_aug.config import DataConfig, FineTuneConfig, GeneratorConfig, MaskConfig
from seas_aug.data.decode import read_mask, read_rgb
from seas_aug.environment import describe_environment
from seas_aug.errors import SeasError

REFERENCE = Path(__file__).parent / "results" / "reference.json"
LOWER_IS_BETTER = frozenset({"kid"})
_LEAST_NOISE = 0.01  # three seeds may agree by chance
_TOLERATED = 3.0  # times the noise
_PRODUCT = 0  # its seed: the same pictures for every seed of the networks, or the noise would be that of products


@dataclass(frozen=True)
class RegressionSettings:
    """How much is done: minutes on two CPU cores.

    Args:
        base: base model.
        size: side of all images in pixels.
        normals: rendered normal training images.
        per_type: rendered defects of each type.
        few_shot: how many of them are fine-tuned on; the others are the test.
        generator_steps: updates of the generator.
        mask_steps: updates of the mask branch.
        pairs: generated pairs of each type.
        detector_steps: updates of DRAEM.
        segmentation_size: side of the segmentation network's images in pixels, small for the sake of more updates.
        segmentation_steps: updates of the segmentation network.
    """

    base: str = "embedded"
    size: int = 128
    normals: int = 60
    per_type: int = 16
    few_shot: int = 4
    generator_steps: int = 120
    mask_steps: int = 60
    pairs: int = 20
    detector_steps: int = 60
    segmentation_size: int = 96
    segmentation_steps: int = 200


def make_pairs(folder: Path, settings: RegressionSettings, seed: int) -> CategoryEntry:
    """Render a product, fine-tune SeaS on it and generate pairs.

    Args:
        folder: where everything is written.
        settings: how much is done.
        seed: seed of fine-tuning and generating; the product is the same for all.
    """
    from seas_aug.finetune.run import finetune
    from seas_aug.generate.run import generate

    root, run, generated = folder / "flange", folder / "run", folder / "generated"
    render_category(root, _PRODUCT, settings.size, settings.normals, settings.per_type, settings.few_shot)
    finetune(
        FineTuneConfig(
            output=run,
            base=settings.base,
            seed=seed,
            data=DataConfig(root=root, few_shot=str(root / "split.json"), image_size=settings.size),
            generator=GeneratorConfig(max_steps=settings.generator_steps),
            masks=MaskConfig(max_steps=settings.mask_steps),
            preview_every=0,
        )
    )
    generate(run, generated, settings.pairs, seed=seed)
    return CategoryEntry(root, str(root / "split.json"), run=run, generated=generated)


def measure(entry: CategoryEntry, output: Path, settings: RegressionSettings, seed: int) -> dict[str, float]:
    """Return the figures of a run and its pairs.

    Args:
        entry: the product.
        output: folder for results.
        settings: how much is done.
        seed: seed of the networks.

    Returns:
        ``mask_iou`` on held-out defects; that of :func:`measure_pairs`; ``kid``; ``draem_pixel_ap`` and
        ``draem_gain_vs_perlin`` (pixel AP); ``segmentation_iou`` and ``segmentation_gain_vs_few_shot``. Shares, not
        points.

    Raises:
        SeasError: a folder cannot be used, or a cell failed.
    """
    assert entry.run is not None and entry.generated is not None  # noqa: S101 - make_pairs sets them
    summary = _run(entry, output, settings, seed)
    (path,) = (output / "cells").glob("quality-*-seas-*.json")  # the folder is this call's own
    quality = json.loads(path.read_text(encoding="utf-8"))
    masks = real_defects.evaluate(entry.run, entry.root, entry.root / "split.json")
    pixel_ap, iou = (summary[name][entry.root.name] for name in ("pixel_ap", "iou"))
    return {
        "mask_iou": masks["mean"]["mask_iou_pooled"],
        **measure_pairs(entry.generated),
        "kid": quality["metrics"]["kid"],
        "draem_pixel_ap": pixel_ap["seas"] / 100,
        "draem_gain_vs_perlin": (pixel_ap["seas"] - pixel_ap["perlin"]) / 100,
        "segmentation_iou": iou["seas"] / 100,
        "segmentation_gain_vs_few_shot": (iou["seas"] - iou["few_shot"]) / 100,
    }


def measure_pairs(generated: Path) -> dict[str, float]:
    """Return how well the masks of pairs cover what was changed.

    Args:
        generated: folder of pairs.

    Returns:
        ``change_in_mask``: of all differences between image and the normal one that it started from, the share inside
        its mask, mean over pairs.

    Raises:
        SeasError: the folder is damaged.
    """
    shares = []
    for entry in read_manifest(generated):
        image, reference = (read_rgb(path).astype(float) for path in (entry.image, entry.reference))
        change = np.abs(image - reference).sum(2)
        shares.append(float(change[read_mask(entry.mask) > 0].sum() / max(change.sum(), 1.0)))
    return {"change_in_mask": sum(shares) / len(shares)}


def _run(entry: CategoryEntry, output: Path, settings: RegressionSettings, seed: int) -> dict[str, Any]:
    config = BenchmarkConfig(
        [entry],
        output,
        seeds=[seed],
        one_class=[],
        masks=False,  # measured on the same images anyway
        segmentation={"fpn-compact": {**COMPACT_NETWORKS["fpn-compact"], "size": settings.segmentation_size}},
        detection_sources=["perlin", "seas"],
        segmentation_sources=["few_shot", "seas"],
        pairs=settings.pairs,
        detector_steps=settings.detector_steps,
        segmentation_steps=settings.segmentation_steps,
        draws=200,
    )
    summary = run_benchmark(config)
    if summary["failed"]:
        raise SeasError(f"{summary['failed']} cell(s) failed; their errors are in {output / 'cells'}.")
    return summary


def allowed_change(known: Mapping[str, float]) -> float:
    """Return how much worse than its reference (``mean``, ``noise``) a figure may be: three times its noise."""
    return _TOLERATED * max(known["noise"], _LEAST_NOISE)


def find_drops(figures: Mapping[str, float], reference: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Return a sentence for each of the figures that is worse than its reference by more than three times its noise.

    Args:
        figures: as measured.
        reference: ``mean`` and ``noise`` (standard deviation between seeds) of each.
    """
    drops = []
    for name in figures:
        known = reference[name]
        worse = figures[name] - known["mean"] if name in LOWER_IS_BETTER else known["mean"] - figures[name]
        allowed = allowed_change(known)
        if worse > allowed:
            drops.append(
                f"{name} is {figures[name]:.3f}, the reference {known['mean']:.3f}: worse by more than {allowed:.3f}."
            )
    return drops


def make_reference(found: Sequence[Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Return mean and standard deviation of each figure.

    Args:
        found: figures of two or more seeds.
    """
    return {
        name: {
            "mean": round(statistics.mean(one[name] for one in found), 4),
            "noise": round(statistics.stdev(one[name] for one in found), 4),
        }
        for name in found[0]
    }


def compare(new: Mapping[str, Mapping[str, float]], old: Mapping[str, Mapping[str, float]]) -> str:
    """Return old and new figures as lines of text."""
    lines = [f"{'figure':<32}{'old':>18}{'new':>18}{'tolerated':>12}"]
    for name, values in new.items():
        before = f"{old[name]['mean']:.3f} ± {old[name]['noise']:.3f}" if name in old else "-"
        allowed = f"{allowed_change(values):>12.3f}"
        lines.append(f"{name:<32}{before:>18}{values['mean']:>10.3f} ± {values['noise']:.3f}{allowed}")
    return "\n".join(lines)


def code_hash() -> str:
    """Return what tells versions of the code and of the embedded base apart: eight hexadecimal digits."""
    digest = hashlib.sha256()
    project = Path(__file__).parents[1]
    for path in sorted((project / "seas_aug").rglob("*")):
        if path.suffix in {".py", ".json", ".safetensors"}:
            digest.update(path.relative_to(project).as_posix().encode() + path.read_bytes())
    digest.update(Path(__file__).read_bytes())
    return digest.hexdigest()[:8]


def main(argv: Sequence[str] | None = None) -> int:
    """Renew the reference.

    Args:
        argv: arguments; None takes those of the process.

    Returns:
        Exit code: 0, or 2 after a user's mistake.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.regression", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="Two or more.")
    parser.add_argument(
        "--work",
        type=Path,
        help="Folder to work in, so that it can be gone on with; each version of "
        "the code has a folder of its own in it.",
    )
    parser.add_argument("--output", type=Path, default=REFERENCE, help="JSON to write.")
    options = parser.parse_args(argv)
    if len(set(options.seeds)) < 2:
        parser.error("--seeds has fewer than two; the noise between seeds needs two or more.")
    settings = RegressionSettings()
    with tempfile.TemporaryDirectory() as temporary:
        work = (options.work or Path(temporary)) / code_hash()
        try:
            found = []
            for seed in options.seeds:
                entry = make_pairs(work / str(seed), settings, seed)
                found.append(measure(entry, work / str(seed) / "benchmark", settings, seed))
        except SeasError as error:
            print(f"regression: error: {error}", file=sys.stderr)
            return 2
    new = make_reference(found)
    known = json.loads(options.output.read_text(encoding="utf-8"))["figures"] if options.output.is_file() else {}
    print(compare(new, known))
    content = {
        "figures": new,
        "seeds": options.seeds,
        "settings": asdict(settings),
        "environment": describe_environment(),
    }
    atomic_write_text(options.output, json.dumps(content, indent=1, sort_keys=True) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
